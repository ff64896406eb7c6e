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
    var i = first
    var result = WalkResult()
    // Where most look-ups miss, the last entries of the next walks are asked for before they are needed.
    var walks = caches.counters.pointee.walks
    defer { caches.counters.pointee.accesses &+= UInt64(truncatingIfNeeded: i &- first) }
    while i < end {
      if (i &- first) & (Self.lookAhead &- 1) == 0 {
        let isMissing = caches.hasNoTLB || caches.counters.pointee.walks &- walks > UInt64(Self.lookAhead / 2)
        walks = caches.counters.pointee.walks
        if isMissing { prefetch(regime, accesses, from: i, to: min(i &+ Self.lookAhead, end)) }
      }
      let access = accesses[i]
      guard !access.isSpecial, (regime.privileges &>> UInt32(truncatingIfNeeded: access.privilege & 31)) & 1 != 0 else {
        return EngineEnd(i, .leave)
      }
      if access.address & 0xfff &+ access.byteCount > 4096 || !access.isTranslateOnly {
        let stop = runWhole(regime, access, i, batch, observer)
        if stop.stop != .end { return stop }
        i &+= 1
        continue
      }
      translate(regime, regime.untagged(access.address, access), access, observer, &result)
      if result.reason != .none { return faulted(i, access.address, result) }
      results[i] = finished(result)
      i &+= 1
    }
    return EngineEnd(i, .end)
  }

  @inlinable static var lookAhead: Int { 16 }

  @inline(never) @inlinable
  func prefetch<R: Regime>(_ regime: R, _ accesses: UnsafePointer<pgk_access_v1>, from first: Int, to end: Int) {
    for i in first..<end { regime.prefetch(regime.untagged(accesses[i].address, accesses[i]), memory) }
  }

  @inlinable @inline(__always) func finished(_ result: WalkResult) -> pgk_result_v1 {
    pgk_result_v1(
      output: result.output, outcome: UInt8(truncatingIfNeeded: PGK_OUTCOME_FINISHED), level: result.level,
      page_shift: UInt8(truncatingIfNeeded: result.pageShift), rights: result.rights.rawValue, entry_reads: result.reads)
  }

  @inlinable func faulted(_ i: Int, _ address: UInt64, _ result: WalkResult) -> EngineEnd {
    var end = EngineEnd(i, .fault)
    end.faultAddress = address
    end.reads = result.reads
    return end
  }

  // MARK: One address

  /// Translates one address that does not cross a page: one TLB reference.
  @inlinable @inline(__always)
  public func translate<R: Regime, Observer: WalkObserver>(
    _ regime: R, _ address: UInt64, _ access: pgk_access_v1, _ observer: Observer, _ result: inout WalkResult
  ) {
    if R.isUntranslated {
      result = regime.walk(address, access, caches, memory, observer)
      return
    }
    let counters = caches.counters
    counters.pointee.references &+= 1
    guard regime.isCanonical(address) else {
      caches.fault.pointee = WalkFault(.nonCanonical, stage: 1)
      result = WalkResult()
      result.reason = .nonCanonical
      observer.didStep(PGK_STEP_REFUSED, slot: .max, entry: 0, input: address, output: 0, level: 0, stage: 1, .nonCanonical)
      return
    }
    if caches.hasNoTLB {
      walk(regime, address, access, observer, &result)
      if result.reason == .none { counters.pointee.tlbMisses &+= 1 }
      return
    }
    var found: UInt64 = 0
    var sizeClass = 0
    let isInstruction = access.isFetch && caches.hasInstructionTLB
    let first = isInstruction ? caches.l1i : caches.l1
    let second = caches.l2
    if first.holdsSmallestOnly && second.holdsSmallestOnly {
      // The usual case: one page size, so one tag serves both levels.
      let key = address &>> first.sizes.shift(ofClass: 0)
      let tag = PageTag(address, shift: first.sizes.shift(ofClass: 0), sizeClass: 0, context: regime.context).bits
      let alternative = tag &- regime.context.bits &+ regime.globalContext.bits
      if first.array.find(key: key, tag: tag, alternative: alternative, &found) {
        count(hitIn: isInstruction)
      } else if second.array.find(key: key, tag: tag, alternative: alternative, &found) {
        counters.pointee.tlbL2Hits &+= 1
        promote(first, address, 0, regime, found)
      } else {
        miss(regime, address, access, first, observer, &result)
        return
      }
    } else if first.find(address, regime.context, regime.globalContext, &found, &sizeClass) {
      count(hitIn: isInstruction)
    } else if second.find(address, regime.context, regime.globalContext, &found, &sizeClass) {
      counters.pointee.tlbL2Hits &+= 1
      promote(first, address, sizeClass, regime, found)
    } else {
      miss(regime, address, access, first, observer, &result)
      return
    }
    let translation = Translation(bits: found)
    if permissions.permits(translation.rights, access),
      !R.hasKeys || !regime.keyForbids(translation.rights, attributes: translation.attributes, access)
    {
      let shift = caches.l1.sizes.shift(ofClass: sizeClass)
      result.output = translation.page | address & ((1 &<< shift) &- 1)
      result.rights = translation.rights
      result.attributes = translation.attributes
      result.level = translation.level
      result.pageShift = shift
      result.reads = 0
      result.reason = .none
      observer.didStep(
        PGK_STEP_TLB_HIT, slot: .max, entry: 0, input: address, output: result.output, level: Int(result.level), stage: 1, .none)
      return
    }
    notPermitted(regime, address, access, sizeClass, translation, observer, &result)
  }

  @inlinable @inline(__always) func count(hitIn isInstruction: Bool) {
    if isInstruction {
      caches.counters.pointee.tlbL1iHits &+= 1
    } else {
      caches.counters.pointee.tlbL1Hits &+= 1
    }
  }

  /// An entry found in the second level goes into the first. Entries of all spaces go under their own context.
  @inline(never) @inlinable
  func promote<R: Regime>(_ first: TLB, _ address: UInt64, _ sizeClass: Int, _ regime: R, _ found: UInt64) {
    var again: UInt64 = 0
    let shift = caches.l2.sizes.shift(ofClass: sizeClass)
    let own = PageTag(address, shift: shift, sizeClass: UInt64(truncatingIfNeeded: sizeClass), context: regime.context)
    let isOwn = regime.context == regime.globalContext
      || caches.l2.array.find(key: address &>> shift, tag: own.bits, alternative: own.bits, &again)
    first.insert(address, sizeClass: sizeClass, isOwn ? regime.context : regime.globalContext, Translation(bits: found))
  }

  /// A hit whose cached rights do not suffice: the row of permissions may be empty, a dirty flag may have to be set, or
  /// the walk finds the reason to refuse, judged by the tables as they are now.
  @inline(never) @inlinable
  func notPermitted<R: Regime, Observer: WalkObserver>(
    _ regime: R, _ address: UInt64, _ access: pgk_access_v1, _ sizeClass: Int, _ translation: Translation,
    _ observer: Observer, _ result: inout WalkResult
  ) {
    if translation.isNegative {
      result = regime.walkNegative(address, access, translation, caches)
      return
    }
    if permissions.fill(access, { regime.judge($0, attributes: 0, access) }), permissions.permits(translation.rights, access),
      !R.hasKeys || !regime.keyForbids(translation.rights, attributes: translation.attributes, access)
    {
      let shift = caches.l1.sizes.shift(ofClass: sizeClass)
      result = WalkResult()
      result.output = translation.page | address & ((1 &<< shift) &- 1)
      result.rights = translation.rights
      result.attributes = translation.attributes
      result.level = translation.level
      result.pageShift = shift
      observer.didStep(
        PGK_STEP_TLB_HIT, slot: .max, entry: 0, input: address, output: result.output, level: Int(result.level), stage: 1, .none)
      return
    }
    walk(regime, address, access, observer, &result)
    guard result.reason == .none, result.isCacheable else { return }
    let isCurrent = { (context: ContextTag) in context == regime.context || context == regime.globalContext }
    caches.removePage(address, where: isCurrent)
    fill(access.isFetch && caches.hasInstructionTLB ? caches.l1i : caches.l1, regime, address, result)
  }

  @inline(never) @inlinable
  func miss<R: Regime, Observer: WalkObserver>(
    _ regime: R, _ address: UInt64, _ access: pgk_access_v1, _ first: TLB, _ observer: Observer, _ result: inout WalkResult
  ) {
    walk(regime, address, access, observer, &result)
    guard result.isCacheable, result.reason == .none || result.isNegative else { return }
    if result.reason == .none { caches.counters.pointee.tlbMisses &+= 1 }
    fill(first, regime, address, result)
  }

  @inlinable @inline(__always)
  func walk<R: Regime, Observer: WalkObserver>(
    _ regime: R, _ address: UInt64, _ access: pgk_access_v1, _ observer: Observer, _ result: inout WalkResult
  ) {
    if !permissions.hasRow(access) { _ = permissions.fill(access) { regime.judge($0, attributes: 0, access) } }
    caches.counters.pointee.walks &+= 1
    result = regime.walk(address, access, caches, memory, observer)
    caches.counters.pointee.entryReads &+= UInt64(truncatingIfNeeded: result.reads)
    if result.reason == .none {
      observer.didStep(
        PGK_STEP_TRANSLATED, slot: .max, entry: 0, input: address, output: result.output, level: Int(result.level),
        stage: R.stageCount, .none)
    }
  }

  @inlinable
  @inline(__always)
  func fill<R: Regime>(_ first: TLB, _ regime: R, _ address: UInt64, _ result: WalkResult) {
    let sizeClass = first.sizes.sizeClass(ofShift: result.pageShift)
    let shift = first.sizes.shift(ofClass: sizeClass)
    let translation = Translation(
      output: result.output & ~((1 &<< shift) &- 1), rights: result.rights, attributes: result.attributes,
      level: UInt64(truncatingIfNeeded: result.level), isNegative: result.isNegative)
    let tag = PageTag(
      address, shift: shift, sizeClass: UInt64(truncatingIfNeeded: sizeClass),
      context: result.isGlobal ? regime.globalContext : regime.context)
    let word = CachedWord(tag: tag.bits, payload: translation.bits)
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
