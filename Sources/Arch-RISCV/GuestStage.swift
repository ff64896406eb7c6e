// The second stage: hgatp and its tables, from guest-physical to physical.
import CPagingKit
import PagingKit

/// hgatp and what judges its entries.
struct SecondSetting {
  var root: UInt64
  var controls: EntryControls
  var context: ContextTag
  var rights: RightsJudge

  init(_ setting: Setting, _ contexts: Contexts) {
    root = setting.second.root
    controls = setting.secondControls
    context = contexts.second
    rights = setting.guest.judge
  }
}

/// The second stage at work for one access.
///
/// "Guest Physical Address Translation": the algorithm of the first stage, but every access counts as a user's, the
/// address is not sign-extended, and tables of the first stage are read and updated as by implicit loads and stores.
struct GuestStage<Format: RISCVFormat, Observer: WalkObserver>: SecondStage {
  // SAFETY: as OneStage.
  let parameters: UnsafePointer<SecondSetting>
  let access: pgk_access_v1
  let caches: TranslationCaches
  let memory: PhysicalMemory
  let observer: Observer
  /// Judges without setting A and D, for hardware that writes nothing before the whole access can succeed.
  var isTrial = false
  var reads: UInt32 = 0

  @inline(__always)
  init(
    _ parameters: UnsafePointer<SecondSetting>, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer
  ) {
    self.parameters = parameters
    self.access = access
    self.caches = caches
    self.memory = memory
    self.observer = observer
  }

  @inline(__always) private var setting: SecondSetting { parameters.pointee }

  /// Reading an entry asked for R; updating it asks for W, and sets D.
  @inline(__always) var translatesForUpdate: Bool { true }

  @inline(__always)
  mutating func translate(_ address: Address<GuestPhysical>, for purpose: Purpose, _ output: inout SecondStageOutput) -> Bool {
    guard Format.accepts(address.bits) else {
      note(.nonCanonical, address, purpose, Descent(), hasLeaf: false)
      return false
    }
    if !caches.nested.isAbsent && find(address, purpose, &output) { return true }
    return walk(address, purpose, &output)
  }

  @inline(__always) private func isWritten(_ purpose: Purpose) -> Bool {
    switch purpose {
    case .tableRead: false
    case .tableUpdate: true
    case .final: access.isWrite
    }
  }

  /// Why the rights do not let the purpose go on. MXR is for explicit loads only.
  @inline(__always) private func refusal(_ rights: Rights, _ purpose: Purpose) -> FaultReason {
    guard rights.has(.user) else { return .privilege }
    switch purpose {
    case .tableRead: return rights.has(.secondRead) ? .none : .readDenied
    case .tableUpdate: return rights.has(.secondWrite) ? .none : .writeDenied
    case .final: return setting.rights.second(rights, access)
    }
  }

  @inline(__always)
  private mutating func walk(_ address: Address<GuestPhysical>, _ purpose: Purpose, _ output: inout SecondStageOutput) -> Bool {
    var tables = PhysicalTables(memory, caches, stage: 2, hole: .fault)
    let isWritten = isWritten(purpose)
    var descent = descend(address.bits, isWritten, &tables)
    if descent.reason != .none || descent.isUnmarked || refusal(descent.rights, purpose) != .none {
      var copy = tables
      descent = goOn(from: descent, address, purpose, &copy)
      tables = copy
    }
    reads &+= tables.reads
    caches.counters.pointee.secondStageReads &+= UInt64(truncatingIfNeeded: tables.reads)
    guard descent.reason == .none else { return false }
    output.address = Address(descent.output)
    output.pageShift = descent.pageShift
    output.rights = descent.isUnmarked && isWritten ? descent.rights.union(.dirty) : descent.rights
    if !caches.nested.isAbsent && !isTrial { fill(address, output, level: descent.level) }
    return true
  }

  @inline(__always)
  private func descend(_ input: UInt64, _ isWritten: Bool, _ tables: inout PhysicalTables) -> Descent {
    let root = WalkStart(table: setting.root, level: Format.radix.levelCount &- 1)
    let start = caches.hasSecondPrefix
      ? caches.start(input, root: root, Format.self, setting.context, caches.secondPrefix) : root
    let descent = Walker<Format, PhysicalTables>.descend(
      input, from: start, isWritten: isWritten, stage: 2, setting.controls, &tables, path: caches.secondPath, observer)
    if caches.hasSecondPrefix {
      caches.fill(
        input, Format.self, setting.controls, setting.context, from: start, downTo: descent.level, path: caches.secondPath,
        caches.secondPrefix)
    }
    if caches.hasEntries {
      caches.fillEntries(Format.self, setting.controls, from: start.level, downTo: descent.level, path: caches.secondPath)
    }
    return descent
  }

