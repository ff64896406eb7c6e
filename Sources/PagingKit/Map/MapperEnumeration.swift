// Going through all that is mapped.
import CPagingKit

extension Mapper {
  /// Every mapped page that touches the range, in order. The body must not change tables other than the slot it is given.
  func forEachLeaf(
    in range: PageRange<Input>, _ body: (Mapping<Input, Output>, TableStep<Output>) throws(MapError) -> Void
  ) throws(MapError) {
    try forEachLeaf(of: significant(range), in: root, at: layout.topLevel, base: 0, body)
  }

  /// Every mapped page that touches the range, in order.
  public func forEachMapping(
    in range: PageRange<Input>, _ body: (Mapping<Input, Output>) -> Void
  ) throws(MapError) {
    try forEachLeaf(in: range) { mapping, _ throws(MapError) in body(mapping) }
  }

  /// All that is mapped, as ranges of neighbouring pages, whatever they map to.
  public func mappedRanges() throws(MapError) -> [PageRange<Input>] {
    var ranges: [PageRange<Input>] = []
    let all = 0...layout.significant(.max)
    try forEachLeaf(of: all, in: root, at: layout.topLevel, base: 0) { mapping, _ throws(MapError) in
      if let previous = ranges.last, previous.last.bits &+ 1 == mapping.input.bits {
        ranges[ranges.count - 1] = PageRange(from: previous.start, through: mapping.range.last)
      } else {
        ranges.append(mapping.range)
      }
    }
    return ranges
  }

  /// A range that splits no page: its ends may not lie inside a larger one.
  func checkPagesInside(_ range: PageRange<Input>) throws(MapError) {
    try checkRange(range)
    for end in [range.start, range.last] {
      guard let mapping = try mapping(of: end) else { continue }
      guard range.contains(mapping.range) else { throw .splitsLargerPage(end.bits, page: "\(mapping)") }
    }
  }

  private func forEachLeaf(
    of range: ClosedRange<UInt64>, in table: Address<Output>, at level: Int, base: UInt64,
    _ body: (Mapping<Input, Output>, TableStep<Output>) throws(MapError) -> Void
  ) throws(MapError) {
    for step in try steps(in: table, at: level, indices(of: range, at: level, base: base)) {
      let input = self.base(of: step, in: table, at: level, base)
      switch step.kind {
      case .absent: continue
      case .leaf: try body(mapping(of: Address(layout.canonical(input)), from: step), step)
      case .table where level > 0: try forEachLeaf(of: range, in: step.output, at: level - 1, base: input, body)
      case .table, .invalid: throw .damagedEntry(slot: step.slot.bits, bits: step.bits, level: step.level)
      }
    }
  }

  // MARK: Positions, in significant bits of the input address

  func significant(_ range: PageRange<Input>) -> ClosedRange<UInt64> {
    layout.significant(range.start.bits)...layout.significant(range.last.bits)
  }

  /// Which entries of the table that begins at `base` touch the range.
  func indices(of range: ClosedRange<UInt64>, at level: Int, base: UInt64) -> ClosedRange<Int> {
    let shift = UInt64(layout.levels[level].shift)
    let first = range.lowerBound > base ? (range.lowerBound - base) >> shift : 0
    let last = min((range.upperBound - base) >> shift, UInt64(layout.entryCount(at: level) - 1))
    return Int(first)...Int(last)
  }

  func base(of step: TableStep<Output>, in table: Address<Output>, at level: Int, _ base: UInt64) -> UInt64 {
    let index = (step.slot.bits - table.bits) / UInt64(layout.entryByteCount)
    return base + index << UInt64(layout.levels[level].shift)
  }

  /// Some entries of a table, without those that were never used.
  func steps(
    in table: Address<Output>, at level: Int, _ indices: ClosedRange<Int>
  ) throws(MapError) -> [TableStep<Output>] {
    var steps: [TableStep<Output>] = []
    for index in indices {
      let slot = table + UInt64(index * layout.entryByteCount)
      let bits = try load(slot)
      guard bits != absentBits[level] else { continue }
      steps.append(TableStep(slot: slot, bits: bits, level: level, decoded: try decode(bits, at: level)))
    }
    return steps
  }
}
