// What an operating system does on RISC-V, as accesses of the supervisor that it runs as.
import CPagingKit
import PagingKit

extension RISCVUnit {
  /// VS-mode where the registers select two stages, otherwise S-mode.
  private var supervisor: Privilege { isGuestSelected ? .vs : .s }
  private var isGuestSelected: Bool { setting.guest.translation.mode != .bare || setting.second.mode != .bare }

  func enableTranslation(regime: Int, root: UInt64, identifier: UInt32) throws(Refusal) -> [Request] {
    let entry = RegimeList.all[regime]
    guard let second = entry.second else { return try enableNative(entry, root, identifier) }
    guard model.hasHypervisor else { throw Refusal(PGK_E_UNSUPPORTED, "\(entry.name) needs the H extension; open the unit with h=true") }
    guard second == setting.second.mode, setting.is32 == (entry.first == .sv32) || entry.first == .bare else {
      throw Refusal(PGK_E_UNSUPPORTED, "\(entry.name): the second stage is the hypervisor's; load hgatp (and mstatus.SXL for 32 bits) first")
    }
    let value = try translationValue(entry.first, root, identifier, is32: setting.is32)
    return [.write(ControlRegister.satp, value, mode: .vs), .fence(.sfenceVMA, address: nil, identifier: nil, mode: .vs)]
  }

  /// hgatp, with the VMID. Where the second stage is Bare nothing has to be loaded.
  func enableSecondStage(
    regime: Int, root: UInt64, machineIdentifier: UInt32
  ) throws(Refusal) -> [(index: Int, value: UInt64)] {
    let entry = RegimeList.all[regime]
    guard let second = entry.second else { throw Refusal(PGK_E_ARGUMENT, "\(entry.name) has no second stage") }
    guard model.hasHypervisor else { throw Refusal(PGK_E_UNSUPPORTED, "\(entry.name) needs the H extension; open the unit with h=true") }
    let is32 = second == .sv32 || entry.first == .sv32
    guard is32 || !model.is32 else { throw Refusal(PGK_E_UNSUPPORTED, "\(entry.name) needs xlen=64; the unit was opened with xlen=32") }
    guard second != .bare else { return widths(is32: is32) + [(Register.hgatp.rawValue, 0)] }
    let rootBits: UInt64 = is32 ? 34 : 56
    guard root & 0x3fff == 0, root >> rootBits == 0 else {
      throw Refusal(PGK_E_ARGUMENT, "root 0x\(String(root, radix: 16)): expected a multiple of 16384 below 2^\(rootBits)")
    }
    let last: UInt32 = is32 ? 0x7f : 0x3fff
    guard machineIdentifier <= last else { throw Refusal(PGK_E_ARGUMENT, "VMID \(machineIdentifier): the last is \(last)") }
    let value = AddressTranslation(mode: second, identifier: machineIdentifier, root: root).value(is32: is32)
    return widths(is32: is32) + [(Register.hgatp.rawValue, value)]
  }

  /// Sv32x4 needs a 32-bit hypervisor, whose width mstatus.SXL gives.
  private func widths(is32: Bool) -> [(index: Int, value: UInt64)] {
    guard is32 != setting.is32 else { return [] }
    var status = Entry(registers[.mstatus])
    status[CSR.SXL] = is32 ? 1 : 2
    status[CSR.UXL] = is32 ? 1 : 2
    return [(Register.mstatus.rawValue, status.bits), (Register.satp.rawValue, 0)]
  }

  /// Sv32 needs a 32-bit supervisor, which a 64-bit machine makes with mstatus.SXL and UXL.
  private func enableNative(_ entry: RegimeEntry, _ root: UInt64, _ identifier: UInt32) throws(Refusal) -> [Request] {
    let wants32 = entry.first == .bare ? setting.is32 : entry.first == .sv32
    guard wants32 || !model.is32 else { throw Refusal(PGK_E_UNSUPPORTED, "\(entry.name) needs xlen=64; the unit was opened with xlen=32") }
    var list: [Request] = []
    if wants32 != setting.is32 {
      var status = Entry(registers[.mstatus])
      status[CSR.SXL] = wants32 ? 1 : 2
      status[CSR.UXL] = wants32 ? 1 : 2
      list = [.write(ControlRegister.satp, 0, mode: .s), .write(ControlRegister.mstatus, status.bits, mode: .m)]
    }
    let value = try translationValue(entry.first, root, identifier, is32: wants32)
    return list + [.write(ControlRegister.satp, value, mode: .s), .fence(.sfenceVMA, address: nil, identifier: nil)]
  }

  func switchSpace(root: UInt64, identifier: UInt32) throws(Refusal) -> [Request] {
    let mode = isGuestSelected ? setting.guest.translation.mode : setting.native.translation.mode
    guard mode != .bare else { throw Refusal(PGK_E_UNSUPPORTED, "satp.MODE is Bare: enable translation first") }
    let value = try translationValue(mode, root, identifier, is32: setting.is32)
    return [.write(ControlRegister.satp, value, mode: supervisor)]
  }

  private func translationValue(_ mode: Mode, _ root: UInt64, _ identifier: UInt32, is32: Bool) throws(Refusal) -> UInt64 {
    if mode == .bare { return 0 }
    let rootBits: UInt64 = is32 ? 34 : 56
    guard root & 0xfff == 0, root >> rootBits == 0 else {
      throw Refusal(PGK_E_ARGUMENT, "root 0x\(String(root, radix: 16)): expected a multiple of 4096 below 2^\(rootBits)")
    }
    let last: UInt32 = is32 ? 0x1ff : 0xffff
    guard identifier <= last else { throw Refusal(PGK_E_ARGUMENT, "ASID \(identifier): the last is \(last)") }
    return AddressTranslation(mode: mode, identifier: identifier, root: root).value(is32: is32)
  }

  /// With an address the fence reaches leaves only, so a changed pointer needs one without. Global pages of a space are
  /// reached by the fences that name no space.
  func invalidate(scope: UInt32, address: UInt64, byteCount: UInt64, identifier: UInt32) throws(Refusal) -> [Request] {
    let space = UInt64(identifier)
    let everywhere = Request.fence(.sfenceVMA, address: nil, identifier: nil, mode: supervisor)
    let wholeSpace = Request.fence(.sfenceVMA, address: nil, identifier: space, mode: supervisor)
    let changesTables = scope & PGK_SCOPE_TABLES != 0
    switch scope & ~PGK_SCOPE_TABLES {
    case PGK_SCOPE_PAGE:
      return [changesTables ? wholeSpace : .fence(.sfenceVMA, address: address, identifier: space, mode: supervisor)]
    case PGK_SCOPE_RANGE:
      let first = address & ~0xfff
      let pages = (byteCount &+ (address & 0xfff) &+ 0xfff) >> 12
      // As kernels do it: beyond some pages the whole space is cheaper.
      if changesTables || pages > 64 { return [wholeSpace] }
      return (0..<pages).map { .fence(.sfenceVMA, address: first &+ $0 << 12, identifier: space, mode: supervisor) }
    case PGK_SCOPE_IDENTIFIER: return [wholeSpace]
    default: return [everywhere]
    }
  }

  /// scause and stval, the guest's own if it is one.
  func readFaults(known: [Request]) throws(Refusal) -> [Request] {
    guard known.isEmpty else { return [] }
    return [.read(ControlRegister.scause, mode: supervisor), .read(ControlRegister.stval, mode: supervisor)]
  }
}