  /// The rare ways on from a descent: a refusal, A and D to be set, another writer in between. With a reason the fault is
  /// noted.
  @inline(never)
  private func goOn(
    from descent: Descent, _ address: Address<GuestPhysical>, _ purpose: Purpose, _ tables: inout PhysicalTables
  ) -> Descent {
    var descent = descent
    let isWritten = isWritten(purpose)
    var attempt = 0
    while true {
      let hasLeaf = descent.reason == .none
      if hasLeaf { descent.reason = refusal(descent.rights, purpose) }
      if descent.reason == .none && descent.isUnmarked { descent = mark(descent, address.bits, isWritten, &tables) }
      if descent.reason == .none { return descent }
      if descent.reason != .contention || attempt == FirstWalk<Format, PhysicalTables>.attempts {
        if descent.isRefusedByMemory {
          note(caches.fault.pointee, address, purpose)
        } else {
          note(descent.reason, address, purpose, descent, hasLeaf: hasLeaf)
        }
        return descent
      }
      attempt &+= 1
      descent = descend(address.bits, isWritten, &tables)
    }
  }

  @inline(never)
  private func mark(_ descent: Descent, _ input: UInt64, _ isWritten: Bool, _ tables: inout PhysicalTables) -> Descent {
    var descent = descent
    guard setting.controls.updates else {
      descent.reason = descent.leaf.has(Format.A) ? .dirtyClear : .accessedClear
      return descent
    }
    if isTrial { return descent }
    switch Walker<Format, PhysicalTables>.mark(
      from: descent.top, to: descent.level, input: input, isWritten: isWritten, stage: 2, setting.controls, &tables, path: caches.secondPath, observer,
      updates: &caches.counters.pointee.updates)
    {
    case .done: break
    case .lost: descent.reason = .contention
    case .refused:
      descent.reason = caches.fault.pointee.reason
      descent.isRefusedByMemory = true
    }
    return descent
  }

  // MARK: Refusals

  @inline(never)
  private func note(
    _ reason: FaultReason, _ address: Address<GuestPhysical>, _ purpose: Purpose, _ descent: Descent, hasLeaf: Bool
  ) {
    var fault = WalkFault(reason, stage: 2)
    fault.level = UInt8(truncatingIfNeeded: descent.level)
    fault.rights = descent.rights
    if reason == .nonCanonical {
      observer.didStep(
        PGK_STEP_REFUSED, slot: .max, entry: 0, input: address.bits, output: 0, level: Format.radix.levelCount - 1, stage: 2, reason)
    } else {
      let step = caches.secondPath[descent.level]
      fault.slot = step.slot
      fault.entry = step.entry.bits
      if hasLeaf {
        observer.didStep(
          PGK_STEP_REFUSED, slot: step.slot, entry: step.entry.bits, input: address.bits, output: 0, level: descent.level, stage: 2,
          reason)
      }
    }
    note(fault, address, purpose)
  }

  @inline(never)
  private func note(_ fault: WalkFault, _ address: Address<GuestPhysical>, _ purpose: Purpose) {
    var fault = fault
    fault.purpose = purpose
    fault.guestPhysical = address.bits
    fault.hasGuestPhysical = true
    caches.fault.pointee = fault
  }

  // MARK: Nested TLB

  @inline(never)
  private func find(_ address: Address<GuestPhysical>, _ purpose: Purpose, _ output: inout SecondStageOutput) -> Bool {
    var found: UInt64 = 0
    var sizeClass = 0
    guard caches.nested.find(address.bits, setting.context, setting.context, &found, &sizeClass) else { return false }
    let translation = Translation(bits: found)
    guard !isWritten(purpose) || translation.rights.has(.dirty), refusal(translation.rights, purpose) == .none else { return false }
    caches.counters.pointee.nestedTlbHits &+= 1
    let shift = caches.nested.sizes.shift(ofClass: sizeClass)
    output.address = Address(translation.page | address.bits & ((1 &<< shift) &- 1))
    output.pageShift = shift
    output.rights = translation.rights
    return true
  }

  @inline(never)
  private func fill(_ address: Address<GuestPhysical>, _ output: SecondStageOutput, level: Int) {
    let sizeClass = caches.nested.sizes.sizeClass(ofShift: output.pageShift)
    let shift = caches.nested.sizes.shift(ofClass: sizeClass)
    caches.nested.removePage(address.bits, context: setting.context)
    caches.nested.insert(
      address.bits, sizeClass: sizeClass, setting.context,
      Translation(
        output: output.address.bits & ~((1 &<< shift) &- 1), rights: output.rights, attributes: 0,
        level: UInt64(truncatingIfNeeded: level)))
  }
}
