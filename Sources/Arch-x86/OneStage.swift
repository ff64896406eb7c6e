// Native translation: linear to physical.
import CPagingKit
import PagingKit

/// CR3 and its tables, in one format.
@frozen @usableFromInline struct OneStage<Format: FirstStageFormat>: Regime {
  @usableFromInline var first: FirstStage<Format>

  @inline(__always) @usableFromInline static var hasKeys: Bool { Format.hasKeys }
  @inline(__always) @usableFromInline var privileges: UInt32 { 0x1f }
  @inline(__always) @usableFromInline var context: ContextTag { first.context }
  @inline(__always) @usableFromInline var globalContext: ContextTag { first.globalContext }

  @usableFromInline init(_ first: FirstStage<Format>) { self.first = first }

  @inline(__always) @usableFromInline
  func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 { first.untagged(address, access) }
  @inline(__always) @usableFromInline
  func isCanonical(_ address: UInt64) -> Bool { first.isCanonical(address) }
  @inline(__always) @usableFromInline
  func judge(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason {
    first.judgement.judge(rights, attributes: attributes, access)
  }
  @inline(__always) @usableFromInline
  func keyForbids(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> Bool {
    first.judgement.keyForbids(rights, attributes: attributes, access)
  }

  @inline(__always) @usableFromInline
  func prefetch(_ address: UInt64, _ memory: PhysicalMemory, _ before: inout PrefetchedTable) {
    guard let root = first.start(address) else { return }
    Walker<Format, PhysicalTables>.prefetch(address, from: root, first.controls, memory, &before)
  }

  @inline(__always) @usableFromInline
  func glance(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ result: inout WalkResult,
    _ start: inout WalkStart?
  ) -> Bool {
    guard !caches.hasEntries, let root = first.start(address) else { return false }
    var from = root
    if caches.hasPrefix {
      from = caches.prefix.start(address, root: root, Format.self, context)
      if from.level != root.level { caches.counters.pointee.walkCacheHits &+= 1 }
    }
    var quiet = QuietMemory(memory)
    if first.glance(address, access, caches, from, &quiet, &result) {
      result.reads = quiet.reads
      return true
    }
    start = from
    return false
  }

  @inline(__always) @usableFromInline static var hasApproach: Bool { true }

  @inline(__always) @usableFromInline func approach(_ address: UInt64, _ memory: PhysicalMemory) -> Approach? {
    guard let root = first.start(address) else { return nil }
    return Approach.find(address, from: root, Format.self, first.controls, memory)
  }

  @inline(__always) @usableFromInline
  func arrive(
    _ approach: Approach, _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory,
    _ result: inout WalkResult
  ) -> Bool {
    guard let seen = approach.arrive(address, isWritten: access.isWrite, Format.self, first.controls),
      first.permits(seen, access, caches)
    else { return false }
    first.take(seen, &result)
    result.reads = approach.reads &+ 1
    return true
  }

  @inline(never) @usableFromInline
  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer,
    from start: WalkStart?
  ) -> WalkResult {
    // Where there is no memory the bus reads as ones, so such an entry has reserved bits.
    var tables = PhysicalTables(memory, caches, stage: 1, hole: .ones)
    let descent = if let start, let root = first.start(address) {
      first.walk(address, access, caches, &tables, observer, root: root, first: start)
    } else {
      first.walk(address, access, caches, &tables, observer)
    }
    var result = first.result(descent, access, caches)
    result.reads = tables.reads
    result.reason = descent.reason
    return result
  }
}

/// CR0.PG = 0: linear addresses are physical.
@frozen @usableFromInline struct Unpaged: Regime {
  @usableFromInline let context: ContextTag

  @inline(__always) @usableFromInline static var isUntranslated: Bool { true }
  @inline(__always) @usableFromInline var privileges: UInt32 { 0x1f }
  @inline(__always) @usableFromInline var globalContext: ContextTag { context }

  @usableFromInline init(context: ContextTag) { self.context = context }

  @inline(__always) @usableFromInline func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 { wrapped(address) }
  @inline(__always) @usableFromInline func isCanonical(_ address: UInt64) -> Bool { true }
  @inline(__always) @usableFromInline
  func judge(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason { .none }

  @inline(__always) @usableFromInline
  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer,
    from start: WalkStart?
  ) -> WalkResult {
    var result = WalkResult()
    result.output = address
    result.rights = .all
    result.pageShift = 64
    if address >> 32 != 0 {
      caches.fault.pointee = WalkFault(.nonCanonical, stage: 1)
      result.reason = .nonCanonical
    }
    observer.didStep(
      result.reason == .none ? PGK_STEP_TRANSLATED : PGK_STEP_REFUSED, slot: PGK_NO_ENTRY, entry: 0, input: address, output: address,
      level: 0, stage: 1, result.reason)
    return result
  }
}
