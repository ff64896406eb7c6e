// A guest's translation: vsatp over hgatp.
import CPagingKit
import PagingKit

/// vsatp in one format over hgatp in another.
struct TwoStage<First: RISCVFormat, Second: RISCVFormat>: Regime {
  let privileges: UInt32
  // SAFETY: as OneStage.
  let parameters: UnsafePointer<StageParameters>
  let second: UnsafePointer<SecondSetting>

  @inline(__always) static var stageCount: UInt8 { 2 }
  @inline(__always) var context: ContextTag { parameters.pointee.contexts.own }
  @inline(__always) var globalContext: ContextTag { parameters.pointee.contexts.global }
  @inline(__always) var root: UInt64 { parameters.pointee.stage.translation.root }
  @inline(__always) var controls: EntryControls { parameters.pointee.stage.controls }
  @inline(__always) var rights: RightsJudge { parameters.pointee.stage.judge }
  @inline(__always) var masking: PointerMasking { parameters.pointee.stage.masking }
  @inline(__always) var updatesThenFaults: Bool { parameters.pointee.updatesThenFaults }
  @inline(__always) var asksSecondStageFirst: Bool { parameters.pointee.asksSecondStageFirst }
  @inline(__always) func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 { masking.transformed(address, access) }
  @inline(__always) func isCanonical(_ address: UInt64) -> Bool { First.accepts(address) }
  @inline(__always) func judge(_ collected: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason {
    let reason = rights.first(collected, access)
    return reason == .none ? second.pointee.rights.second(collected, access) : reason
  }

  /// First-stage entries through the second stage; the leaf's rights; its A and D; then the final address.
  @inline(__always)
  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer
  ) -> WalkResult {
    typealias Tables = GuestTables<GuestStage<Second, Observer>>
    let start = FirstWalk<First, Tables>.start(root, address, context, caches)
    if !Observer.isWatching && caches.hasOnlyPrefixes {
      var quiet = QuietGuest<Second>(second, memory)
      let seen = Glance<First>(
        address, from: start, isWritten: access.isWrite, controls, &quiet, path: caches.hasPrefix ? caches.path : nil)
      var output = SecondStageOutput()
      if seen.isPlain && quiet.translate(seen.output, isWritten: access.isWrite, &output) {
        let rights = combined(seen.rights, output.rights)
        if caches.permissions.permits(rights, access) {
          FirstWalk<First, Tables>.fill(address, controls, context, from: start, downTo: seen.level, caches)
          caches.counters.pointee.secondStageReads &+= UInt64(truncatingIfNeeded: quiet.secondReads)
          var result = WalkResult()
          result.reads = quiet.reads
          result.output = output.address.bits
          result.pageShift = min(seen.pageShift, output.pageShift)
          result.level = UInt8(truncatingIfNeeded: seen.level)
          result.isGlobal = !seen.rights.has(.notGlobal)
          result.rights = rights
          settleOutput(&result, tooWide: second.pointee.controls.tooWide, address, access, masking, caches, memory, observer)
          return result
        }
      }
    }
    return walkInFull(from: start, address, access, caches, memory, observer)
  }

  /// The walk with all that may be needed: refusals, A and D to be set, another writer in between, the other order of stages.
  @inline(never)
  private func walkInFull<Observer: WalkObserver>(
    from start: WalkStart, _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory,
    _ observer: Observer
  ) -> WalkResult {
    typealias Tables = GuestTables<GuestStage<Second, Observer>>
    var tables = Tables(GuestStage(second, access, caches, memory, observer), hole: .fault)
    var start = start
    var attempt = 0
    while true {
      var descent = FirstWalk<First, Tables>.descend(from: start, address, access, controls, context, caches, &tables, observer)
      let hasLeaf = descent.reason == .none
      var output = SecondStageOutput()
      if hasLeaf && asksSecondStageFirst { askFinal(&descent, &tables, isTrial: !updatesThenFaults, &output) }
      if descent.reason == .none { descent.reason = rights.first(descent.rights, access) }
      var isUpdated = false
      if descent.reason == .none && !updatesThenFaults { tryFinal(&descent, &tables, address, access, memory) }
      if descent.reason == .none && descent.isUnmarked {
        isUpdated = true
        descent = FirstWalk<First, Tables>.mark(descent, address, access, controls, caches, &tables, observer)
      }
      if descent.reason == .none { return finished(descent, isUpdated: isUpdated, address, access, caches, memory, &tables, observer) }
      if descent.reason != .contention || attempt == FirstWalk<First, Tables>.attempts {
        FirstWalk<First, Tables>.record(descent, hasLeaf: hasLeaf, address, caches, observer)
        return failed(descent.reason, level: UInt8(truncatingIfNeeded: descent.level), tables.second.reads)
      }
      attempt &+= 1
      start = FirstWalk<First, Tables>.start(root, address, context, caches)
    }
  }

