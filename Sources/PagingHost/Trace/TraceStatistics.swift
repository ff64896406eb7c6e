/// What a trace holds, counted while it is read: every line so far, whichever stream is delivered.
public struct TraceStatistics: Sendable, Equatable {
  public var instructions: UInt64 = 0
  public var loads: UInt64 = 0
  public var stores: UInt64 = 0
  public var modifies: UInt64 = 0
  /// Lines whose bytes lie in two pages.
  public var pageStraddling: UInt64 = 0
  public var distinctPages: UInt64 = 0
  public var distinctInstructionPages: UInt64 = 0
  public var distinctDataPages: UInt64 = 0

  public init() {}

  public var lines: UInt64 { instructions + loads + stores + modifies }
}

/// Distinct pages by who used them: an open hash table of page numbers with a mark for each use.
///
/// Grows with the distinct pages, 16 bytes each at most, not with the trace.
struct PageSet {
  static let instruction: UInt64 = 1
  static let data: UInt64 = 2

  /// Page number, shifted left by two, over the marks; 0 is a free place.
  private var places: UnsafeMutablePointer<UInt64>
  private var placeBits = 10
  private(set) var all: UInt64 = 0
  private(set) var instructions: UInt64 = 0
  private(set) var dataPages: UInt64 = 0

  init() {
    places = .allocate(capacity: 1 << placeBits)
    places.initialize(repeating: 0, count: 1 << placeBits)
  }

  func deallocate() { places.deallocate() }

  @inline(__always)
  private func home(_ page: UInt64) -> Int {
    Int(truncatingIfNeeded: (page &* 0x9e37_79b9_7f4a_7c15) &>> UInt64(truncatingIfNeeded: 64 &- placeBits))
  }

  /// `page` is below 2^62.
  @inline(__always)
  mutating func insert(_ page: UInt64, _ mark: UInt64) {
    let place = places[home(page)]
    if place &>> 2 == page, place & mark != 0 { return }
    insertSlowly(page, mark)
  }

  @inline(never)
  private mutating func insertSlowly(_ page: UInt64, _ mark: UInt64) {
    let last = 1 << placeBits - 1
    var index = home(page)
    while places[index] != 0, places[index] >> 2 != page { index = (index + 1) & last }
    guard places[index] & mark == 0 else { return }
    if places[index] == 0 { all += 1 }
    if mark == Self.instruction { instructions += 1 } else { dataPages += 1 }
    places[index] = page << 2 | places[index] & 3 | mark
    if all * 2 > UInt64(last) { grow() }
  }

  private mutating func grow() {
    let old = places
    let oldCount = 1 << placeBits
    placeBits += 1
    let last = 1 << placeBits - 1
    places = .allocate(capacity: last + 1)
    places.initialize(repeating: 0, count: last + 1)
    for place in UnsafeBufferPointer(start: old, count: oldCount) where place != 0 {
      var index = home(place >> 2)
      while places[index] != 0 { index = (index + 1) & last }
      places[index] = place
    }
    old.deallocate()
  }
}
