// CSR instructions: numbers, the modes that may use them, and the substitution of VS registers.
import CPagingKit
import PagingKit

/// A CSR as an instruction names it: a register, or a part or view of one.
struct ControlRegister {
  enum View {
    case whole, lower, upper
    /// sstatus: some bits of mstatus.
    case supervisor
  }

  let register: Register
  let view: View
  let number: UInt64

  /// The lowest mode that may use it; bits 9:8 of the number: 1 supervisor, 2 hypervisor and VS registers, 3 machine.
  var level: UInt64 { number >> 8 & 3 }

  static let numbers: [UInt64: (Register, View)] = [
    0x100: (.mstatus, .supervisor), 0x10a: (.senvcfg, .whole), 0x142: (.scause, .whole), 0x143: (.stval, .whole),
    0x180: (.satp, .whole), 0x200: (.vsstatus, .whole), 0x242: (.vscause, .whole), 0x243: (.vstval, .whole),
    0x280: (.vsatp, .whole), 0x300: (.mstatus, .whole), 0x30a: (.menvcfg, .whole), 0x310: (.mstatus, .upper),
    0x31a: (.menvcfg, .upper), 0x342: (.mcause, .whole), 0x343: (.mtval, .whole), 0x34a: (.mtinst, .whole),
    0x34b: (.mtval2, .whole), 0x600: (.hstatus, .whole), 0x60a: (.henvcfg, .whole), 0x61a: (.henvcfg, .upper),
    0x643: (.htval, .whole), 0x64a: (.htinst, .whole), 0x680: (.hgatp, .whole),
  ]

  static let sstatus: UInt64 = 0x100
  static let scause: UInt64 = 0x142
  static let stval: UInt64 = 0x143
  static let satp: UInt64 = 0x180
  static let mstatus: UInt64 = 0x300

  /// Nil: there is none, or none that the model knows. With XLEN 32 the wide ones come in halves.
  init?(_ number: UInt64, _ model: Model) {
    guard let (register, view) = Self.numbers[number] else { return nil }
    if view == .upper && !model.is32 { return nil }
    let isHypervisors = number >> 8 & 3 == 2 || number == 0x34a || number == 0x34b
    if isHypervisors && !model.hasHypervisor { return nil }
    let isWide = register == .mstatus || register == .menvcfg || register == .henvcfg
    self.register = register
    self.view = model.is32 && isWide && view == .whole ? .lower : view
    self.number = number
  }

  /// V=1: the VS register takes the place of the supervisor's.
  func substituted(_ mode: Privilege) -> ControlRegister {
    guard mode == .vs else { return self }
    switch number {
    case 0x100: return ControlRegister(.vsstatus, number)
    case 0x142: return ControlRegister(.vscause, number)
    case 0x143: return ControlRegister(.vstval, number)
    case 0x180: return ControlRegister(.vsatp, number)
    default: return self
    }
  }

  private init(_ register: Register, _ number: UInt64) {
    self.register = register
    view = .whole
    self.number = number
  }

  /// Bits of the register that the CSR shows, and how far they are shifted.
  func mask(is32: Bool) -> (mask: UInt64, shift: UInt64) {
    switch view {
    case .whole: (.max, 0)
    case .lower: (0xffff_ffff, 0)
    case .upper: (0xffff_ffff_0000_0000, 32)
    case .supervisor: (is32 ? CSR.sstatus32 : CSR.sstatus, 0)
    }
  }
}

extension RISCVUnit {
  func performRegisterAccess(_ special: SpecialAccess, _ value: inout pgk_value_v1, isAnswered: Bool) -> SpecialEnd {
    let isWrite = special.operation == .csrWrite
    let mode = special.mode
    guard let named = ControlRegister(special.csr, model) else {
      return .refused(Refusal(PGK_E_ARGUMENT, "CSR 0x\(String(special.csr, radix: 16)) is none that this model knows"))
    }
    if let end = forbidden(named, mode) { return end }
    let isTranslation = named.number == 0x180 || named.number == 0x680
    if !isAnswered && isTranslation {
      let listedClass = isWrite ? PGK_CLASS_REGISTER_WRITE : PGK_CLASS_REGISTER_READ
      if mode == .vs && registers.has(.hstatus, CSR.VTVM) { return stopped(mode, isVirtualInstruction: true, class: listedClass) }
      if mode == .s && registers.has(.mstatus, CSR.TVM) { return stopped(mode, isVirtualInstruction: false, class: listedClass) }
    }
    let control = named.substituted(mode)
    let (mask, shift) = control.mask(is32: setting.is32)
    guard isWrite else {
      value = pgk_value_v1()
      value.low = (registers.effective(control.register) & mask) >> shift
      return .finished
    }
    return write(control, value.low << shift, mask)
  }

  private func write(_ control: ControlRegister, _ value: UInt64, _ mask: UInt64) -> SpecialEnd {
    guard value & ~mask == 0 else {
      let bit = (value & ~mask).trailingZeroBitCount
      return .refused(Refusal(PGK_E_UNKNOWN_BIT, "CSR 0x\(String(control.number, radix: 16)): the model does not know bit \(bit)"))
    }
    var changed = registers
    changed[control.register] = changed[control.register] & ~mask | value
    do throws(Refusal) { try rules.check(changed) } catch { return .refused(error) }
    adopt(changed)
    return .finished
  }

  /// A mode too low: a virtual instruction if HS-mode could do it, otherwise an illegal one.
  private func forbidden(_ control: ControlRegister, _ mode: Privilege) -> SpecialEnd? {
    let isAllowed = switch mode {
    case .m: true
    case .s: control.level < 3
    case .vs: control.level == 1
    default: false
    }
    if isAllowed { return nil }
    return stopped(mode, isVirtualInstruction: mode.isVirtual && control.level < 3, class: PGK_CLASS_GUEST_FAULT)
  }
}
