// The way of ordinary accesses through TLBs and walk, batch by batch. Made concrete inside each back end.
public import CPagingKit

/// Why the engine gave a batch back.
@frozen public enum EngineStop: Sendable {
  /// Every access is finished.
  case end
  /// The next access is special, or belongs to another regime.
  case leave
  /// The access failed; `TranslationCaches.fault` says why, `EngineEnd.fault` where.
  case fault
  /// The access reaches a device and moves data.
  case device
  /// The access moves data, and no values were given.
  case noValues
}

/// Where a batch ended.
@frozen public struct EngineEnd: Sendable {
  /// Accesses before this one are finished.
  public var next: Int
  public var stop: EngineStop
  /// First byte on the faulting page, and the entries read until then.
  public var faultAddress: UInt64 = 0
  /// For a device: the address that it answers to.
  public var output: UInt64 = 0
  public var reads: UInt32 = 0

  @inlinable @inline(__always) public init(_ next: Int, _ stop: EngineStop) {
    self.next = next
    self.stop = stop
  }
}

/// A batch as it came over the border.
@frozen public struct Batch: @unchecked Sendable {
  // SAFETY: the arrays belong to the caller of run and are used during the call only.
  public let accesses: UnsafePointer<pgk_access_v1>
  public let values: UnsafeMutablePointer<pgk_value_v1>?
  public let results: UnsafeMutablePointer<pgk_result_v1>

  @inlinable public init(
    accesses: UnsafePointer<pgk_access_v1>, values: UnsafeMutablePointer<pgk_value_v1>?,
    results: UnsafeMutablePointer<pgk_result_v1>
  ) {
    self.accesses = accesses
    self.values = values
    self.results = results
  }
}

/// Where a translation goes.
public protocol TranslationTarget {
  func put(_ output: UInt64, level: UInt8, pageShift: UInt64, _ rights: Rights, attributes: UInt8, reads: UInt32)
}

/// A record of the border; attributes are left out.
@frozen public struct ResultRecord: TranslationTarget {
  public let pointer: UnsafeMutablePointer<pgk_result_v1>
  @inlinable @inline(__always) public init(_ pointer: UnsafeMutablePointer<pgk_result_v1>) { self.pointer = pointer }

  @inlinable @inline(__always)
  public func put(_ output: UInt64, level: UInt8, pageShift: UInt64, _ rights: Rights, attributes: UInt8, reads: UInt32) {
    pointer.pointee = pgk_result_v1(
      output: output, outcome: UInt8(truncatingIfNeeded: PGK_OUTCOME_FINISHED), level: level,
      page_shift: UInt8(truncatingIfNeeded: pageShift), rights: rights.rawValue, entry_reads: reads)
  }
}

/// A result with its attributes, for probes.
@frozen public struct ResultWithAttributes: TranslationTarget {
  public let pointer: UnsafeMutablePointer<WalkResult>
  @inlinable public init(_ pointer: UnsafeMutablePointer<WalkResult>) { self.pointer = pointer }

