// A guest's translation: vsatp over hgatp.
import CPagingKit
import PagingKit

/// vsatp in one format over hgatp in any.
struct TwoStage<First: RISCVFormat>: Regime {
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

  @inline(__always)
  func glance(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ result: inout WalkResult,
    _ start: inout WalkStart?
  ) -> Bool {
    guard caches.hasOnlyPrefixes else { return false }
    let from = FirstWalk<First, PhysicalTables>.start(root, address, context, caches)
    if glance(from: from, address, access, caches, memory, &result) { return true }
    start = from
    return false
  }

  /// First-stage entries through the second stage; the leaf's rights; its A and D; then the final address.
  @inline(never)
  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer,
    from start: WalkStart?
  ) -> WalkResult {
    let from = start ?? FirstWalk<First, PhysicalTables>.start(root, address, context, caches)
    return walkInFull(from: from, address, access, caches, memory, observer)
  }

  /// The usual walk, which only reads. This alone is made for each pair of formats.
  @inline(__always)
  private func glance(
    from start: WalkStart, _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory,
    _ result: inout WalkResult
  ) -> Bool {
    // Both stages have 32 bits or neither.
    if First.radix.entryBytes == 4 { return glance(Sv32x4.self, from: start, address, access, caches, memory, &result) }
    return switch second.pointee.mode {
    case .sv39: glance(Sv39x4.self, from: start, address, access, caches, memory, &result)
    case .sv48: glance(Sv48x4.self, from: start, address, access, caches, memory, &result)
    case .sv57: glance(Sv57x4.self, from: start, address, access, caches, memory, &result)
    case .sv32, .bare: false
    }
  }

  @inline(never)
  private func glance<Second: RISCVFormat>(
    _ format: Second.Type, from start: WalkStart, _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches,
    _ memory: PhysicalMemory, _ result: inout WalkResult
  ) -> Bool {
    var quiet = QuietGuest<Second>(second, memory)
    let seen = Glance<First>(
      address, from: start, isWritten: access.isWrite, controls, &quiet)
    var output = SecondStageOutput()
    guard seen.isPlain, quiet.translate(seen.output, isWritten: access.isWrite, &output) else { return false }
    result.rights = combined(seen.rights, output.rights)
    guard caches.permissions.permits(result.rights, access),
      isWhole(output.address.bits, pageShift: min(seen.pageShift, output.pageShift), tooWide: second.pointee.controls.tooWide, memory)
    else { return false }
    if caches.hasPrefix { caches.prefix.fill(address, context, from: start, seen) }
    caches.counters.pointee.secondStageReads &+= UInt64(truncatingIfNeeded: quiet.secondReads)
    result.reads = quiet.reads
    result.output = output.address.bits
    result.pageShift = min(seen.pageShift, output.pageShift)
    result.level = UInt8(truncatingIfNeeded: seen.level)
    result.isGlobal = !seen.rights.has(.notGlobal)
    return true
  }

  /// The walk with all that may be needed: refusals, A and D to be set, another writer in between, the other order of stages.
  @inline(__always)
  private func walkInFull<Observer: WalkObserver>(
    from start: WalkStart, _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory,
    _ observer: Observer
  ) -> WalkResult {
    typealias Tables = GuestTables<GuestStage<Observer>>
    var tables = Tables(GuestStage(second, access, caches, memory, observer, postpones: !updatesThenFaults), hole: .fault)
    var start = start
    var attempt = 0
    while true {
      tables.second.forgetOwed()
      var output = SecondStageOutput()
      var descent = FirstWalk<First, Tables>.descend(from: start, address, access, controls, context, caches, &tables, observer)
      let hasLeaf = descent.reason == .none
      if hasLeaf && asksSecondStageFirst { askFinal(&descent, address, &tables, &output) }
      if descent.reason == .none { descent.reason = rights.first(descent.rights, access) }
      let isUpdated = descent.reason == .none && descent.isUnmarked
      if isUpdated { update(&descent, address, access, caches, &tables, observer) }
      if descent.reason == .none && !asksSecondStageFirst { askFinal(&descent, address, &tables, &output) }
      if descent.reason == .none && !updatesThenFaults {
        settle(&descent, address, access, caches, memory, &tables, output, observer)
      }
      if descent.reason == .none {
        let rights = isUpdated && access.isWrite ? descent.rights.union(.dirty) : descent.rights
        return finished(descent, rights, output, tables.second.reads, address, access, caches, memory, observer)
      }
      if descent.reason != .contention || descent.isRefusedByMemory || attempt == FirstWalk<First, Tables>.attempts {
        FirstWalk<First, Tables>.record(descent, hasLeaf: hasLeaf, address, caches, observer)
        var result = WalkResult()
        result.reason = descent.reason
        result.level = UInt8(truncatingIfNeeded: descent.level)
        result.reads = tables.second.reads
        return result
      }
      attempt &+= 1
      start = FirstWalk<First, Tables>.start(root, address, context, caches)
    }
  }

  /// The second stage for the address of the access itself.
  private func askFinal<Observer: WalkObserver>(
    _ descent: inout Descent, _ address: UInt64, _ tables: inout GuestTables<GuestStage<Observer>>, _ output: inout SecondStageOutput
  ) {
    tables.second.observer.didStep(
      PGK_STEP_TRANSLATED, slot: PGK_NO_ENTRY, entry: 0, input: address, output: descent.output, level: descent.level, stage: 1, .none)
    if tables.second.translate(Address(descent.output), for: .final, &output) { return }
    descent.reason = tables.second.caches.fault.pointee.reason
    descent.isRefusedByMemory = true
  }

  /// Sets A and D of the first-stage leaf through the second stage; where that is postponed, only asks for it.
  private func update<Observer: WalkObserver>(
    _ descent: inout Descent, _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches,
    _ tables: inout GuestTables<GuestStage<Observer>>, _ observer: Observer
  ) {
    // Where A and D are software's, a first stage that lacks them faults before the second is asked.
    guard !updatesThenFaults && controls.updates else {
      descent = FirstWalk<First, GuestTables<GuestStage<Observer>>>.mark(descent, address, access, controls, caches, &tables, observer)
      return
    }
    var output = SecondStageOutput()
    if tables.second.translate(Address(caches.path[descent.level].slot), for: .tableUpdate, &output) { return }
    descent.reason = caches.fault.pointee.reason
    descent.isRefusedByMemory = true
  }

  /// Sets what was postponed: the second-stage leaf of the entry's page, the entry, and the second-stage leaf of the page
  /// itself. Where the access will find no memory, nothing.
  private func settle<Observer: WalkObserver>(
    _ descent: inout Descent, _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory,
    _ tables: inout GuestTables<GuestStage<Observer>>, _ output: SecondStageOutput, _ observer: Observer
  ) {
    guard isReachable(output.address.bits, tooWide: second.pointee.controls.tooWide, address, access, masking, memory) else { return }
    guard tables.second.settle(.tableUpdate) else { return descent.reason = .contention }
    if descent.isUnmarked {
      descent = FirstWalk<First, GuestTables<GuestStage<Observer>>>.mark(descent, address, access, controls, caches, &tables, observer)
    }
    if descent.reason == .none && !tables.second.settle(.final) { descent.reason = .contention }
  }

  /// Both stages in one result.
  private func finished<Observer: WalkObserver>(
    _ descent: Descent, _ first: Rights, _ output: SecondStageOutput, _ reads: UInt32, _ address: UInt64, _ access: pgk_access_v1,
    _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer
  ) -> WalkResult {
    var result = WalkResult()
    result.reads = reads
    result.output = output.address.bits
    result.pageShift = min(descent.pageShift, output.pageShift)
    result.level = UInt8(truncatingIfNeeded: descent.level)
    result.isGlobal = !first.has(.notGlobal)
    result.rights = combined(first, output.rights)
    settleOutput(&result, tooWide: second.pointee.controls.tooWide, address, access, masking, caches, memory, observer)
    return result
  }
}

