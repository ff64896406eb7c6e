// A guest under the GP tables: its own tables first, each read through the second stage, then the final page.
import CPagingKit
import PagingKit

/// A guest's translation on, in one guest format.
struct GuestRegime<Format: ElbrusFormat>: Regime {
  /// The guest's own tables; roots are guest-physical.
  let first: NativeRegime<Format>
  let second: UnsafePointer<GuestPhysicalControls>

  @inline(__always) static var stageCount: UInt8 { 2 }
  @inline(__always) var privileges: UInt32 { first.privileges }
  @inline(__always) var context: ContextTag { first.context }
  @inline(__always) var globalContext: ContextTag { first.globalContext }
  @inline(__always) func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 { first.untagged(address, access) }
  @inline(__always) func isCanonical(_ address: UInt64) -> Bool { first.isCanonical(address) }

  @inline(__always) func judge(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason {
    let reason = first.judgement.cachedRefusal(rights, access)
    return reason == .none ? secondStageRefusal(rights, access, second) : reason
  }

  /// A glance gives most answers: every entry of both stages is there and marked. Anything else is walked in full.
  @inline(__always)
  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer,
    from _: WalkStart?
  ) -> WalkResult {
    guard !Observer.isWatching, !caches.hasEntries, caches.nested.isAbsent, !caches.hasSecondPrefix, !caches.hasPrefix else {
      return walkInFull(address, access, caches, memory, observer)
    }
    var quiet = QuietGuestTables(second, memory)
    let isStore = Judgement.isStore(access)
    let seen = Glance<Format>(
      address, from: first.root(of: address), isWritten: isStore, first.controls, &quiet)
    guard seen.isPlain, first.judgement.refusal(seen.rights, access) == .none else {
      return walkInFull(address, access, caches, memory, observer)
    }
    let final = quiet.look(seen.output, isWritten: isStore)
    guard final.isPlain, secondStageRefusal(final.rights, access, second) == .none, first.exists(final.output, memory) else {
      return walkInFull(address, access, caches, memory, observer)
    }
    var result = first.result(seen)
    result.output = final.output
    result.rights.formIntersection(final.rights)
    result.pageShift = min(seen.pageShift, final.pageShift)
    result.level = UInt8(truncatingIfNeeded: seen.level)
    result.reads = quiet.tables.reads &+ quiet.guestReads
    caches.counters.pointee.secondStageReads &+= UInt64(truncatingIfNeeded: quiet.tables.reads)
    if result.pageShift == LargePages.shift { first.keepLarge(address, result, caches) }
    return result
  }