  @inlinable
  public func put(_ output: UInt64, level: UInt8, pageShift: UInt64, _ rights: Rights, attributes: UInt8, reads: UInt32) {
    pointer.pointee.output = output
    pointer.pointee.level = level
    pointer.pointee.pageShift = pageShift
    pointer.pointee.rights = rights
    pointer.pointee.attributes = attributes
    pointer.pointee.reads = reads
  }
}

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

  /// The same where nothing is cached, so that every access walks: some walks go down to their last tables first, and
  /// then all of these are read. Nothing that the first part reads is changed before the second: plain accesses write
  /// nothing but flags, and an entry whose flag is to be set is not plain.
  @inline(never) @inlinable
  func runInPhases<R: Regime, Observer: WalkObserver>(
    _ regime: R, _ batch: Batch, from first: Int, to end: Int, _ observer: Observer
  ) -> EngineEnd {
    let accesses = batch.accesses
    let privileges = regime.privileges
    let approaches = caches.parts.approaches
    let counters = caches.counters
    var i = first
    defer { counters.pointee.accesses &+= UInt64(truncatingIfNeeded: i &- first) }
    while i < end {
      let last = min(i &+ CacheParts.approachCount, end)
      var stop = i
      while stop < last {
        let access = accesses + stop
        guard belongs(access, privileges), isPlain(access) else { break }
        let address = regime.untagged(access.pointee.address, access.pointee)
        approaches[stop &- i] = regime.isCanonical(address) ? regime.approach(address, memory) : nil
        stop &+= 1
      }
      let start = i
      while i < stop {
        let access = accesses + i
        let address = regime.untagged(access.pointee.address, access.pointee)
        var result = WalkResult()
        if let approach = approaches[i &- start], regime.arrive(approach, address, access.pointee, caches, memory, &result) {
          counters.pointee.references &+= 1
          counters.pointee.walks &+= 1
          counters.pointee.tlbMisses &+= 1
          counters.pointee.entryReads &+= UInt64(truncatingIfNeeded: result.reads)
          finish(result, ResultRecord(batch.results + i))
        } else {
          let reason = translate(regime, address, access, observer, ResultRecord(batch.results + i))
          if reason != .none { return faulted(i, access.pointee.address, batch.results[i]) }
        }
        i &+= 1
      }
      guard i < last else { continue }
      guard belongs(accesses + i, privileges) else { return EngineEnd(i, .leave) }
      let whole = runWhole(regime, accesses[i], i, batch, observer)
      if whole.stop != .end { return whole }
      i &+= 1
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

  // MARK: One address

  /// Translates one address that does not cross a page: one TLB reference. What is put is a translation if the reason is
  /// `.none`; else only its `reads` count.
  @inline(never) @inlinable
  public func translate<R: Regime, Observer: WalkObserver, Target: TranslationTarget>(
    _ regime: R, _ address: UInt64, _ access: UnsafePointer<pgk_access_v1>, _ observer: Observer,
    _ record: Target
  ) -> FaultReason {
    lookUp(regime, address, access, caches.parts, spaces(of: regime), observer, record)
  }

  @inlinable func spaces<R: Regime>(of regime: R) -> Spaces { Spaces(own: regime.context, global: regime.globalContext) }

  @inlinable @inline(__always)
  func lookUp<R: Regime, Observer: WalkObserver, Target: TranslationTarget>(
    _ regime: R, _ address: UInt64, _ access: UnsafePointer<pgk_access_v1>, _ parts: CacheParts, _ spaces: Spaces,
    _ observer: Observer, _ record: Target
  ) -> FaultReason {
    if R.isUntranslated { return passThrough(regime, address, access, observer, record) }
    parts.counters.pointee.references &+= 1
    guard regime.isCanonical(address) else { return refuse(address, observer, record) }
    if parts.hasNoTLB { return miss(regime, address, access, parts.l1, 0, spaces, observer, record) }
    if parts.hasInstructionTLB && access.pointee.isFetch { return fetch(regime, address, access, spaces, observer, record) }
    return lookUp(regime, address, access, parts.l1, &parts.counters.pointee.tlbL1Hits, parts, spaces, observer, record)
  }

  /// Addresses that are not translated.
  @inline(never) @inlinable
  func passThrough<R: Regime, Observer: WalkObserver, Target: TranslationTarget>(
    _ regime: R, _ address: UInt64, _ access: UnsafePointer<pgk_access_v1>, _ observer: Observer,
    _ record: Target
  ) -> FaultReason {
    let result = regime.walk(address, access.pointee, caches, memory, observer, from: nil)
    finish(result, record)
    return result.reason
  }

  @inline(never) @inlinable
  func refuse<Observer: WalkObserver, Target: TranslationTarget>(
    _ address: UInt64, _ observer: Observer, _ record: Target
  ) -> FaultReason {
    caches.fault.pointee = WalkFault(.nonCanonical, stage: 1)
    finish(WalkResult(), record)
    observer.didStep(PGK_STEP_REFUSED, slot: .max, entry: 0, input: address, output: 0, level: 0, stage: 1, .nonCanonical)
    return .nonCanonical
  }

  /// A fetch, where the first level has a TLB of its own for them.
  @inline(never) @inlinable
  func fetch<R: Regime, Observer: WalkObserver, Target: TranslationTarget>(
    _ regime: R, _ address: UInt64, _ access: UnsafePointer<pgk_access_v1>, _ spaces: Spaces, _ observer: Observer,
    _ record: Target
  ) -> FaultReason {
    let parts = caches.parts
    return lookUp(regime, address, access, parts.l1i, &parts.counters.pointee.tlbL1iHits, parts, spaces, observer, record)
  }

  /// First level, second level, walk.
  @inlinable @inline(__always)
  func lookUp<R: Regime, Observer: WalkObserver, Target: TranslationTarget>(
    _ regime: R, _ address: UInt64, _ access: UnsafePointer<pgk_access_v1>, _ first: TLB, _ hits: inout UInt64,
    _ parts: CacheParts, _ spaces: Spaces, _ observer: Observer, _ record: Target
  ) -> FaultReason {
    var found: UInt64 = 0
    var sizeClass = 0
    if first.holdsSmallestOnly && parts.l2.holdsSmallestOnly {
      // The usual case: one page size, so one tag serves both levels.
      let shift = first.sizes.shift(ofClass: 0)
      let key = address &>> shift
      let tag = PageTag(address, shift: shift, sizeClass: 0, context: spaces.own).bits
      let alternative = first.mayHoldGlobal || parts.l2.mayHoldGlobal ? tag &- spaces.own.bits &+ spaces.global.bits : tag
      if first.array.find(key: key, tag: tag, alternative: alternative, &found) {
        hits &+= 1
      } else if parts.l2.array.find(key: key, tag: tag, alternative: alternative, &found) {
        parts.counters.pointee.tlbL2Hits &+= 1
        promote(first, address, 0, spaces, found)
      } else {
        return miss(regime, address, access, first, tag, spaces, observer, record)
      }
    } else if first.find(address, spaces.own, spaces.global, &found, &sizeClass) {
      hits &+= 1
    } else if parts.l2.find(address, spaces.own, spaces.global, &found, &sizeClass) {
      parts.counters.pointee.tlbL2Hits &+= 1
      promote(first, address, sizeClass, spaces, found)
    } else {
      let tag = PageTag(address, shift: first.sizes.shift(ofClass: 0), sizeClass: 0, context: spaces.own).bits
      return miss(regime, address, access, first, tag, spaces, observer, record)
    }
    let translation = Translation(bits: found)
    guard parts.permissions.permits(translation.rights, access.pointee),
      !R.hasKeys || !regime.keyForbids(translation.rights, attributes: translation.attributes, access.pointee)
    else {
      return notPermitted(regime, address, access, sizeClass, translation, observer, record)
    }
    hit(translation, address, first.sizes.shift(ofClass: sizeClass), observer, record)
    return .none
  }

  @inlinable @inline(__always)
  func hit<Observer: WalkObserver, Target: TranslationTarget>(
    _ translation: Translation, _ address: UInt64, _ shift: UInt64, _ observer: Observer,
    _ record: Target
  ) {
    let output = translation.page | address & ((1 &<< shift) &- 1)
    record.put(
      output, level: translation.level, pageShift: shift, translation.rights, attributes: translation.attributes, reads: 0)
    observer.didStep(
      PGK_STEP_TLB_HIT, slot: .max, entry: 0, input: address, output: output, level: Int(translation.level), stage: 1, .none)
  }

  @inlinable @inline(__always) func finish<Target: TranslationTarget>(_ result: WalkResult, _ record: Target) {
    record.put(
      result.output, level: result.level, pageShift: result.pageShift, result.rights, attributes: result.attributes,
      reads: result.reads)
  }

  /// An entry found in the second level goes into the first. Entries of all spaces go under their own context.
  @inline(never) @inlinable
  func promote(_ first: TLB, _ address: UInt64, _ sizeClass: Int, _ spaces: Spaces, _ found: UInt64) {
    var again: UInt64 = 0
    let l2 = caches.l2
    let shift = l2.sizes.shift(ofClass: sizeClass)
    let own = PageTag(address, shift: shift, sizeClass: UInt64(truncatingIfNeeded: sizeClass), context: spaces.own)
    let isOwn = spaces.own == spaces.global || l2.array.find(key: address &>> shift, tag: own.bits, &again)
    if !isOwn { first.mayHoldGlobal = true }
    first.insert(address, sizeClass: sizeClass, isOwn ? spaces.own : spaces.global, Translation(bits: found))
  }

  /// A hit whose cached rights do not suffice: the row of permissions may be empty, a dirty flag may have to be set, or
  /// the walk finds the reason to refuse, judged by the tables as they are now.
  @inline(never) @inlinable
  func notPermitted<R: Regime, Observer: WalkObserver, Target: TranslationTarget>(
    _ regime: R, _ address: UInt64, _ access: UnsafePointer<pgk_access_v1>, _ sizeClass: Int, _ translation: Translation,
    _ observer: Observer, _ record: Target
  ) -> FaultReason {
    let access = access.pointee
    if translation.isNegative {
      let result = regime.walkNegative(address, access, translation, caches)
      finish(result, record)
      return result.reason
    }
    if permissions.fill(access, { regime.judge($0, attributes: 0, access) }), permissions.permits(translation.rights, access),
      !R.hasKeys || !regime.keyForbids(translation.rights, attributes: translation.attributes, access)
    {
      hit(translation, address, caches.l1.sizes.shift(ofClass: sizeClass), observer, record)
      return .none
    }
    caches.counters.pointee.walks &+= 1
    let result = walkInFull(regime, address, access, from: nil, observer)
    finish(result, record)
    guard result.reason == .none, result.isCacheable else { return result.reason }
    let isCurrent = { (context: ContextTag) in context == regime.context || context == regime.globalContext }
    caches.removePage(address, where: isCurrent)
    fill(access.isFetch && caches.parts.hasInstructionTLB ? caches.l1i : caches.l1, address, result, spaces(of: regime))
    return .none
  }

  /// A glance, or a walk in full. `tag` is that of the smallest page in the own space.
  @inline(never) @inlinable
  func miss<R: Regime, Observer: WalkObserver, Target: TranslationTarget>(
    _ regime: R, _ address: UInt64, _ access: UnsafePointer<pgk_access_v1>, _ first: TLB, _ tag: UInt64, _ spaces: Spaces,
    _ observer: Observer, _ record: Target
  ) -> FaultReason {
    let counters = caches.counters
    counters.pointee.walks &+= 1
    var start: WalkStart?
    var result = WalkResult()
    guard !Observer.isWatching, regime.glance(address, access.pointee, caches, memory, &result, &start) else {
      return missInFull(regime, address, access, first, start, spaces, observer, record)
    }
    counters.pointee.entryReads &+= UInt64(truncatingIfNeeded: result.reads)
    counters.pointee.tlbMisses &+= 1
    finish(result, record)
    if caches.hasNoTLB { return .none }
    if result.pageShift == first.sizes.shift(ofClass: 0) && !result.isGlobal {
      let translation = Translation(
        output: result.output, rights: result.rights, attributes: result.attributes,
        level: UInt64(truncatingIfNeeded: result.level))
      let word = CachedWord(tag: tag, payload: translation.bits)
      let key = address &>> result.pageShift
      first.insertSmallest(key: key, word)
      caches.l2.insertSmallest(key: key, word)
    } else {
      fill(first, address, result, spaces)
    }
    return .none
  }

  @inline(never) @inlinable
  func missInFull<R: Regime, Observer: WalkObserver, Target: TranslationTarget>(
    _ regime: R, _ address: UInt64, _ access: UnsafePointer<pgk_access_v1>, _ first: TLB, _ start: WalkStart?,
    _ spaces: Spaces, _ observer: Observer, _ record: Target
  ) -> FaultReason {
    let result = walkInFull(regime, address, access.pointee, from: start, observer)
    finish(result, record)
    guard result.isCacheable, result.reason == .none || result.isNegative else { return result.reason }
    if result.reason == .none { caches.counters.pointee.tlbMisses &+= 1 }
    fill(first, address, result, spaces)
    return result.reason
  }

  @inlinable
  func walkInFull<R: Regime, Observer: WalkObserver>(
    _ regime: R, _ address: UInt64, _ access: pgk_access_v1, from start: WalkStart?, _ observer: Observer
  ) -> WalkResult {
    if !permissions.hasRow(access) { _ = permissions.fill(access) { regime.judge($0, attributes: 0, access) } }
    let result = regime.walk(address, access, caches, memory, observer, from: start)
    caches.counters.pointee.entryReads &+= UInt64(truncatingIfNeeded: result.reads)
    if result.reason == .none {
      observer.didStep(
        PGK_STEP_TRANSLATED, slot: .max, entry: 0, input: address, output: result.output, level: Int(result.level),
        stage: R.stageCount, .none)
    }
    return result
  }

  @inline(never) @usableFromInline
  func fill(_ first: TLB, _ address: UInt64, _ result: WalkResult, _ spaces: Spaces) {
    let sizeClass = first.sizes.sizeClass(ofShift: result.pageShift)
    let shift = first.sizes.shift(ofClass: sizeClass)
    let translation = Translation(
      output: result.output & ~((1 &<< shift) &- 1), rights: result.rights, attributes: result.attributes,
      level: UInt64(truncatingIfNeeded: result.level), isNegative: result.isNegative)
    let tag = PageTag(
      address, shift: shift, sizeClass: UInt64(truncatingIfNeeded: sizeClass),
      context: result.isGlobal ? spaces.global : spaces.own)
    let word = CachedWord(tag: tag.bits, payload: translation.bits)
    if result.isGlobal {
      first.mayHoldGlobal = true
      caches.l2.mayHoldGlobal = true
    }
    first.insert(key: address &>> shift, sizeClass: sizeClass, word)
    caches.l2.insert(key: address &>> shift, sizeClass: sizeClass, word)
  }
}

extension Regime {
  /// What a negative TLB entry says. Architectures that cache none never get here.
  @inlinable public func walkNegative(
    _ address: UInt64, _ access: pgk_access_v1, _ translation: Translation, _ caches: TranslationCaches
  ) -> WalkResult {
    caches.fault.pointee = WalkFault(.invalid, stage: 1)
    caches.fault.pointee.level = translation.level
    var result = WalkResult()
    result.reason = .invalid
    result.level = translation.level
    return result
  }
}
