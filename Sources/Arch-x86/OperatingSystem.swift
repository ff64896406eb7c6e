// What an operating system does on x86, as accesses.
import CPagingKit
import PagingKit

extension X86Unit {
  func enableTranslation(regime: Int, root: UInt64, identifier: UInt32) throws(Refusal) -> [Request] {
    let definition = Self.definition.regimes[regime]
    guard let first = definition.first.map({ X86Format.all[$0] }) else { return [Self.write(.cr0, registers[.cr0] & ~CR0.PG)] }
    if definition.second != nil && nested.kind == .none {
      throw Refusal(PGK_E_UNSUPPORTED, "\(definition.name) needs a unit opened with mode npt or ept")
    }
    guard identifier < 4096 else { throw Refusal(PGK_E_ARGUMENT, "PCID \(identifier): the last is 4095") }
    try checkRoot(root, first)
    let isLong = first == .fourLevel || first == .fiveLevel
    var cr4 = CR4.PGE & ~model.absentCR4
    if first != .twoLevel { cr4 |= CR4.PAE } else { cr4 |= CR4.PSE & ~model.absentCR4 }
    if first == .fiveLevel { cr4 |= CR4.LA57 }
    let hasIdentifiers = isLong && model.absentCR4 & CR4.PCIDE == 0
    var efer: UInt64 = EFER.NXE & ~model.absentEFER
    if isLong { efer |= EFER.LME | EFER.LMA }
    // Paging begins with PCID 0; identifiers are switched on afterwards, as the manual wants it ("Process-Context Identifiers").
    // The kind of paging does not change while paging is on.
    var list: [Request] = []
    if registers.has(CR4.PCIDE) { list.append(Self.write(.cr4, registers[.cr4] & ~CR4.PCIDE)) }
    if registers.isPaged { list.append(Self.write(.cr0, registers[.cr0] & ~CR0.PG)) }
    list += [
      Self.write(.efer, efer), Self.write(.cr4, cr4), Self.write(.cr3, root),
      Self.write(.cr0, registers[.cr0] | CR0.PG | CR0.WP | CR0.PE),
    ]
    if hasIdentifiers { list += [Self.write(.cr4, cr4 | CR4.PCIDE), Self.write(.cr3, root | UInt64(identifier))] }
    return list
  }

  /// CR3 holds more than the root, so a root must not reach into the rest.
  private func checkRoot(_ root: UInt64, _ format: X86Format) throws(Refusal) {
    let alignment: UInt64 = format == .pae ? 32 : 4096
    let width = format == .pae || format == .twoLevel ? 32 : maxPhysical
    guard root % alignment == 0, root >> UInt64(width) == 0 else {
      throw Refusal(PGK_E_ARGUMENT, "root 0x\(String(root, radix: 16)): expected a multiple of \(alignment) below 2^\(width)")
    }
  }

  func switchSpace(root: UInt64, identifier: UInt32) throws(Refusal) -> [Request] {
    if let format = registers.paging { try checkRoot(root, format) }
    guard registers.has(CR4.PCIDE) else { return [Self.write(.cr3, root)] }
    guard identifier < 4096 else { throw Refusal(PGK_E_ARGUMENT, "PCID \(identifier): the last is 4095") }
    return [Self.write(.cr3, root | UInt64(identifier) | 1 << 63)]
  }

  func invalidate(scope: UInt32, address: UInt64, byteCount: UInt64, identifier: UInt32) throws(Refusal) -> [Request] {
    let isCurrent = !registers.has(CR4.PCIDE) || identifier == registers.pcid
    switch scope & ~PGK_SCOPE_TABLES {
    case PGK_SCOPE_PAGE: return page(address, identifier, isCurrent)
    case PGK_SCOPE_RANGE:
      let pages = byteCount / 4096 + (byteCount % 4096 == 0 ? 0 : 1)
      // As kernels do it: beyond some pages the whole space is cheaper.
      if pages > 33 { return space(identifier, isCurrent) }
      return (0..<pages).flatMap { page(address &+ $0 * 4096, identifier, isCurrent) }
    case PGK_SCOPE_IDENTIFIER: return space(identifier, isCurrent)
    default:
      if registers.has(CR4.PCIDE) { return [Self.request(.invpcid, high: 2)] }
      return registers.has(CR4.PGE)
        ? [Self.write(.cr4, registers[.cr4] & ~CR4.PGE), Self.write(.cr4, registers[.cr4])] : [Self.write(.cr3, registers[.cr3])]
    }
  }

  private func page(_ address: UInt64, _ identifier: UInt32, _ isCurrent: Bool) -> [Request] {
    isCurrent ? [Self.request(.invlpg, low: address)] : [Self.request(.invpcid, low: address, high: UInt64(identifier) << 8)]
  }

  private func space(_ identifier: UInt32, _ isCurrent: Bool) -> [Request] {
    isCurrent ? [Self.write(.cr3, registers[.cr3])] : [Self.request(.invpcid, high: 1 | UInt64(identifier) << 8)]
  }

  /// The nested root with the host's registers that select its kind, or the EPT pointer; the machine is a VPID or ASID.
  func enableSecondStage(
    regime: Int, root: UInt64, machineIdentifier: UInt32
  ) throws(Refusal) -> [(index: Int, value: UInt64)] {
    let definition = Self.definition.regimes[regime]
    guard let second = definition.second.map({ X86Format.all[$0] }) else {
      throw Refusal(PGK_E_ARGUMENT, "\(definition.name) has no second stage")
    }
    let isEPT = second == .ept4 || second == .ept5
    guard model.mode == (isEPT ? .ept : .npt) else {
      throw Refusal(PGK_E_UNSUPPORTED, "\(definition.name) needs a unit opened with mode \(isEPT ? "ept" : "npt")")
    }
    let machine = (Register.vpid, UInt64(machineIdentifier))
    let values: [(Register, UInt64)]
    if isEPT {
      // Write-back tables, the walk length less one, and flags where the model has them.
      let length: UInt64 = second == .ept5 ? 4 : 3
      values = [(.eptp, root | 6 | length << 3 | (model.hasEPTFlags ? 1 << 6 : 0)), machine]
    } else {
      let isLong = second == .nptFourLevel || second == .nptFiveLevel
      let cr4 = second == .nptTwoLevel ? CR4.PSE & ~model.absentCR4 : CR4.PAE | (second == .nptFiveLevel ? CR4.LA57 : 0)
      let efer = (EFER.NXE & ~model.absentEFER) | (isLong ? EFER.LME | EFER.LMA : 0)
      values = [(.nestedCR3, root), (.nestedCR4, cr4), (.nestedEFER, efer), machine]
    }
    return values.map { ($0.rawValue, $1) }
  }

  /// CR2; the error code is on the stack of the handler.
  func readFaults(known: [Request]) throws(Refusal) -> [Request] { known.isEmpty ? [Self.request(.readRegister, register: .cr2)] : [] }
}
