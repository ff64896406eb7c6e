// All caches of one unit, as a value that a batch can copy.

/// What a unit counts. Order and names are those of `Counters.names`.
@frozen public struct Counters: Sendable {
  public var accesses: UInt64 = 0
  public var references: UInt64 = 0
  public var tlbL1Hits: UInt64 = 0
  public var tlbL1iHits: UInt64 = 0
  public var tlbL2Hits: UInt64 = 0
  public var tlbMisses: UInt64 = 0
  public var walks: UInt64 = 0
  public var entryReads: UInt64 = 0
  public var secondStageReads: UInt64 = 0
  public var walkCacheHits: UInt64 = 0
  public var nestedTlbHits: UInt64 = 0
  public var updates: UInt64 = 0
  public var faults: UInt64 = 0
  public var invalidations: UInt64 = 0

  public init() {}

  public static let names: [(name: String, help: String)] = [
    ("accesses", "accesses started; a replay counts again"),
    ("references", "TLB look-ups: an access that crosses a page counts once in each"),
    ("tlbL1Hits", "look-ups that the first TLB level answered"),
    ("tlbL1iHits", "fetches that the first-level instruction TLB answered"),
    ("tlbL2Hits", "look-ups that the second TLB level answered"),
    ("tlbMisses", "look-ups that no level answered and a walk did, so that an entry was filled"),
    ("walks", "walks started, those that fail or set a dirty flag included"),
    ("entryReads", "table entries read, in both stages"),
    ("secondStageReads", "of these, entries of second-stage tables"),
    ("walkCacheHits", "walks that a walk cache shortened"),
    ("nestedTlbHits", "guest-physical addresses that the nested TLB answered"),
    ("updates", "accessed or dirty flags written to table entries"),
    ("faults", "accesses that ended in the pending list"),
    ("invalidations", "invalidation operations performed"),
  ]

  public var values: [UInt64] {
    [accesses, references, tlbL1Hits, tlbL1iHits, tlbL2Hits, tlbMisses, walks, entryReads, secondStageReads, walkCacheHits,
      nestedTlbHits, updates, faults, invalidations]
  }
}

/// TLBs, walk caches and scratch space of one unit. A plain value of pointers; the unit deallocates it once.
@frozen public struct TranslationCaches: @unchecked Sendable {
  // SAFETY: as AssociativeArray.
  public let l1: TLB
  public let l1i: TLB
  public let l2: TLB
  public let nested: TLB
  /// Index n: entries read at level n. Index 0 is absent: leaves of the last level live in TLBs.
  public let prefix: UnsafeMutablePointer<PrefixWalkCache>
  /// The same for second-stage tables.
  public let secondPrefix: UnsafeMutablePointer<PrefixWalkCache>
  public let hasPrefix: Bool
  public let hasSecondPrefix: Bool
  public let entries: EntryWalkCache
  public let counters: UnsafeMutablePointer<Counters>
  /// Room for the entries of one walk, by stage.
  public let path: UnsafeMutablePointer<PathStep>
  public let secondPath: UnsafeMutablePointer<PathStep>
  public let fault: UnsafeMutablePointer<WalkFault>

  public static let prefixLevels = 5
  static let pathLength = 8

  public init(_ geometry: CacheGeometry, sizes: PageSizes) {
    func array(_ name: String) -> AssociativeArray {
      let shape = geometry[name]
      return AssociativeArray(sets: shape.sets, ways: shape.ways, replacement: geometry.replacement, seed: geometry.seed)
    }
    func prefixes(_ name: String) -> UnsafeMutablePointer<PrefixWalkCache> {
      let list = UnsafeMutablePointer<PrefixWalkCache>.allocate(capacity: Self.prefixLevels)
      for level in 0..<Self.prefixLevels {
        let array = level == 0 ? AssociativeArray(sets: 1, ways: 0) : array("\(name).level\(level)")
        (list + level).initialize(to: PrefixWalkCache(array))
      }
      return list
    }
    l1 = TLB(array("tlb.l1"), sizes: sizes)
    l1i = TLB(array("tlb.l1i"), sizes: sizes)
    l2 = TLB(array("tlb.l2"), sizes: sizes)
    nested = TLB(array("tlb.nested"), sizes: sizes)
    prefix = prefixes("pwc")
    secondPrefix = prefixes("pwc2")
    hasPrefix = (0..<Self.prefixLevels).contains { [prefix] in !prefix[$0].isAbsent }
    hasSecondPrefix = (0..<Self.prefixLevels).contains { [secondPrefix] in !secondPrefix[$0].isAbsent }
    entries = EntryWalkCache(array("entrycache"))
    counters = .allocate(capacity: 1)
    counters.initialize(to: Counters())
    path = .allocate(capacity: Self.pathLength)
    secondPath = .allocate(capacity: Self.pathLength)
    let empty = PathStep(slot: 0, place: 0, entry: Entry(0), next: 0, rights: .all, level: 0)
    path.initialize(repeating: empty, count: Self.pathLength)
    secondPath.initialize(repeating: empty, count: Self.pathLength)
    fault = .allocate(capacity: 1)
    fault.initialize(to: WalkFault())
  }

