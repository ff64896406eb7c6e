// A guest's translation under nested paging or EPT.
import CPagingKit
import PagingKit

/// A guest's CR3 over a second stage, in one guest format.
@frozen @usableFromInline struct TwoStage<Format: FirstStageFormat>: Regime {
  @usableFromInline var first: FirstStage<Format>
  @usableFromInline let nested: UnsafePointer<NestedControls>

  @inline(__always) @usableFromInline static var hasKeys: Bool { Format.hasKeys }
  @inline(__always) @usableFromInline static var stageCount: UInt8 { 2 }
  @inline(__always) @usableFromInline var privileges: UInt32 { 0x1f }
  @inline(__always) @usableFromInline var context: ContextTag { first.context }
  @inline(__always) @usableFromInline var globalContext: ContextTag { first.globalContext }

  @usableFromInline init(_ first: FirstStage<Format>, _ nested: UnsafePointer<NestedControls>) {
    self.first = first
    self.nested = nested
  }

  @inline(__always) @usableFromInline
  func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 { first.untagged(address, access) }
  @inline(__always) @usableFromInline
  func isCanonical(_ address: UInt64) -> Bool { first.isCanonical(address) }

  @inline(__always) @usableFromInline
  func judge(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason {
    let reason = first.judgement.judge(rights, attributes: attributes, access)
    return reason == .none ? judgeSecondStage(rights, access) : reason
  }
  @inline(__always) @usableFromInline
  func keyForbids(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> Bool {
    first.judgement.keyForbids(rights, attributes: attributes, access)
  }

  /// Guest tables and the final address, where no cache but the TLB takes part.
  @inline(__always) @usableFromInline
  func glance(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ result: inout WalkResult,
    _ start: inout WalkStart?
  ) -> Bool {
    guard !caches.hasEntries, caches.nested.isAbsent, !caches.hasSecondPrefix, !caches.hasPrefix,
      let root = first.start(address)
    else { return false }
    var quiet = QuietGuestMemory(nested, access, memory)
    guard first.glance(address, access, caches, root, &quiet, &result), quiet.complete(&result) else { return false }
    result.reads = quiet.reads
    caches.counters.pointee.secondStageReads &+= UInt64(truncatingIfNeeded: quiet.secondReads)
    return true
  }

  /// Guest tables first, through the second stage; the guest's rights; its flags, from the top; then the final address.
  @inline(never) @usableFromInline
  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer,
    from start: WalkStart?
  ) -> WalkResult {
    var tables = GuestTables(NestedStage(nested, access, caches, memory, observer), hole: .ones)
    let descent = first.walk(address, access, caches, &tables, observer)
    var result = first.result(descent, access, caches)
    result.reason = descent.reason
    if descent.reason == .none { complete(&result, address, &tables.second, caches, userPage: descent.rights.has(.user)) }
    result.reads = tables.second.reads
    return result
  }
}

/// A guest without paging: its linear addresses are guest-physical.
@frozen @usableFromInline struct UnpagedGuest: Regime {
  @usableFromInline let context: ContextTag
  @usableFromInline let nested: UnsafePointer<NestedControls>

  @inline(__always) @usableFromInline static var stageCount: UInt8 { 2 }
  @inline(__always) @usableFromInline var privileges: UInt32 { 0x1f }
  @inline(__always) @usableFromInline var globalContext: ContextTag { context }

  @usableFromInline init(context: ContextTag, _ nested: UnsafePointer<NestedControls>) {
    self.context = context
    self.nested = nested
  }

  @inline(__always) @usableFromInline func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 { wrapped(address) }
  @inline(__always) @usableFromInline func isCanonical(_ address: UInt64) -> Bool { address &>> 32 == 0 }
  @inline(__always) @usableFromInline
  func judge(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason { judgeSecondStage(rights, access) }

  @inline(__always) @usableFromInline
  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer,
    from start: WalkStart?
  ) -> WalkResult {
    var second = NestedStage(nested, access, caches, memory, observer)
    var result = WalkResult()
    result.output = address
    result.rights = [.read, .write, .execute, .user, .dirty]
    result.pageShift = 52
    complete(&result, address, &second, caches, userPage: true)
    result.reads = second.reads
    return result
  }
}

/// The second stage's say on a cached translation of both stages.
@inline(__always) @usableFromInline
func judgeSecondStage(_ rights: Rights, _ access: pgk_access_v1) -> FaultReason {
  if access.isWrite { return rights.has(.secondWrite) ? .none : .writeDenied }
  if access.isFetch { return rights.has(.secondExecute) ? .none : .executeDenied }
  return rights.has(.secondRead) ? .none : .readDenied
}

/// The final address through the second stage, and both stages in one result.
@inline(__always) @usableFromInline
func complete<Observer: WalkObserver>(
  _ result: inout WalkResult, _ input: UInt64, _ second: inout NestedStage<Observer>, _ caches: TranslationCaches, userPage: Bool
) {
  second.observer.didStep(
    PGK_STEP_TRANSLATED, slot: PGK_NO_ENTRY, entry: 0, input: input, output: result.output, level: Int(result.level), stage: 1, .none)
  second.isUserPage = userPage
  var output = SecondStageOutput()
  guard second.translate(Address(result.output), for: .final, &output) else {
    result.reason = caches.fault.pointee.reason
    caches.fault.pointee.firstRights = result.rights
    return
  }
  combine(&result, output)
}

/// Both stages in one result.
@inline(__always) @usableFromInline func combine(_ result: inout WalkResult, _ output: SecondStageOutput) {
  let lower = Rights(rawValue: 0x0f)
  let dirty = result.rights.intersection(output.rights).intersection(.dirty)
  result.rights = result.rights.intersection(lower).union(output.rights.subtracting(.dirty)).union(dirty)
  result.output = output.address.bits
  result.pageShift = min(result.pageShift, output.pageShift)
}
