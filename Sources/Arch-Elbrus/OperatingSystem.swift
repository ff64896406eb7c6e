// What an operating system does on Elbrus, as accesses. mm/tlbflush.c, p2v/boot_mmu_context.h.
import CPagingKit
import PagingKit

extension ElbrusUnit {
  /// Addresses of programs end here in the kernel's layout, and its own tables take over with separate roots.
  static let osSpaceBase: UInt64 = 0xd000_0000_0000
  /// Where the kernel puts its window onto the tables.
  static let tableWindow: UInt64 = 0xff80_0000_0000
  /// More pages than this are flushed as a whole, when a context is named.
  static let mostFlushedPages: UInt64 = 16

  func enableTranslation(regime index: Int, root: UInt64, identifier: UInt32) throws(Refusal) -> [Request] {
    let regime = ElbrusRegime.allCases[index]
    try check(identifier)
    if regime.isGuest && !isGuest {
      throw Refusal(PGK_E_UNSUPPORTED, "\(regime.definition.name) is a guest's regime: load GID, GP_PPTB and VIRT_CTRL_MU first")
    }
    guard let first = regime.first else { return [Self.write(RegisterIndex.mmuCR, 0)] }
    guard first == .v3 || model.iset >= 6 else {
      throw Refusal(PGK_E_UNSUPPORTED, "V6 tables are there from ISET v6 on; this unit is v\(model.iset)")
    }
    let mode = (first == .v6 ? RegisterBits.tablesV6 : 0) | (regime.isSeparate ? RegisterBits.separateSpaces : 0)
    var list = [Self.write(RegisterIndex.userRoot, root), Self.write(RegisterIndex.userWindow, Self.tableWindow)]
    if regime.isSeparate {
      list += [
        Self.write(RegisterIndex.osBase, Self.osSpaceBase), Self.write(RegisterIndex.osRoot, root),
        Self.write(RegisterIndex.osWindow, Self.tableWindow),
      ]
    }
    return list + [
      Self.write(RegisterIndex.coreMode, mode), Self.write(RegisterIndex.pid, UInt64(identifier)),
      Self.write(RegisterIndex.mmuCR, RegisterBits.runningMMUCR),
    ]
  }

  /// GP tables, and the guest whose accesses follow: its GID, and translation through them.
  func enableSecondStage(
    regime index: Int, root: UInt64, machineIdentifier: UInt32
  ) throws(Refusal) -> [(index: Int, value: UInt64)] {
    let regime = ElbrusRegime.allCases[index]
    guard regime.isGuest else { throw Refusal(PGK_E_ARGUMENT, "\(regime.definition.name) has no second stage") }
    guard model.iset >= 6 else {
      throw Refusal(PGK_E_UNSUPPORTED, "GP tables are there from ISET v6 on; this unit is v\(model.iset)")
    }
    let control = values[RegisterIndex.virtualControl] & ~RegisterBits.shadowTables | RegisterBits.guestPhysicalTables
    return [
      (RegisterIndex.guestPhysicalRoot, root), (RegisterIndex.machine, UInt64(machineIdentifier)),
      (RegisterIndex.isGuest, 1), (RegisterIndex.virtualControl, control),
    ]
  }

  /// The root of programs and its context. With separate roots the host's one tree serves both.
  func switchSpace(root: UInt64, identifier: UInt32) throws(Refusal) -> [Request] {
    try check(identifier)
    var list = [Self.write(RegisterIndex.userRoot, root), Self.write(RegisterIndex.pid, UInt64(identifier))]
    if EffectiveRegisters(values, isGuest: isGuest).isSeparate { list.append(Self.write(RegisterIndex.osRoot, root)) }
    return list
  }

  private func check(_ identifier: UInt32) throws(Refusal) {
    guard identifier <= 0xfff else { throw Refusal(PGK_E_ARGUMENT, "PID \(identifier): the last is 4095") }
  }

  func invalidate(scope: UInt32, address: UInt64, byteCount: UInt64, identifier: UInt32) throws(Refusal) -> [Request] {
    try check(identifier)
    let hasTables = scope & PGK_SCOPE_TABLES != 0
    switch scope & ~PGK_SCOPE_TABLES {
    case PGK_SCOPE_PAGE: return page(address, identifier) + (hasTables ? links(to: address, identifier) : [])
    case PGK_SCOPE_RANGE:
      let first = address >> 12
      let last = byteCount == 0 ? first : (address &+ (byteCount - 1)) >> 12
      guard last >= first, last - first < Self.mostFlushedPages else { return [Self.request(.flushAll, address: FlushKind.allTLB)] }
      let pages = (first...last).flatMap { page($0 << 12, identifier) }
      return pages + (hasTables ? links(from: first << 12, through: last << 12, identifier) : [])
    // A kernel gives the space another PID instead; the identifier is the host's here, so all of it goes.
    default: return [Self.request(.flushAll, address: FlushKind.allTLB)]
    }
  }

  private func page(_ address: UInt64, _ identifier: UInt32) -> [Request] {
    [Self.request(.flushPage, data: FlushOperand(page: address, context: UInt64(identifier)).bits, address: FlushKind.page)]
  }

  /// From v6 a flush of the walk caches, level by level: an operand of level 0 cannot name every address.
  private func links(to address: UInt64, _ identifier: UInt32) -> [Request] {
    (1...3).flatMap { level in
      guard model.iset < 6 else {
        let operand = FlushOperand(walkCaches: address, context: UInt64(identifier), level: UInt64(level))
        return [Self.request(.flushPage, data: operand.bits, address: FlushKind.walkCaches)]
      }
      return page(windowAddress(of: address, level: level), identifier)
    }
  }

  private func links(from first: UInt64, through last: UInt64, _ identifier: UInt32) -> [Request] {
    // At most 16 pages: two tables of a level at most.
    links(to: first, identifier) + (first >> 21 == last >> 21 ? [] : links(to: last, identifier))
  }

  /// Before v6: where the window shows the table that the link of the level leads to.
  private func windowAddress(of address: UInt64, level: Int) -> UInt64 {
    let window = values[RegisterIndex.userWindow]
    return (0..<level).reduce(address) { inner, _ in window | (inner & 0xffff_ffff_f000) >> 9 }
  }
}
