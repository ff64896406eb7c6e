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

/// What one unit caches and scribbles on: every cache as a value, so that a batch may keep them in registers.
@frozen public struct CacheParts: @unchecked Sendable {
  // SAFETY: as AssociativeArray.
  public let l1: TLB
  public let l1i: TLB
  public let l2: TLB
  public let nested: TLB
  /// Walk caches by address prefix.
  public let prefix: PrefixWalkCaches
  /// The same for second-stage tables.
  public let secondPrefix: PrefixWalkCaches
  public let entries: EntryWalkCache
  public let hasNoTLB: Bool
  public let hasInstructionTLB: Bool
  /// Nothing of the first stage, or of both together, is cached.
  public let hasOnlyWalks: Bool
  public let permissions: Permissions
  /// Room for the entries of one walk, by stage.
  public let path: UnsafeMutablePointer<PathStep>
  public let secondPath: UnsafeMutablePointer<PathStep>
  /// Room for walks that have come to their last tables.
  public let approaches: UnsafeMutablePointer<Approach?>
  public let counters: UnsafeMutablePointer<Counters>
  /// Why the last translation failed.
  public let fault: UnsafeMutablePointer<WalkFault>

  @inlinable static var approachCount: Int { 32 }

  init(_ geometry: CacheGeometry, sizes: PageSizes) {
    func array(_ name: String) -> AssociativeArray {
      let shape = geometry[name]
      return AssociativeArray(sets: shape.sets, ways: shape.ways, replacement: geometry.replacement, seed: geometry.seed)
    }
    func prefixes(_ name: String) -> PrefixWalkCaches {
      PrefixWalkCaches { PrefixWalkCache(array("\(name).level\($0)")) }
    }
    func path() -> UnsafeMutablePointer<PathStep> {
      let path = UnsafeMutablePointer<PathStep>.allocate(capacity: TranslationCaches.pathLength)
      path.initialize(
        repeating: PathStep(slot: 0, place: 0, entry: Entry(0)), count: TranslationCaches.pathLength)
      return path
    }
    func one<Value>(_ value: Value) -> UnsafeMutablePointer<Value> {
      let place = UnsafeMutablePointer<Value>.allocate(capacity: 1)
      place.initialize(to: value)
      return place
    }
    l1 = TLB(array("tlb.l1"), sizes: sizes)
    l1i = TLB(array("tlb.l1i"), sizes: sizes)
    l2 = TLB(array("tlb.l2"), sizes: sizes)
    nested = TLB(array("tlb.nested"), sizes: sizes)
    prefix = prefixes("pwc")
    secondPrefix = prefixes("pwc2")
    entries = EntryWalkCache(array("entrycache"))
    hasNoTLB = l1.isAbsent && l1i.isAbsent && l2.isAbsent
    hasInstructionTLB = !l1i.isAbsent
    hasOnlyWalks = hasNoTLB && !prefix.isPresent && entries.isAbsent
    permissions = Permissions()
    self.path = path()
    secondPath = path()
    approaches = .allocate(capacity: Self.approachCount)
    approaches.initialize(repeating: nil, count: Self.approachCount)
    counters = one(Counters())
    fault = one(WalkFault())
  }

  func deallocate() {
    for tlb in [l1, l1i, l2, nested] { tlb.deallocate() }
    prefix.deallocate()
    secondPrefix.deallocate()
    entries.deallocate()
    permissions.deallocate()
    path.deallocate()
    secondPath.deallocate()
    approaches.deallocate()
    counters.deallocate()
    fault.deallocate()
  }
}

/// TLBs, walk caches and scratch space of one unit: one pointer, copied freely; the unit deallocates it once.
@frozen public struct TranslationCaches: @unchecked Sendable {
  // SAFETY: as AssociativeArray.
  @usableFromInline let storage: UnsafeMutablePointer<CacheParts>

