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

/// What one unit caches and scribbles on, in one place.
@frozen @usableFromInline struct CacheStorage {
  @usableFromInline var l1: TLB
  @usableFromInline var l1i: TLB
  @usableFromInline var l2: TLB
  @usableFromInline var nested: TLB
  @usableFromInline var prefix: UnsafeMutablePointer<PrefixWalkCache>
  @usableFromInline var secondPrefix: UnsafeMutablePointer<PrefixWalkCache>
  @usableFromInline var hasPrefix: Bool
  @usableFromInline var hasSecondPrefix: Bool
  @usableFromInline var hasEntries: Bool
  @usableFromInline var hasNoTLB: Bool
  @usableFromInline var hasInstructionTLB: Bool
  @usableFromInline var entries: EntryWalkCache
  @usableFromInline var counters: UnsafeMutablePointer<Counters>
  @usableFromInline var fault: UnsafeMutablePointer<WalkFault>
  @usableFromInline var permissions: Permissions
  @usableFromInline var path: UnsafeMutablePointer<PathStep>
  @usableFromInline var secondPath: UnsafeMutablePointer<PathStep>
}

/// TLBs, walk caches and scratch space of one unit: one pointer, copied freely; the unit deallocates it once.
@frozen public struct TranslationCaches: @unchecked Sendable {
  // SAFETY: as AssociativeArray.
  @usableFromInline let storage: UnsafeMutablePointer<CacheStorage>

  @inlinable @inline(__always) public var l1: TLB { storage.pointee.l1 }
  @inlinable @inline(__always) public var l1i: TLB { storage.pointee.l1i }
  @inlinable @inline(__always) public var l2: TLB { storage.pointee.l2 }
  @inlinable @inline(__always) public var nested: TLB { storage.pointee.nested }
  /// Index n: entries read at level n. Index 0 is absent: leaves of the last level live in TLBs.
  @inlinable @inline(__always) public var prefix: UnsafeMutablePointer<PrefixWalkCache> { storage.pointee.prefix }
  /// The same for second-stage tables.
  @inlinable @inline(__always) public var secondPrefix: UnsafeMutablePointer<PrefixWalkCache> { storage.pointee.secondPrefix }
  @inlinable @inline(__always) public var hasPrefix: Bool { storage.pointee.hasPrefix }
  @inlinable @inline(__always) public var hasSecondPrefix: Bool { storage.pointee.hasSecondPrefix }
  @inlinable @inline(__always) public var hasInstructionTLB: Bool { storage.pointee.hasInstructionTLB }
  @inlinable @inline(__always) public var hasNoTLB: Bool { storage.pointee.hasNoTLB }
  @inlinable @inline(__always) public var hasEntries: Bool { storage.pointee.hasEntries }
  @inlinable @inline(__always) public var entries: EntryWalkCache { storage.pointee.entries }
  @inlinable @inline(__always) public var permissions: Permissions { storage.pointee.permissions }
  /// Room for the entries of one walk, by stage.
  @inlinable @inline(__always) public var path: UnsafeMutablePointer<PathStep> { storage.pointee.path }
  @inlinable @inline(__always) public var secondPath: UnsafeMutablePointer<PathStep> { storage.pointee.secondPath }