  public func deallocate() {
    for tlb in [l1, l1i, l2, nested] { tlb.deallocate() }
    for list in [prefix, secondPrefix] {
      for level in 0..<Self.prefixLevels { list[level].deallocate() }
      list.deallocate()
    }
    entries.deallocate()
    counters.deallocate()
    path.deallocate()
    secondPath.deallocate()
    fault.deallocate()
  }

  // MARK: Walk caches

  /// Where a walk starts. Every level that knows the address is made most recent; the lowest one wins.
  @inlinable @inline(__always)
  public func start(
    _ input: UInt64, root: WalkStart, _ radix: Radix, _ context: ContextTag, _ caches: UnsafeMutablePointer<PrefixWalkCache>
  ) -> WalkStart {
    var start = root
    var level = root.level
    while level > 0 {
      if level < Self.prefixLevels && !caches[level].isAbsent {
        var payload: UInt64 = 0
        if caches[level].find(input, shift: radix.shift(level), context, &payload) {
          start = WalkStart(
            table: payload &>> 8, level: level &- 1, rights: Rights(rawValue: UInt8(truncatingIfNeeded: payload)))
        }
      }
      level &-= 1
    }
    if start.level != root.level { counters.pointee.walkCacheHits &+= 1 }
    return start
  }

  /// Fills the caches with the table entries, `count` of them, that a walk went through, down to the first whose accessed
  /// flag is not set: a link below it would let later walks pass it by, and the flag would never be set.
  @inlinable @inline(__always)
  public func fill<Format: PageTableFormat>(
    _ input: UInt64, _ format: Format.Type, _ controls: Format.Controls, _ context: ContextTag, tables count: Int,
    path: UnsafeMutablePointer<PathStep>, _ caches: UnsafeMutablePointer<PrefixWalkCache>
  ) {
    var i = 0
    while i < count {
      let step = path[i]
      let level = Int(step.level)
      guard step.entry == Format.marked(step.entry, at: level, isLeaf: false, isWritten: false, controls) else { return }
      if level < Self.prefixLevels, !caches[level].isAbsent {
        caches[level].insert(input, shift: Format.radix.shift(level), context, table: step.next, rights: step.rights)
      }
      i &+= 1
    }
  }

  // MARK: Invalidation

  /// Drops all of the first stage, and the second's, for the contexts that the condition names.
  public func removeAll(where condition: (ContextTag) -> Bool) {
    for tlb in [l1, l1i, l2, nested] { tlb.removeAll(where: condition) }
    for level in 0..<Self.prefixLevels {
      prefix[level].removeAll(where: condition)
      secondPrefix[level].removeAll(where: condition)
    }
    entries.removeAll()
  }

  public func removeAll() {
    for tlb in [l1, l1i, l2, nested] { tlb.removeAll() }
    for level in 0..<Self.prefixLevels {
      prefix[level].array.removeAll()
      secondPrefix[level].array.removeAll()
    }
    entries.removeAll()
  }

  /// Drops the translations of one page from the TLBs of whole translations.
  public func removePage(_ address: UInt64, where condition: (ContextTag) -> Bool) {
    for tlb in [l1, l1i, l2] where !tlb.isAbsent { tlb.removePage(address, where: condition) }
  }

  /// Drops the walk-cache entries of every level for the contexts that the condition names.
  public func removePrefixes(where condition: (ContextTag) -> Bool) {
    for level in 0..<Self.prefixLevels { prefix[level].removeAll(where: condition) }
    entries.removeAll()
  }
}
