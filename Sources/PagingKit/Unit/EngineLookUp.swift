// One address through TLBs and walk.
public import CPagingKit

extension TranslationEngine {
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
      } else if parts.l2.array.findAnywhere(key: key, tag: tag, alternative: alternative, &found) {
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
