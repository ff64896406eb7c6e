// One stage of translation: satp, or a guest's vsatp where hgatp is bare. And none at all.
import CPagingKit
import PagingKit

/// satp or vsatp and its tables, in one format.
struct OneStage<Format: RISCVFormat>: Regime {
  let privileges: UInt32
  // SAFETY: the unit allocates the parameters at init, frees them at deinit, and changes them between batches only.
  let parameters: UnsafePointer<StageParameters>

  @inline(__always) var context: ContextTag { parameters.pointee.contexts.own }
  @inline(__always) var globalContext: ContextTag { parameters.pointee.contexts.global }
  @inline(__always) var root: UInt64 { parameters.pointee.stage.translation.root }
  @inline(__always) var controls: EntryControls { parameters.pointee.stage.controls }
  @inline(__always) var rights: RightsJudge { parameters.pointee.stage.judge }
  @inline(__always) var masking: PointerMasking { parameters.pointee.stage.masking }
  @inline(__always) var updatesThenFaults: Bool { parameters.pointee.updatesThenFaults }

  @inline(__always) func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 { masking.transformed(address, access) }
  @inline(__always) func isCanonical(_ address: UInt64) -> Bool { Format.accepts(address) }
  @inline(__always) func judge(_ collected: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason {
    rights.first(collected, access)
  }

  @inline(__always) func prefetch(_ address: UInt64, _ memory: PhysicalMemory, _ before: inout PrefetchedTable) {
    let top = WalkStart(table: root, level: Format.radix.levelCount &- 1)
    Walker<Format, PhysicalTables>.prefetch(address, from: top, controls, memory, &before)
  }

  @inline(__always)
  func glance(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ result: inout WalkResult,
    _ start: inout WalkStart?
  ) -> Bool {
    if caches.hasEntries { return false }
    let from = FirstWalk<Format, PhysicalTables>.start(root, address, context, caches)
    var quiet = QuietMemory(memory)
    let seen = Glance<Format>(address, from: from, isWritten: access.isWrite, controls, &quiet)
    guard seen.isPlain, take(seen, access, caches, memory, &result) else {
      start = from
      return false
    }
    if caches.hasPrefix { caches.prefix.fill(address, context, from: from, seen) }
    result.reads = quiet.reads
    return true
  }

  @inline(__always) static var hasApproach: Bool { true }

  @inline(__always) func approach(_ address: UInt64, _ memory: PhysicalMemory) -> Approach? {
    let top = WalkStart(table: root, level: Format.radix.levelCount &- 1)
    return Approach.find(address, from: top, Format.self, controls, memory)
  }

  @inline(__always)
  func arrive(
    _ approach: Approach, _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory,
    _ result: inout WalkResult
  ) -> Bool {
    guard let seen = approach.arrive(address, isWritten: access.isWrite, Format.self, controls),
      take(seen, access, caches, memory, &result)
    else { return false }
    result.reads = approach.reads &+ 1
    return true
  }

  /// What a plain walk found, if its rights suffice and all of its page is memory.
  @inline(__always)
  private func take(
    _ seen: Glance<Format>, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory,
    _ result: inout WalkResult
  ) -> Bool {
    guard caches.permissions.permits(seen.rights, access),
      isWhole(seen.output, pageShift: seen.pageShift, tooWide: controls.tooWide, memory)
    else { return false }
    result.output = seen.output
    result.pageShift = seen.pageShift
    result.level = UInt8(truncatingIfNeeded: seen.level)
    result.isGlobal = !seen.rights.has(.notGlobal)
    result.rights = seen.rights.intersection(.firstStage)
    return true
  }

  /// The walk with all that may be needed: refusals, A and D to be set, another writer in between.
  @inline(never)
  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer,
    from known: WalkStart?
  ) -> WalkResult {
    var tables = PhysicalTables(memory, caches, stage: 1, hole: .fault)
    var start = known ?? FirstWalk<Format, PhysicalTables>.start(root, address, context, caches)
    var attempt = 0
    while true {
      var descent = FirstWalk<Format, PhysicalTables>.descend(from: start, address, access, controls, context, caches, &tables, observer)
      let hasLeaf = descent.reason == .none
      if hasLeaf { descent.reason = rights.first(descent.rights, access) }
      var isUpdated = false
      if descent.reason == .none && descent.isUnmarked {
        isUpdated = true
        // Hardware that writes nothing before the access can succeed looks for the memory first.
        let isHopeless = !updatesThenFaults && controls.updates
          && !isReachable(descent.output, tooWide: controls.tooWide, address, access, masking, memory)
        if !isHopeless {
          descent = FirstWalk<Format, PhysicalTables>.mark(descent, address, access, controls, caches, &tables, observer)
        }
      }
      var result = WalkResult()
      result.level = UInt8(truncatingIfNeeded: descent.level)
      result.reads = tables.reads
      if descent.reason == .none {
        result.output = descent.output
        result.pageShift = descent.pageShift
        let rights = isUpdated && access.isWrite ? descent.rights.union(.dirty) : descent.rights
        return settled(result, rights, address, access, caches, memory, observer)
      }
      if descent.reason != .contention || attempt == FirstWalk<Format, PhysicalTables>.attempts {
        FirstWalk<Format, PhysicalTables>.record(descent, hasLeaf: hasLeaf, address, caches, observer)
        result.reason = descent.reason
        return result
      }
      attempt &+= 1
      start = FirstWalk<Format, PhysicalTables>.start(root, address, context, caches)
    }
  }

