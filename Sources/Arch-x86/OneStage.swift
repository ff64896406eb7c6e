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
  func prefetch(_ address: UInt64, _ memory: PhysicalMemory) {
    guard let root = first.start(address) else { return }
    Walker<Format, PhysicalTables>.prefetch(address, from: root, first.controls, memory)
  }

  @inline(__always) @usableFromInline
  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer
  ) -> WalkResult {
    guard !Observer.isWatching, !caches.hasEntries, let root = first.start(address) else {
      return walkInFull(address, access, caches, memory, observer)
    }
    let start = first.start(address, root, caches)
    var quiet = QuietMemory(memory)
    if var result = first.glance(address, access, caches, start, &quiet) {
      result.reads = quiet.reads
      return result
    }
    return walkInFull(address, access, caches, memory, observer, root, start)
  }

  @inline(never) @usableFromInline
  func walkInFull<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer,
    _ root: WalkStart? = nil, _ start: WalkStart? = nil
  ) -> WalkResult {
    // Where there is no memory the bus reads as ones, so such an entry has reserved bits.
    var tables = PhysicalTables(memory, caches, stage: 1, hole: .ones)
    let descent = if let root, let start {
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
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer
  ) -> WalkResult {
    var result = WalkResult()
    result.output = address
    result.rights = .all
    result.pageShift = 64
    if address >> 32 != 0 {
      caches.fault.pointee = WalkFault(.nonCanonical, stage: 1)
      result.reason = .nonCanonical
    }
    return result
  }
}