  @inlinable @inline(__always) public var parts: CacheParts { storage.pointee }
  @inlinable @inline(__always) public var l1: TLB { parts.l1 }
  @inlinable @inline(__always) public var l1i: TLB { parts.l1i }
  @inlinable @inline(__always) public var l2: TLB { parts.l2 }
  @inlinable @inline(__always) public var nested: TLB { parts.nested }
  @inlinable @inline(__always) public var prefix: PrefixWalkCaches { parts.prefix }
  @inlinable @inline(__always) public var secondPrefix: PrefixWalkCaches { parts.secondPrefix }
  @inlinable @inline(__always) public var hasPrefix: Bool { parts.prefix.isPresent }
  @inlinable @inline(__always) public var hasSecondPrefix: Bool { parts.secondPrefix.isPresent }
  @inlinable @inline(__always) public var hasNoTLB: Bool { parts.hasNoTLB }
  @inlinable @inline(__always) public var hasEntries: Bool { !parts.entries.isAbsent }
  @inlinable @inline(__always) public var entries: EntryWalkCache { parts.entries }
  @inlinable @inline(__always) public var permissions: Permissions { parts.permissions }
  @inlinable @inline(__always) public var path: UnsafeMutablePointer<PathStep> { parts.path }
  @inlinable @inline(__always) public var secondPath: UnsafeMutablePointer<PathStep> { parts.secondPath }
  @inlinable @inline(__always) public var counters: UnsafeMutablePointer<Counters> { parts.counters }
  @inlinable @inline(__always) public var fault: UnsafeMutablePointer<WalkFault> { parts.fault }

  /// Levels at which walk caches by prefix may hold entries, and 0, at which none does: leaves of the last level live in TLBs.
  public static let prefixLevels = 5
  static let pathLength = 8

  public init(_ geometry: CacheGeometry, sizes: PageSizes) {
    storage = .allocate(capacity: 1)
    storage.initialize(to: CacheParts(geometry, sizes: sizes))
  }

  public func deallocate() {
    parts.deallocate()
    storage.deallocate()
  }

  // MARK: Walk caches

  /// Where a walk starts. Every level that knows the address is made most recent; the lowest one wins.
  @inlinable @inline(__always)
  public func start<Format: PageTableFormat>(
    _ input: UInt64, root: WalkStart, _ format: Format.Type, _ context: ContextTag, _ caches: PrefixWalkCaches
  ) -> WalkStart {
    let start = caches.start(input, root: root, format, context)
    if start.level != root.level { counters.pointee.walkCacheHits &+= 1 }
    return start
  }

  /// Fills the caches with the table entries that a walk went through, from where it started to the one above `level`,
  /// down to the first whose accessed flag is not set: a link below it would let later walks pass it by, and the flag
  /// would never be set.
  @inline(never) @inlinable
  public func fill<Format: PageTableFormat>(
    _ input: UInt64, _ format: Format.Type, _ controls: Format.Controls, _ context: ContextTag, from start: WalkStart,
    downTo level: Int, path: UnsafeMutablePointer<PathStep>, _ caches: PrefixWalkCaches
  ) {
    var rights = start.rights
    var current = start.level
    while current > level {
      let entry = path[current].entry
      guard entry == Format.marked(entry, at: current, isLeaf: false, isWritten: false, controls),
        case .table(let next) = Format.step(entry, at: current, controls)
      else { return }
      rights.formIntersection(Format.rights(of: entry, at: current, isLeaf: false, controls))
      if current < Self.prefixLevels {
        caches[current].insert(
          input, shift: Format.radix.shift(current), context, PrefixWalkCache.payload(table: next, rights: rights))
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
    prefix.removeAll(where: condition)
    secondPrefix.removeAll(where: condition)
    entries.removeAll()
  }

  public func removeAll() {
    for tlb in [l1, l1i, l2, nested] { tlb.removeAll() }
    for array in prefix.arrays + secondPrefix.arrays { array.removeAll() }
    entries.removeAll()
  }

  /// Drops the translations of one page from the TLBs of whole translations.
  public func removePage(_ address: UInt64, where condition: (ContextTag) -> Bool) {
    for tlb in [l1, l1i, l2] where !tlb.isAbsent { tlb.removePage(address, where: condition) }
  }

  /// Drops the walk-cache entries of every level for the contexts that the condition names.
  public func removePrefixes(where condition: (ContextTag) -> Bool) {
    prefix.removeAll(where: condition)
    entries.removeAll()
  }
}