  /// The final address, and both stages in one result.
  private func finished<Observer: WalkObserver>(
    _ descent: Descent, isUpdated: Bool, _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches,
    _ memory: PhysicalMemory, _ tables: inout GuestTables<GuestStage<Second, Observer>>, _ observer: Observer
  ) -> WalkResult {
    observer.didStep(
      PGK_STEP_TRANSLATED, slot: PGK_NO_ENTRY, entry: 0, input: address, output: descent.output, level: descent.level, stage: 1, .none)
    var output = SecondStageOutput()
    guard tables.second.translate(Address(descent.output), for: .final, &output) else {
      return failed(caches.fault.pointee.reason, level: UInt8(truncatingIfNeeded: descent.level), tables.second.reads)
    }
    var result = WalkResult()
    result.reads = tables.second.reads
    combine(&result, descent, isUpdated && access.isWrite ? descent.rights.union(.dirty) : descent.rights, output)
    settleOutput(&result, tooWide: second.pointee.controls.tooWide, address, access, masking, caches, memory, observer)
    return result
  }

  private func failed(_ reason: FaultReason, level: UInt8, _ reads: UInt32) -> WalkResult {
    var result = WalkResult()
    result.reason = reason
    result.level = level
    result.reads = reads
    return result
  }

  /// The second stage for the address of the access itself.
  private func askFinal<Observer: WalkObserver>(
    _ descent: inout Descent, _ tables: inout GuestTables<GuestStage<Second, Observer>>, isTrial: Bool, _ output: inout SecondStageOutput
  ) {
    tables.second.isTrial = isTrial
    if !tables.second.translate(Address(descent.output), for: .final, &output) {
      descent.reason = tables.second.caches.fault.pointee.reason
      descent.isRefusedByMemory = true
    }
    tables.second.isTrial = false
  }

  /// Whether the access will succeed in the second stage and find memory, without a trace: first the update of the leaf,
  /// if there is one, then the final address.
  @inline(never)
  private func tryFinal<Observer: WalkObserver>(
    _ descent: inout Descent, _ tables: inout GuestTables<GuestStage<Second, Observer>>, _ address: UInt64, _ access: pgk_access_v1,
    _ memory: PhysicalMemory
  ) {
    var output = SecondStageOutput()
    // Where A and D are software's, a first stage that lacks them faults before the second is asked.
    if descent.isUnmarked && !controls.updates { return }
    if descent.isUnmarked {
      tables.second.isTrial = true
      let slot = tables.second.caches.path[descent.level].slot
      if !tables.second.translate(Address(slot), for: .tableUpdate, &output) {
        descent.reason = tables.second.caches.fault.pointee.reason
        descent.isRefusedByMemory = true
        return
      }
    }
    askFinal(&descent, &tables, isTrial: true, &output)
    if descent.reason == .none && !memory.exists(output.address.bits, byteCount: access.partCount(at: address, masking)) {
      descent.reason = .outputHole
    }
  }

  @inline(__always)
  private func combine(_ result: inout WalkResult, _ descent: Descent, _ first: Rights, _ output: SecondStageOutput) {
    result.output = output.address.bits
    result.pageShift = min(descent.pageShift, output.pageShift)
    result.level = UInt8(truncatingIfNeeded: descent.level)
    result.isGlobal = !first.has(.notGlobal)
    result.rights = combined(first, output.rights)
  }
}

