// Making, changing and ending mappings. Everything is checked before anything is changed.

extension Mapper {
  /// Maps one page. Tables are made on the way; should frames run out, those already made stay, empty.
  public func map(
    _ input: Address<Input>, to output: Address<Output>, pageShift: Int, _ attributes: PageAttributes
  ) throws(MapError) -> PendingInvalidation<Input> {
    guard let level = layout.level(ofPageShift: pageShift) else {
      throw .pageSizeNotInFormat(pageShift: pageShift, format: layout.name, valid: layout.pageShifts)
    }
    try checkCanonical(input)
    guard input.isAligned(toShift: pageShift) else { throw .misaligned(input.bits, pageShift: pageShift) }
    guard output.isAligned(toShift: pageShift) else { throw .misaligned(output.bits, pageShift: pageShift) }
    let leaf = try encodeLeaf(output, attributes, at: level)

    var step = try descend(input, from: root, at: layout.topLevel, to: level)
    var changesTables = false
    while step.level > level, step.kind == .absent {
      let table = try addTable(in: step)
      changesTables = true
      step = try descend(input, from: table, at: step.level - 1, to: level)
    }
    try checkFree(step, for: input)
    try store(leaf.bits, at: step.slot)
    return PendingInvalidation(
      page: PageRange(input, byteCount: 1 << UInt64(pageShift)), .added, changesTables: changesTables,
      unexpressed: leaf.unexpressed)
  }

  private func checkFree(_ step: TableStep<Output>, for input: Address<Input>) throws(MapError) {
    switch step.kind {
    case .absent: return
    case .leaf: throw .alreadyMapped(input.bits, by: "\(mapping(of: input, from: step))")
    case .table: throw .occupiedByTable(input.bits, slot: step.slot.bits)
    case .invalid: throw .damagedEntry(slot: step.slot.bits, bits: step.bits, level: step.level)
    }
  }

  /// Gives every mapped page of the range other attributes. What hardware has marked stays marked.
  public func protect(
    _ range: PageRange<Input>, _ attributes: PageAttributes
  ) throws(MapError) -> PendingInvalidation<Input> {
    try checkPagesInside(range)
    var changed = ChangedPages<Input>()
    var unexpressed: PageAttributes.Flags = []
    try forEachLeaf(in: range) { mapping, step throws(MapError) in
      let wanted = attributes.keepingMarks(of: mapping.attributes)
      let leaf = try self.encodeLeaf(mapping.output, wanted, at: step.level)
      unexpressed.formUnion(leaf.unexpressed)
      guard leaf.bits != step.bits else { return }
      try self.store(leaf.bits, at: step.slot)
      changed.insert(mapping.range)
    }
    return PendingInvalidation(changed, of: range, changesTables: false, unexpressed: unexpressed)
  }

  /// Ends every mapping of the range and unlinks tables that became empty.
  ///
  /// Frames of unlinked tables are held back: after the invalidation, `releaseRetiredTables` returns them.
  public func unmap(_ range: PageRange<Input>) throws(MapError) -> PendingInvalidation<Input> {
    try checkPagesInside(range)
    var tally = ClearedEntries()
    try clear(significant(range), in: root, at: layout.topLevel, base: 0, &tally)
    return PendingInvalidation(tally.pages, of: range, changesTables: tally.tables > 0)
  }

  /// Gives back the tables that `unmap` has unlinked, once no walk cache can hold them any more.
  public func releaseRetiredTables() {
    for (table, level) in retired { free(table, at: level) }
    retired.removeAll()
  }

  /// Gives back all tables, the root too. Nothing may use the space any more, and caches must have forgotten it.
  public func destroy() throws(MapError) {
    releaseRetiredTables()
    try freeTables(below: root, at: layout.topLevel)
  }

  private func freeTables(below table: Address<Output>, at level: Int) throws(MapError) {
    if level > 0 {
      for step in try steps(in: table, at: level, 0...layout.entryCount(at: level) - 1) where step.kind == .table {
        try freeTables(below: step.output, at: level - 1)
      }
    }
    free(table, at: level)
  }

  private func free(_ table: Address<Output>, at level: Int) {
    let byteCount = layout.tableByteCount(at: level)
    frames.freeTable(table, byteCount: byteCount, alignment: layout.tableAlignment(at: level))
    tableByteCount -= byteCount
  }

  // MARK: Clearing

  struct ClearedEntries {
    var pages = ChangedPages<Input>()
    var tables = 0
  }

  private func clear(
    _ range: ClosedRange<UInt64>, in table: Address<Output>, at level: Int, base: UInt64, _ tally: inout ClearedEntries
  ) throws(MapError) {
    for step in try steps(in: table, at: level, indices(of: range, at: level, base: base)) {
      switch step.kind {
      case .absent, .invalid: continue
      case .leaf:
        try store(absentBits[level], at: step.slot)
        let input = self.base(of: step, in: table, at: level, base)
        tally.pages.insert(mapping(of: Address(layout.canonical(input)), from: step).range)
      case .table:
        guard level > 0 else { throw .damagedEntry(slot: step.slot.bits, bits: step.bits, level: level) }
        let before = tally.pages.count
        try clear(range, in: step.output, at: level - 1, base: self.base(of: step, in: table, at: level, base), &tally)
        if tally.pages.count > before, try isUnlinkable(step) { try unlink(step, &tally) }
      }
    }
  }

  private func isUnlinkable(_ step: TableStep<Output>) throws(MapError) -> Bool {
    if step.level == layout.topLevel, layout.hasFixedRoot { return false }
    for index in 0..<layout.entryCount(at: step.level - 1) {
      let bits = try load(step.output + UInt64(index * layout.entryByteCount))
      if bits != absentBits[step.level - 1] { return false }
    }
    return true
  }

  private func unlink(_ step: TableStep<Output>, _ tally: inout ClearedEntries) throws(MapError) {
    try store(absentBits[step.level], at: step.slot)
    retired.append((step.output, step.level - 1))
    tally.tables += 1
  }
}
