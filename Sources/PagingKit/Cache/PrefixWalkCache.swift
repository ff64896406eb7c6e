// A walk cache by address prefix: it remembers which table the upper bits of an address lead to.

/// One level of a paging-structure cache: entries read at `level`, found by the address bits that chose them.
@frozen public struct PrefixWalkCache: @unchecked Sendable {
  // SAFETY: as AssociativeArray.
  public let array: AssociativeArray

  public init(_ array: AssociativeArray) { self.array = array }

  public func deallocate() { array.deallocate() }

  @inlinable @inline(__always) public var isAbsent: Bool { array.isAbsent }

  /// Payload: rights 7:0, address of the next table in 63:8 (addresses below 2^56).
  @inlinable @inline(__always)
  public func find(_ address: UInt64, shift: UInt64, _ context: ContextTag, _ payload: inout UInt64) -> Bool {
    let tag = PageTag(address, shift: shift, sizeClass: 0, context: context).bits
    return array.find(key: address &>> shift, tag: tag, &payload)
  }

  @inlinable @inline(__always) public static func payload(table: UInt64, rights: Rights) -> UInt64 {
    table &<< 8 | UInt64(truncatingIfNeeded: rights.rawValue)
  }

  @inlinable @inline(__always)
  public func insert(_ address: UInt64, shift: UInt64, _ context: ContextTag, _ payload: UInt64) {
    let tag = PageTag(address, shift: shift, sizeClass: 0, context: context).bits
    array.insert(key: address &>> shift, CachedWord(tag: tag, payload: payload))
  }

  public func removePrefix(of address: UInt64, shift: UInt64, where condition: (ContextTag) -> Bool) {
    let number = (address >> shift) & 0x7fff_ffff_ffff
    array.removeAll(key: address >> shift) {
      let tag = PageTag(bits: $0.tag)
      return tag.pageNumber == number && condition(tag.context)
    }
  }

  public func removeAll(where condition: (ContextTag) -> Bool) {
    if isAbsent { return }
    array.removeAll { condition(PageTag(bits: $0.tag).context) }
  }
}

/// The walk caches by address prefix of one stage, by the level of the entries that they hold.
@frozen public struct PrefixWalkCaches: Sendable {
  public let level1: PrefixWalkCache
  public let level2: PrefixWalkCache
  public let level3: PrefixWalkCache
  public let level4: PrefixWalkCache
  public let isPresent: Bool
  private let none: PrefixWalkCache

  init(_ make: (_ level: Int) -> PrefixWalkCache) {
    level1 = make(1)
    level2 = make(2)
    level3 = make(3)
    level4 = make(4)
    none = PrefixWalkCache(AssociativeArray(sets: 1, ways: 0))
    isPresent = ![level1, level2, level3, level4].allSatisfy(\.isAbsent)
  }

  func deallocate() {
    for cache in [none, level1, level2, level3, level4] { cache.deallocate() }
  }

  /// Levels 0 to 4; level 0 is absent.
  public subscript(level: Int) -> PrefixWalkCache {
    switch level {
    case 1: level1
    case 2: level2
    case 3: level3
    case 4: level4
    default: none
    }
  }

  public var arrays: [AssociativeArray] { [level1, level2, level3, level4].map(\.array) }

  public func removeAll(where condition: (ContextTag) -> Bool) {
    for cache in [level1, level2, level3, level4] { cache.removeAll(where: condition) }
  }

  /// Where a walk starts. Every level that knows the address is made most recent; the lowest one wins.
  @inlinable @inline(__always)
  public func start<Format: PageTableFormat>(
    _ input: UInt64, root: WalkStart, _ format: Format.Type, _ context: ContextTag
  ) -> WalkStart {
    var start = root
    if Format.radix.levelCount > 4 { level4.consult(4, input, format, context, &start) }
    if Format.radix.levelCount > 3 { level3.consult(3, input, format, context, &start) }
    if Format.radix.levelCount > 2 && root.level >= 2 { level2.consult(2, input, format, context, &start) }
    level1.consult(1, input, format, context, &start)
    return start
  }

  /// Takes in what a glance read: the entries from where it started to the one above its leaf.
  @inlinable @inline(__always)
  public func fill<Format: PageTableFormat>(_ input: UInt64, _ context: ContextTag, from start: WalkStart, _ seen: Glance<Format>) {
    if start.level > 1 { fillUpper(input, Format.self, context, from: start, to: seen.level, seen.link2, seen.link3, seen.link4) }
    if start.level >= 1 && seen.level < 1 { level1.insert(input, shift: Format.radix.shift(1), context, seen.link1) }
  }

  @inline(never) @inlinable
  func fillUpper<Format: PageTableFormat>(
    _ input: UInt64, _ format: Format.Type, _ context: ContextTag, from start: WalkStart, to level: Int, _ link2: UInt64,
    _ link3: UInt64, _ link4: UInt64
  ) {
    if Format.radix.levelCount > 4 && start.level >= 4 && level < 4 {
      level4.insert(input, shift: Format.radix.shift(4), context, link4)
    }
    if Format.radix.levelCount > 3 && start.level >= 3 && level < 3 {
      level3.insert(input, shift: Format.radix.shift(3), context, link3)
    }
    if Format.radix.levelCount > 2 && start.level >= 2 && level < 2 {
      level2.insert(input, shift: Format.radix.shift(2), context, link2)
    }
  }
}

extension PrefixWalkCache {
  @inlinable @inline(__always)
  func consult<Format: PageTableFormat>(
    _ level: Int, _ input: UInt64, _ format: Format.Type, _ context: ContextTag, _ start: inout WalkStart
  ) {
    var payload: UInt64 = 0
    guard find(input, shift: Format.radix.shift(level), context, &payload) else { return }
    start = WalkStart(
      table: payload &>> 8, level: level &- 1, rights: Rights(rawValue: UInt8(truncatingIfNeeded: payload)))
  }
}

/// A walk cache by entry address: it remembers what a slot of a table held.
@frozen public struct EntryWalkCache: @unchecked Sendable {
  // SAFETY: as AssociativeArray.
  public let array: AssociativeArray

  public init(_ array: AssociativeArray) { self.array = array }

  public func deallocate() { array.deallocate() }

  @inlinable @inline(__always) public var isAbsent: Bool { array.isAbsent }

  @inlinable @inline(__always) public func find(slot: UInt64, _ entry: inout UInt64) -> Bool {
    let tag = slot | 1
    return array.find(key: slot &>> 3, tag: tag, &entry)
  }

  @inlinable @inline(__always) public func insert(slot: UInt64, _ entry: UInt64) {
    if !isAbsent { array.insert(key: slot &>> 3, CachedWord(tag: slot | 1, payload: entry)) }
  }

  public func removeAll() { array.removeAll() }
}