/// A guest without a first stage: its addresses are guest-physical.
struct GuestBare<Second: RISCVFormat>: Regime {
  let privileges: UInt32
  // SAFETY: as OneStage.
  let parameters: UnsafePointer<StageParameters>
  let second: UnsafePointer<SecondSetting>

  @inline(__always) static var stageCount: UInt8 { 2 }
  @inline(__always) var context: ContextTag { parameters.pointee.contexts.own }
  @inline(__always) var masking: PointerMasking { parameters.pointee.stage.masking }
  @inline(__always) var updatesThenFaults: Bool { parameters.pointee.updatesThenFaults }
  @inline(__always) var globalContext: ContextTag { context }
  @inline(__always) func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 { masking.transformed(address, access) }
  @inline(__always) func isCanonical(_ address: UInt64) -> Bool { Second.accepts(address) }
  @inline(__always) func judge(_ collected: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason {
    if (Privilege.shadowStack &>> UInt32(truncatingIfNeeded: access.privilege)) & 1 != 0 { return .pageKind }
    return second.pointee.rights.second(collected, access)
  }

  @inline(__always)
  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer
  ) -> WalkResult {
    var output = SecondStageOutput()
    var result = WalkResult()
    if !Observer.isWatching && caches.hasOnlyPrefixes {
      var quiet = QuietGuest<Second>(second, memory)
      if quiet.translate(address, isWritten: access.isWrite, &output) {
        let rights = combined(.firstStage, output.rights)
        if caches.permissions.permits(rights, access) {
          caches.counters.pointee.secondStageReads &+= UInt64(truncatingIfNeeded: quiet.secondReads)
          result.reads = quiet.reads
          result.output = output.address.bits
          result.pageShift = output.pageShift
          result.rights = rights
          settleOutput(&result, tooWide: second.pointee.controls.tooWide, address, access, masking, caches, memory, observer)
          return result
        }
      }
    }
    return walkInFull(address, access, caches, memory, observer)
  }

  @inline(never)
  private func walkInFull<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer
  ) -> WalkResult {
    var stage = GuestStage<Second, Observer>(second, access, caches, memory, observer)
    var result = WalkResult()
    if (Privilege.shadowStack &>> UInt32(truncatingIfNeeded: access.privilege)) & 1 != 0 {
      caches.fault.pointee = WalkFault(.pageKind, stage: 1)
      result.reason = .pageKind
      return result
    }
    observer.didStep(
      PGK_STEP_TRANSLATED, slot: PGK_NO_ENTRY, entry: 0, input: address, output: address, level: 0, stage: 1, .none)
    var output = SecondStageOutput()
    var isDone = true
    if !updatesThenFaults {
      stage.isTrial = true
      isDone = stage.translate(Address(address), for: .final, &output)
      stage.isTrial = false
      if isDone && !memory.exists(output.address.bits, byteCount: access.partCount(at: address, masking)) {
        caches.fault.pointee = WalkFault(.outputHole, stage: 1)
        isDone = false
      }
    }
    if isDone { isDone = stage.translate(Address(address), for: .final, &output) }
    result.reads = stage.reads
    guard isDone else {
      result.reason = caches.fault.pointee.reason
      result.level = caches.fault.pointee.level
      return result
    }
    result.output = output.address.bits
    result.pageShift = output.pageShift
    result.rights = combined(.firstStage, output.rights)
    settleOutput(&result, tooWide: second.pointee.controls.tooWide, address, access, masking, caches, memory, observer)
    return result
  }
}

/// Rights of both stages in one byte; a store needs no walk only if D is set in both.
@inline(__always)
private func combined(_ first: Rights, _ second: Rights) -> Rights {
  let lower = first.rawValue & 0x0f
  return Rights(rawValue: lower | second.rawValue & 0xe0 | first.rawValue & second.rawValue & Rights.dirty.rawValue)
}
