// Which register values the model takes. What it does not know is refused by name, never guessed.
import CPagingKit
import PagingKit

/// Checks the values of all registers together, as the state that a load would make.
struct RegisterRules {
  let model: Model

  /// SXLEN: 32 on a 32-bit machine, or where mstatus.SXL says so.
  func is32(_ registers: Registers) -> Bool { model.is32 || registers.field(.mstatus, CSR.SXL) == 1 }

  func check(_ registers: Registers) throws(Refusal) {
    let is32 = is32(registers)
    for register in Register.allCases { try checkBits(registers, register, is32) }
    try checkWidths(registers, is32)
    guard registers.field(.mstatus, CSR.MPP) != 2 else { throw reserved(registers, .mstatus, "MPP = 2", "0 (U), 1 (S), 3 (M)") }
    try checkTranslation(registers, .satp, is32)
    try checkTranslation(registers, .vsatp, is32)
    try checkTranslation(registers, .hgatp, is32)
    for register in [Register.menvcfg, .senvcfg, .henvcfg] where registers.field(register, CSR.PMM) == 1 {
      throw reserved(registers, register, "PMM = 1", "0, 2 (PMLEN 7), 3 (PMLEN 16)")
    }
    guard registers.field(.hstatus, CSR.HUPMM) != 1 else { throw reserved(registers, .hstatus, "HUPMM = 1", "0, 2 (PMLEN 7), 3 (PMLEN 16)") }
  }

  /// Bits of the register that this model has.
  func known(_ register: Register, is32: Bool) -> UInt64 {
    let shadowStack = model.hasZicfiss ? CSR.SSE.mask : 0
    let updates = (model.hasSvadu ? CSR.ADUE.mask : 0) | (model.hasSvpbmt && !model.is32 ? CSR.PBMTE.mask : 0)
    let supervisorMasking = model.hasSmnpm && !is32 ? CSR.PMM.mask : 0
    let userMasking = model.hasSsnpm && !is32 ? CSR.PMM.mask : 0
    switch register {
    case .satp, .scause, .stval: return is32 ? 0xffff_ffff : .max
    case .mcause, .mtval, .mtval2, .mtinst: return model.is32 ? 0xffff_ffff : .max
    case .mstatus:
      let all = model.is32 ? CSR.mstatus32 : CSR.mstatus
      return model.hasHypervisor ? all : all & ~(CSR.MPV.mask | CSR.mGVA.mask)
    case .menvcfg: return CSR.menvcfg | shadowStack | updates | supervisorMasking
    case .senvcfg: return CSR.senvcfg | shadowStack | userMasking
    default: break
    }
    guard model.hasHypervisor else { return 0 }
    switch register {
    case .vsatp, .vscause, .vstval, .htval, .htinst: return is32 ? 0xffff_ffff : .max
    case .hgatp: return is32 ? ~(0b11 << 29) & 0xffff_ffff : ~(0b11 << 58)
    case .vsstatus: return is32 ? CSR.sstatus32 : CSR.sstatus
    case .hstatus: return is32 ? CSR.hstatus32 : CSR.hstatus | (model.hasSsnpm ? CSR.HUPMM.mask : 0)
    case .henvcfg: return CSR.menvcfg | shadowStack | updates | userMasking
    default: return 0
    }
  }

  private func checkBits(_ registers: Registers, _ register: Register, _ is32: Bool) throws(Refusal) {
    let known = known(register, is32: is32)
    let unknown = registers[register] & ~known
    guard unknown != 0 else { return }
    throw Refusal(
      PGK_E_UNKNOWN_BIT,
      "\(text(registers, register)): this model does not know bit \(unknown.trailingZeroBitCount); known are 0x\(String(known, radix: 16))")
  }

  /// All supervisors and users of a machine have one XLEN here. 0 is taken for it, as after reset.
  private func checkWidths(_ registers: Registers, _ is32: Bool) throws(Refusal) {
    if model.is32 { return }
    let wanted: UInt64 = is32 ? 1 : 2
    let fields: [(Register, Field)] = [(.mstatus, CSR.SXL), (.mstatus, CSR.UXL), (.vsstatus, CSR.UXL), (.hstatus, CSR.VSXL)]
    for (register, field) in fields {
      let value = registers.field(register, field)
      guard value == wanted || value == 0 else {
        throw reserved(registers, register, "\(field.name) = \(value)", "\(wanted), as mstatus.SXL; mixed widths are not modelled")
      }
    }
  }

  private func checkTranslation(_ registers: Registers, _ register: Register, _ is32: Bool) throws(Refusal) {
    let value = registers[register]
    let mode = is32 ? value >> 31 : value >> 60
    if !is32 && Mode(field: mode) == nil {
      throw reserved(registers, register, "MODE = \(mode)", "0 (Bare), 8, 9, 10 (Sv39, Sv48, Sv57)")
    }
    if mode == 0 {
      guard value == 0 else { throw reserved(registers, register, "MODE = Bare with other fields set", "all zero") }
      return
    }
    let root = AddressTranslation(value, is32: is32).root
    if register != .vsatp && root >> model.addressBits != 0 {
      throw reserved(registers, register, "a root beyond \(model.addressBits) address bits", "a root below")
    }
    if register == .hgatp && root & 0x3fff != 0 { throw reserved(registers, register, "PPN[1:0] other than 0", "a root aligned to 16 KiB") }
  }

  private func text(_ registers: Registers, _ register: Register) -> String {
    "\(register.name) = 0x\(String(registers[register], radix: 16))"
  }

  private func reserved(_ registers: Registers, _ register: Register, _ what: String, _ known: String) -> Refusal {
    Refusal(PGK_E_UNKNOWN_BIT, "\(text(registers, register)): \(what) is reserved or unknown; the model knows \(known)")
  }
}
