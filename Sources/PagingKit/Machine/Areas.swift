// What a program may use of its address space, whether or not pages are there yet.

/// A run of addresses with one set of rights. Pages appear in it on demand.
public struct Area: Equatable, Sendable {
  public var range: PageRange<Virtual>
  public var attributes: PageAttributes

  public init(_ range: PageRange<Virtual>, _ attributes: PageAttributes) {
    self.range = range
    self.attributes = attributes
  }
}

/// The areas of one space: sorted, not overlapping.
public struct Areas: Sendable {
  public private(set) var list: [Area] = []

  public init() {}

  /// The area that holds an address.
  public func area(holding address: Address<Virtual>) -> Area? {
    let index = firstIndex(endingAtOrAfter: address)
    guard index < list.count, list[index].range.contains(address) else { return nil }
    return list[index]
  }

  /// Makes the range one area; what was there before gives way.
  public mutating func insert(_ area: Area) {
    remove(area.range)
    list.insert(area, at: firstIndex(endingAtOrAfter: area.range.start))
  }

  /// Ends the range; areas that reach over its ends are cut.
  public mutating func remove(_ range: PageRange<Virtual>) {
    replace(range) { _ in nil }
  }

  /// Gives what exists of the range other attributes.
  public mutating func protect(_ range: PageRange<Virtual>, _ attributes: PageAttributes) {
    replace(range) { Area($0.range, attributes) }
  }

  /// Replaces the part of each area that lies in the range.
  private mutating func replace(_ range: PageRange<Virtual>, _ change: (Area) -> Area?) {
    let first = firstIndex(endingAtOrAfter: range.start)
    var end = first
    var parts: [Area] = []
    while end < list.count, list[end].range.overlaps(range) {
      parts += Self.cut(list[end], range, change)
      end += 1
    }
    list.replaceSubrange(first..<end, with: parts)
  }

  private static func cut(_ area: Area, _ range: PageRange<Virtual>, _ change: (Area) -> Area?) -> [Area] {
    var parts: [Area] = []
    let inside = PageRange(from: max(area.range.start, range.start), through: min(area.range.last, range.last))
    if area.range.start < inside.start {
      parts.append(Area(PageRange(from: area.range.start, through: Address(inside.start.bits - 1)), area.attributes))
    }
    if let changed = change(Area(inside, area.attributes)) { parts.append(changed) }
    if area.range.last > inside.last {
      parts.append(Area(PageRange(from: Address(inside.last.bits + 1), through: area.range.last), area.attributes))
    }
    return parts
  }

  private func firstIndex(endingAtOrAfter address: Address<Virtual>) -> Int {
    var low = 0
    var high = list.count
    while low < high {
      let middle = (low + high) / 2
      if list[middle].range.last < address { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