  /// The rights of a translation, and whether there is memory.
  @inline(__always)
  private func settled<Observer: WalkObserver>(
    _ result: WalkResult, _ rights: Rights, _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches,
    _ memory: PhysicalMemory, _ observer: Observer
  ) -> WalkResult {
    var result = result
    result.isGlobal = !rights.has(.notGlobal)
    result.rights = rights.intersection(.firstStage)
    settleOutput(&result, tooWide: controls.tooWide, address, access, masking, caches, memory, observer)
    return result
  }
}

/// No translation: M-mode, or MODE = Bare. Addresses are physical.
struct Untranslated: Regime {
  let privileges: UInt32
  let context: ContextTag
  let masking: PointerMasking

  @inline(__always) static var isUntranslated: Bool { true }
  @inline(__always) var globalContext: ContextTag { context }
  @inline(__always) func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 { masking.transformed(address, access) }
  @inline(__always) func isCanonical(_ address: UInt64) -> Bool { true }
  @inline(__always) func judge(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason { .none }

  @inline(__always)
  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer,
    from _: WalkStart?
  ) -> WalkResult {
    var result = WalkResult()
    result.output = address
    result.rights = .firstStage
    result.pageShift = 64
    result.isCacheable = false
    // Without page tables there are no shadow-stack pages.
    let isRefused = (Privilege.shadowStack &>> UInt32(truncatingIfNeeded: access.privilege)) & 1 != 0
    if isRefused || !memory.exists(address, byteCount: access.partCount(at: address, masking)) {
      caches.fault.pointee = WalkFault(isRefused ? .pageKind : .outputHole, stage: 0)
      result.reason = caches.fault.pointee.reason
    }
    return result
  }
}

/// Step 8, and whether a TLB may keep the page: only if all of it is memory, so that a hit cannot miss a hole.
@inline(__always)
func settleOutput<Observer: WalkObserver>(
  _ result: inout WalkResult, tooWide: UInt64, _ address: UInt64, _ access: pgk_access_v1, _ masking: PointerMasking,
  _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer
) {
  if isWhole(result.output, pageShift: result.pageShift, tooWide: tooWide, memory) { return }
  result.isCacheable = false
  if hasHole(result, tooWide: tooWide, address, access, masking, caches, memory, observer) { result.reason = .outputHole }
}

/// Whether all of the page around an address is memory.
@inline(__always)
func isWhole(_ output: UInt64, pageShift: UInt64, tooWide: UInt64, _ memory: PhysicalMemory) -> Bool {
  let pageSize: UInt64 = 1 &<< pageShift
  return output & tooWide == 0 && memory.exists(output & ~(pageSize &- 1), byteCount: pageSize)
}

/// Whether the access itself meets the hole in its page; then it is recorded.
@inline(never)
private func hasHole<Observer: WalkObserver>(
  _ result: WalkResult, tooWide: UInt64, _ address: UInt64, _ access: pgk_access_v1, _ masking: PointerMasking,
  _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer
) -> Bool {
  if isReachable(result.output, tooWide: tooWide, address, access, masking, memory) { return false }
  caches.fault.pointee = WalkFault(.outputHole, stage: 1)
  caches.fault.pointee.level = result.level
  observer.didStep(
    PGK_STEP_REFUSED, slot: PGK_NO_ENTRY, entry: 0, input: address, output: result.output, level: Int(result.level), stage: 1,
    .outputHole)
  return true
}

/// Whether memory or a device answers the whole access, or its part on this page, at an address.
@inline(__always)
func isReachable(
  _ output: UInt64, tooWide: UInt64, _ address: UInt64, _ access: pgk_access_v1, _ masking: PointerMasking, _ memory: PhysicalMemory
) -> Bool {
  output & tooWide == 0 && memory.exists(output, byteCount: access.partCount(at: address, masking))
}

extension pgk_access_v1 {
  /// Bytes of the access on the page of `address`, which is its first byte or the first on the next page.
  @inline(__always) func partCount(at address: UInt64, _ masking: PointerMasking) -> UInt64 {
    let room = 4096 &- (self.address & 0xfff)
    if byteCount <= room { return byteCount }
    return address & 0xfff == 0 ? byteCount &- room : room
  }
}
