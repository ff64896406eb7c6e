// The way of ordinary accesses through TLBs and walk, batch by batch. Made concrete inside each back end.
public import CPagingKit

/// Caches, memory and permissions of a unit: what translating needs, as one value of pointers.
@frozen public struct TranslationEngine: @unchecked Sendable {
  // SAFETY: as AssociativeArray.
  public let caches: TranslationCaches
  @inlinable @inline(__always) public var permissions: Permissions { caches.permissions }
  public var memory: PhysicalMemory
  /// What load-locked and store-conditional share: the reserved physical address, or `UInt64.max`.
  public let reservation: UnsafeMutablePointer<UInt64>

  public init(_ geometry: CacheGeometry, sizes: PageSizes, memory: PhysicalMemory) {
    caches = TranslationCaches(geometry, sizes: sizes)
    self.memory = memory
    reservation = .allocate(capacity: 1)
    reservation.initialize(to: .max)
  }

  public func deallocate() {
    caches.deallocate()
    reservation.deallocate()
  }

  /// Runs accesses from `first` on until one is not finished by this regime.
  @inlinable
  public func run<R: Regime, Observer: WalkObserver>(
    _ regime: R, _ batch: Batch, from first: Int, to end: Int, _ observer: Observer
  ) -> EngineEnd {
    let accesses = batch.accesses
    let results = batch.results
    let parts = caches.parts
    let spaces = Spaces(own: regime.context, global: regime.globalContext)
    let privileges = regime.privileges
    if R.hasApproach && !Observer.isWatching && parts.hasOnlyWalks { return runInPhases(regime, batch, from: first, to: end, observer) }
    var i = first
    // Where most look-ups miss, the last entries of the next walks are asked for before they are needed.
    var walks = parts.counters.pointee.walks
    defer { parts.counters.pointee.accesses &+= UInt64(truncatingIfNeeded: i &- first) }
    while i < end {
      let last = min(i &+ Self.lookAhead, end)
      if parts.hasNoTLB || parts.counters.pointee.walks &- walks > UInt64(Self.lookAhead / 2) {
        prefetch(regime, accesses, from: i, to: last)
      }
      walks = parts.counters.pointee.walks
      while i < last {
        let access = accesses + i
        guard belongs(access, privileges) else { return EngineEnd(i, .leave) }
        if isPlain(access) {
          let address = regime.untagged(access.pointee.address, access.pointee)
          if lookUp(regime, address, access, parts, spaces, observer, ResultRecord(results + i)) != .none {
            return faulted(i, access.pointee.address, results[i])
          }
        } else {
          let stop = runWhole(regime, access.pointee, i, batch, observer)
          if stop.stop != .end { return stop }
        }
        i &+= 1
      }
    }
    return EngineEnd(i, .end)
  }

  /// Whether the access is this regime's.
  @inlinable @inline(__always) func belongs(_ access: UnsafePointer<pgk_access_v1>, _ privileges: UInt32) -> Bool {
    !access.pointee.isSpecial && (privileges &>> UInt32(truncatingIfNeeded: access.pointee.privilege & 31)) & 1 != 0
  }

  /// Whether the access lies on one page and moves no data.
  @inlinable @inline(__always) func isPlain(_ access: UnsafePointer<pgk_access_v1>) -> Bool {
    access.pointee.address & 0xfff &+ access.pointee.byteCount <= 4096 && access.pointee.isTranslateOnly
  }

  /// The contexts of a batch.
  @frozen @usableFromInline struct Spaces {
    @usableFromInline let own: ContextTag
    @usableFromInline let global: ContextTag
    @inlinable @inline(__always) init(own: ContextTag, global: ContextTag) {
      self.own = own
      self.global = global
    }
  }

  @inlinable static var lookAhead: Int { 16 }

  /// Addresses that lie closer together have tables small enough to be in the processor's caches anyway.
  @inlinable static var smallSpan: UInt64 { 128 &<< 20 }

  @inline(never) @inlinable
  func prefetch<R: Regime>(_ regime: R, _ accesses: UnsafePointer<pgk_access_v1>, from first: Int, to end: Int) {
    var low = UInt64.max
    var high: UInt64 = 0
    for i in first..<end {
      low = min(low, accesses[i].address)
      high = max(high, accesses[i].address)
    }
    if high &- low < Self.smallSpan { return }
    var before = PrefetchedTable()
    for i in first..<end { regime.prefetch(regime.untagged(accesses[i].address, accesses[i]), memory, &before) }
  }

  @inlinable func faulted(_ i: Int, _ address: UInt64, _ result: pgk_result_v1) -> EngineEnd {
    var end = EngineEnd(i, .fault)
    end.faultAddress = address
    end.reads = result.entry_reads
    return end
  }
}