/// A guest without a first stage: its addresses are guest-physical.
struct GuestBare: Regime {
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
  @inline(__always) func isCanonical(_ address: UInt64) -> Bool { second.pointee.accepts(address) }
  @inline(__always) func judge(_ collected: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason {
    if (Privilege.shadowStack &>> UInt32(truncatingIfNeeded: access.privilege)) & 1 != 0 { return .pageKind }
    return second.pointee.rights.second(collected, access)
  }

  @inline(__always)
  func glance(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ result: inout WalkResult,
    _ start: inout WalkStart?
  ) -> Bool {
    var output = SecondStageOutput()
    guard caches.hasOnlyPrefixes, glance(address, access, memory, caches, &output, &result) else { return false }
    result.output = output.address.bits
    result.pageShift = output.pageShift
    result.rights = combined(.firstStage, output.rights)
    return true
  }

  @inline(__always)
  private func glance(
    _ address: UInt64, _ access: pgk_access_v1, _ memory: PhysicalMemory, _ caches: TranslationCaches,
    _ output: inout SecondStageOutput, _ result: inout WalkResult
  ) -> Bool {
    switch second.pointee.mode {
    case .sv39: glance(Sv39x4.self, address, access, memory, caches, &output, &result)
    case .sv48: glance(Sv48x4.self, address, access, memory, caches, &output, &result)
    case .sv57: glance(Sv57x4.self, address, access, memory, caches, &output, &result)
    case .sv32: glance(Sv32x4.self, address, access, memory, caches, &output, &result)
    case .bare: false
    }
  }

  @inline(__always)
  private func glance<Second: RISCVFormat>(
    _ format: Second.Type, _ address: UInt64, _ access: pgk_access_v1, _ memory: PhysicalMemory, _ caches: TranslationCaches,
    _ output: inout SecondStageOutput, _ result: inout WalkResult
  ) -> Bool {
    var quiet = QuietGuest<Second>(second, memory)
    guard quiet.translate(address, isWritten: access.isWrite, &output),
      caches.permissions.permits(combined(.firstStage, output.rights), access),
      isWhole(output.address.bits, pageShift: output.pageShift, tooWide: second.pointee.controls.tooWide, memory)
    else { return false }
    caches.counters.pointee.secondStageReads &+= UInt64(truncatingIfNeeded: quiet.secondReads)
    result.reads = quiet.reads
    return true
  }

  @inline(never)
  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer,
    from _: WalkStart?
  ) -> WalkResult {
    var result = WalkResult()
    if (Privilege.shadowStack &>> UInt32(truncatingIfNeeded: access.privilege)) & 1 != 0 {
      caches.fault.pointee = WalkFault(.pageKind, stage: 1)
      result.reason = .pageKind
      return result
    }
    var stage = GuestStage(second, access, caches, memory, observer, postpones: !updatesThenFaults)
    observer.didStep(
      PGK_STEP_TRANSLATED, slot: PGK_NO_ENTRY, entry: 0, input: address, output: address, level: 0, stage: 1, .none)
    var output = SecondStageOutput()
    let tooWide = second.pointee.controls.tooWide
    var attempt = 0
    while true {
      stage.forgetOwed()
      guard stage.translate(Address(address), for: .final, &output) else {
        result.reason = caches.fault.pointee.reason
        result.level = caches.fault.pointee.level
        result.reads = stage.reads
        return result
      }
      guard isReachable(output.address.bits, tooWide: tooWide, address, access, masking, memory) else { break }
      if stage.settle(.final) { break }
      if attempt == FirstWalk<Sv39, PhysicalTables>.attempts {
        caches.fault.pointee = WalkFault(.contention, stage: 2)
        result.reason = .contention
        result.reads = stage.reads
        return result
      }
      attempt &+= 1
    }
    result.reads = stage.reads
    result.output = output.address.bits
    result.pageShift = output.pageShift
    result.rights = combined(.firstStage, output.rights)
    settleOutput(&result, tooWide: tooWide, address, access, masking, caches, memory, observer)
    return result
  }
}

/// Rights of both stages in one byte; a store needs no walk only if D is set in both.
@inline(__always)
private func combined(_ first: Rights, _ second: Rights) -> Rights {
  let lower = first.rawValue & 0x0f
  return Rights(rawValue: lower | second.rawValue & 0xe0 | first.rawValue & second.rawValue & Rights.dirty.rawValue)
}