  /// The guest's tables, the guest's rights, the final address, and only then A and D: rights for all of them, then
  /// the GP entries', then the guest's from the top.
  @inline(never)
  private func walkInFull<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer
  ) -> WalkResult {
    var result = WalkResult()
    var attempts = 0
    while true {
      var tables = GuestTables(GuestPhysicalStage(second, access, caches, memory, observer), hole: .fault)
      var output = SecondStageOutput()
      var descent = descend(address, access, caches, &tables, observer)
      if descent.reason == .none {
        observer.didStep(
          PGK_STEP_TRANSLATED, slot: PGK_NO_ENTRY, entry: 0, input: address, output: descent.output, level: descent.level, stage: 1,
          .none)
        translateFinal(&descent, caches, &tables, &output)
      }
      result.reads &+= tables.second.reads
      if descent.reason == .none && (descent.isUnmarked || tables.second.owedCount > 0) {
        mark(&descent, address, access, caches, &tables, observer)
        if descent.reason == .contention && attempts < NativeRegime<Format>.patience {
          attempts += 1
          continue
        }
      }
      // A link whose way through the GP tables still owes marks is not kept: it would be the last to owe them.
      if tables.second.owedCount == 0 { caches.keep(address, Format.self, first.controls, context, descent) }
      if descent.reason == .none && !first.exists(output.address.bits, memory) {
        descent.reason = .outputHole
        caches.fault.pointee = WalkFault(.outputHole, stage: 1)
      }
      result.reason = descent.reason
      result.level = UInt8(truncatingIfNeeded: descent.level)
      result.isNegative = descent.reason == .invalid
      if descent.reason == .none {
        finish(descent, access, output, &result)
        if result.pageShift == LargePages.shift { first.keepLarge(address, result, caches) }
      }
      return result
    }
  }

  @inline(__always)
  private func descend<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches,
    _ tables: inout GuestTables<GuestPhysicalStage<Observer>>, _ observer: Observer
  ) -> Descent {
    let root = first.root(of: address)
    let start = caches.hasPrefix ? caches.start(address, root: root, Format.self, context, caches.prefix) : root
    var descent = Walker<Format, GuestTables<GuestPhysicalStage<Observer>>>.descend(
      address, from: start, isWritten: Judgement.isStore(access), stage: 1, first.controls, &tables, path: caches.path, observer)
    if descent.reason == .none { descent.reason = first.judgement.refusal(descent.rights, access) }
    guard descent.reason != .none else { return descent }
    if descent.isRefusedByMemory && caches.fault.pointee.stage == 2 {
      descent.reason = caches.fault.pointee.reason
      // Which guest table could not be read: levels are 1 to 4 here.
      caches.fault.pointee.firstLevel = UInt8(truncatingIfNeeded: descent.level)
    } else {
      caches.fault.pointee = descent.fault(path: caches.path, noted: caches.fault.pointee)
    }
    return descent
  }

  @inline(__always)
  private func translateFinal<Observer: WalkObserver>(
    _ descent: inout Descent, _ caches: TranslationCaches, _ tables: inout GuestTables<GuestPhysicalStage<Observer>>,
    _ output: inout SecondStageOutput
  ) {
    guard !tables.second.translate(Address(descent.output), for: .final, &output) else { return }
    descent.reason = caches.fault.pointee.reason
  }

  @inline(never)
  private func mark<Observer: WalkObserver>(
    _ descent: inout Descent, _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches,
    _ tables: inout GuestTables<GuestPhysicalStage<Observer>>, _ observer: Observer
  ) {
    let isStore = Judgement.isStore(access)
    if descent.isUnmarked {
      guard mayMark(&descent, isStore, access, caches, &tables) else { return }
    }
    guard tables.second.settle() else {
      descent.reason = .contention
      caches.fault.pointee = WalkFault(.contention, stage: 1)
      return
    }
    let exchange = Walker<Format, GuestTables<GuestPhysicalStage<Observer>>>.mark(
      from: descent.top, to: descent.level, input: address, isWritten: isStore, stage: 1, first.controls, &tables, path: caches.path, observer,
      updates: &caches.counters.pointee.updates)
    guard exchange != .done else { return }
    descent.reason = exchange == .lost ? .contention : caches.fault.pointee.reason
    if exchange == .lost { caches.fault.pointee = WalkFault(.contention, stage: 1) }
  }

  /// Whether the GP tables let every entry be written that wants a mark. These translations read nothing that counts,
  /// and nobody watches them: the walk has shown them already.
  private func mayMark<Observer: WalkObserver>(
    _ descent: inout Descent, _ isStore: Bool, _ access: pgk_access_v1, _ caches: TranslationCaches,
    _ tables: inout GuestTables<GuestPhysicalStage<Observer>>
  ) -> Bool {
    var silent = GuestPhysicalStage(second, access, caches, tables.second.memory, NoObserver())
    silent.owedCount = tables.second.owedCount
    let counted = caches.counters.pointee.secondStageReads
    defer { caches.counters.pointee.secondStageReads = counted }
    for level in stride(from: descent.top, through: descent.level, by: -1) {
      let step = caches.path[level]
      let marked = Format.marked(step.entry, at: level, isLeaf: level == descent.level, isWritten: isStore, first.controls)
      if marked == step.entry { continue }
      var unused = SecondStageOutput()
      if silent.translate(Address(step.slot), for: .tableUpdate, &unused) { continue }
      descent.reason = caches.fault.pointee.reason
      caches.fault.pointee.firstLevel = UInt8(truncatingIfNeeded: level)
      return false
    }
    tables.second.owedCount = silent.owedCount
    return true
  }

  /// Both stages in one result; a store needs no walk only where D is set in both.
  @inline(__always)
  private func finish(_ descent: Descent, _ access: pgk_access_v1, _ output: SecondStageOutput, _ result: inout WalkResult) {
    let leaf = Format.marked(
      descent.leaf, at: descent.level, isLeaf: true, isWritten: Judgement.isStore(access), first.controls)
    result.output = output.address.bits
    result.rights = Format.rights(of: leaf, at: descent.level, isLeaf: true, first.controls).intersection(output.rights)
    result.attributes = Format.attributes(of: leaf, first.controls)
    result.pageShift = min(descent.pageShift, output.pageShift)
    result.isGlobal = Format.isGlobal(leaf, first.controls)
  }
}

/// A guest's addresses without translation of its own: its MMU_CR.tlb_en is 0, or the access names a physical or I/O
/// address. The GP tables still translate.
struct UntranslatedGuest: Regime {
  /// 48 bits: GP tables are there from v6 on.
  static var addressMask: UInt64 { 0xffff_ffff_ffff }
  let second: UnsafePointer<GuestPhysicalControls>
  var context: ContextTag { second.pointee.context }
  var globalContext: ContextTag { context }

  @inline(__always) static var stageCount: UInt8 { 2 }
  @inline(__always) var privileges: UInt32 { 0b11 }
  @inline(__always) func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 { address & Self.addressMask }
  @inline(__always) func isCanonical(_ address: UInt64) -> Bool { true }
  @inline(__always) func judge(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason {
    secondStageRefusal(rights, access, second)
  }

  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer,
    from _: WalkStart?
  ) -> WalkResult {
    var result = WalkResult()
    var stage = GuestPhysicalStage(second, access, caches, memory, observer)
    var output = SecondStageOutput()
    observer.didStep(
      PGK_STEP_TRANSLATED, slot: PGK_NO_ENTRY, entry: 0, input: address, output: address, level: 0, stage: 1, .none)
    let isTranslated = stage.translate(Address(address), for: .final, &output)
    result.reads = stage.reads
    guard isTranslated else {
      result.reason = caches.fault.pointee.reason
      // No level of the guest's tables is meant.
      caches.fault.pointee.firstLevel = WalkFault.noLevel
      return result
    }
    guard stage.settle(), memory.answers(output.address.bits) else {
      result.reason = memory.answers(output.address.bits) ? .contention : .outputHole
      caches.fault.pointee = WalkFault(result.reason, stage: 1)
      return result
    }
    result.output = output.address.bits
    result.rights = output.rights
    result.pageShift = output.pageShift
    return result
  }
}