  @inlinable @inline(__always) public var counters: UnsafeMutablePointer<Counters> { storage.pointee.counters }
  /// Why the last translation failed.
  @inlinable @inline(__always) public var fault: UnsafeMutablePointer<WalkFault> { storage.pointee.fault }

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
    func path() -> UnsafeMutablePointer<PathStep> {
      let path = UnsafeMutablePointer<PathStep>.allocate(capacity: Self.pathLength)
      path.initialize(
        repeating: PathStep(slot: 0, place: 0, entry: Entry(0)), count: Self.pathLength)
      return path
    }
    func one<Value>(_ value: Value) -> UnsafeMutablePointer<Value> {
      let place = UnsafeMutablePointer<Value>.allocate(capacity: 1)
      place.initialize(to: value)
      return place
    }
    let prefix = prefixes("pwc")
    let secondPrefix = prefixes("pwc2")
    storage = .allocate(capacity: 1)
    storage.initialize(to: CacheStorage(
      l1: TLB(array("tlb.l1"), sizes: sizes), l1i: TLB(array("tlb.l1i"), sizes: sizes), l2: TLB(array("tlb.l2"), sizes: sizes),
      nested: TLB(array("tlb.nested"), sizes: sizes), prefix: prefix, secondPrefix: secondPrefix,
      hasPrefix: (0..<Self.prefixLevels).contains { !prefix[$0].isAbsent },
      hasSecondPrefix: (0..<Self.prefixLevels).contains { !secondPrefix[$0].isAbsent },
      hasEntries: geometry["entrycache"].ways > 0,
      hasNoTLB: geometry["tlb.l1"].ways == 0 && geometry["tlb.l1i"].ways == 0 && geometry["tlb.l2"].ways == 0,
      hasInstructionTLB: geometry["tlb.l1i"].ways > 0,
      entries: EntryWalkCache(array("entrycache")), counters: one(Counters()), fault: one(WalkFault()),
      permissions: Permissions(), path: path(), secondPath: path()))
  }

  public func deallocate() {
    for tlb in [l1, l1i, l2, nested] { tlb.deallocate() }
    for list in [prefix, secondPrefix] {
      for level in 0..<Self.prefixLevels { list[level].deallocate() }
      list.deallocate()
    }
    entries.deallocate()
    permissions.deallocate()
    path.deallocate()
    secondPath.deallocate()
    counters.deallocate()
    fault.deallocate()
    storage.deallocate()
  }

  // MARK: Walk caches

  /// Where a walk starts. Every level that knows the address is made most recent; the lowest one wins.
  @inlinable @inline(__always)
  public func start<Format: PageTableFormat>(
    _ input: UInt64, root: WalkStart, _ format: Format.Type, _ context: ContextTag,
    _ caches: UnsafeMutablePointer<PrefixWalkCache>
  ) -> WalkStart {
    var start = root
    if Format.radix.levelCount > 4 { consult(4, input, format, context, caches, &start) }
    if Format.radix.levelCount > 3 { consult(3, input, format, context, caches, &start) }
    if Format.radix.levelCount > 2 && root.level >= 2 { consult(2, input, format, context, caches, &start) }
    consult(1, input, format, context, caches, &start)
    if start.level != root.level { counters.pointee.walkCacheHits &+= 1 }
    return start
  }

  @inlinable @inline(__always)
  func consult<Format: PageTableFormat>(
    _ level: Int, _ input: UInt64, _ format: Format.Type, _ context: ContextTag,
    _ caches: UnsafeMutablePointer<PrefixWalkCache>, _ start: inout WalkStart
  ) {
    var payload: UInt64 = 0
    guard !caches[level].isAbsent, caches[level].find(input, shift: Format.radix.shift(level), context, &payload) else { return }
    start = WalkStart(
      table: payload &>> 8, level: level &- 1, rights: Rights(rawValue: UInt8(truncatingIfNeeded: payload)))
  }

  /// Fills the caches with the table entries that a walk went through, from where it started to the one above `level`,
  /// down to the first whose accessed flag is not set: a link below it would let later walks pass it by, and the flag
  /// would never be set.
  @inline(never) @inlinable
  public func fill<Format: PageTableFormat>(
    _ input: UInt64, _ format: Format.Type, _ controls: Format.Controls, _ context: ContextTag, from start: WalkStart,
    downTo level: Int, path: UnsafeMutablePointer<PathStep>, _ caches: UnsafeMutablePointer<PrefixWalkCache>
  ) {
    var rights = start.rights
    var current = start.level
    while current > level {
      let entry = path[current].entry
      guard entry == Format.marked(entry, at: current, isLeaf: false, isWritten: false, controls),
        case .table(let next) = Format.step(entry, at: current, controls)
      else { return }
      rights.formIntersection(Format.rights(of: entry, at: current, isLeaf: false, controls))
      if current < Self.prefixLevels, !caches[current].isAbsent {
        caches[current].insert(input, shift: Format.radix.shift(current), context, table: next, rights: rights)
      }
      current &-= 1
    }
  }

  /// Keeps the pointers of a walk by their addresses, down to the first whose accessed flag is not set yet.
  @inline(never) @inlinable
  public func fillEntries<Format: PageTableFormat>(
    _ format: Format.Type, _ controls: Format.Controls, from top: Int, downTo level: Int, path: UnsafeMutablePointer<PathStep>
  ) {
    var current = top
    while current > level {
      let step = path[current]
      var known: UInt64 = 0
      guard step.entry == Format.marked(step.entry, at: current, isLeaf: false, isWritten: false, controls) else { return }
      if !entries.find(slot: step.place, &known) { entries.insert(slot: step.place, step.entry.bits) }
      current &-= 1
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
