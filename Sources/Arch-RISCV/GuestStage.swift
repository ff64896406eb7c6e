// The second stage: hgatp's tables, from guest-physical to physical.
import CPagingKit
import PagingKit

/// A second-stage leaf that wants A or D once the whole access is known to succeed.
struct OwedMark {
  var step: PathStep
  var flags: UInt64
  /// The guest physical address that led through the entry, and the entry's level.
  var input: UInt64
  var level: Int
}

/// The second stage at work for one access.
///
/// "Guest Physical Address Translation": the algorithm of the first stage, but every access counts as a user's, the
/// address is not sign-extended, and tables of the first stage are read and updated as by implicit loads and stores.
///
/// One type for every mode of hgatp: the mode is chosen anew for each address, which costs a jump and saves a copy of all
/// code for each pair of formats.
struct GuestStage<Observer: WalkObserver>: SecondStage {
  // SAFETY: as OneStage.
  let parameters: UnsafePointer<SecondSetting>
  let access: pgk_access_v1
  let caches: TranslationCaches
  let memory: PhysicalMemory
  let observer: Observer
  /// For hardware that writes nothing before the whole access can succeed: A and D for the access itself, and for setting
  /// A and D in the first stage, are owed. Tables that are merely read are read by then, so their pages are marked at once.
  let postpones: Bool
  private var owedForUpdate: OwedMark?
  private var owedForAccess: OwedMark?
  var reads: UInt32 = 0

  @inline(__always)
  init(
    _ parameters: UnsafePointer<SecondSetting>, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory,
    _ observer: Observer, postpones: Bool
  ) {
    self.parameters = parameters
    self.access = access
    self.caches = caches
    self.memory = memory
    self.observer = observer
    self.postpones = postpones
  }

  @inline(__always) private var setting: SecondSetting { parameters.pointee }

  /// Reading an entry asked for R; updating it asks for W, and sets D. One who postpones has asked before.
  var translatesForUpdate: Bool { !postpones }

  @inline(never)
  mutating func translate(_ address: Address<GuestPhysical>, for purpose: Purpose, _ output: inout SecondStageOutput) -> Bool {
    guard setting.accepts(address.bits) else {
      refuseWide(address, purpose)
      return false
    }
    if !caches.nested.isAbsent && find(address, purpose, &output) { return true }
    return switch setting.mode {
    case .sv39: walk(Sv39x4.self, address, purpose, &output)
    case .sv48: walk(Sv48x4.self, address, purpose, &output)
    case .sv57: walk(Sv57x4.self, address, purpose, &output)
    case .sv32: walk(Sv32x4.self, address, purpose, &output)
    case .bare: preconditionFailure("a two-stage regime without a second stage")
    }
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

  // MARK: Walks

  @inline(never)
  private mutating func walk<Format: RISCVFormat>(
    _ format: Format.Type, _ address: Address<GuestPhysical>, _ purpose: Purpose, _ output: inout SecondStageOutput
  ) -> Bool {
    var tables = PhysicalTables(memory, caches, stage: 2, hole: .fault)
    let isWritten = isWritten(purpose)
    var descent = descend(format, address.bits, isWritten, &tables)
    if descent.reason != .none || descent.isUnmarked || refusal(descent.rights, purpose) != .none {
      descent = goOn(format, from: descent, address, purpose, &tables)
    }
    reads &+= tables.reads
    caches.counters.pointee.secondStageReads &+= UInt64(truncatingIfNeeded: tables.reads)
    guard descent.reason == .none else { return false }
    output.address = Address(descent.output)
    output.pageShift = descent.pageShift
    output.rights = descent.isUnmarked && isWritten ? descent.rights.union(.dirty) : descent.rights
    output.collected = output.rights
    // What is owed is not kept, so that a hit owes nothing.
    if !caches.nested.isAbsent && !isOwed(purpose) { caches.fillNested(address, setting.context, output, level: descent.level) }
    return true
  }

  @inline(never)
  private func descend<Format: RISCVFormat>(
    _ format: Format.Type, _ input: UInt64, _ isWritten: Bool, _ tables: inout PhysicalTables
  ) -> Descent {
    let root = WalkStart(table: setting.root, level: Format.radix.levelCount &- 1)
    let start = caches.hasSecondPrefix ? caches.start(input, root: root, format, setting.context, caches.secondPrefix) : root
    let descent = Walker<Format, PhysicalTables>.descend(
      input, from: start, isWritten: isWritten, stage: 2, setting.controls, &tables, path: caches.secondPath, observer)
    if caches.hasSecondPrefix {
      caches.fill(
        input, format, setting.controls, setting.context, from: start, downTo: descent.level, path: caches.secondPath,
        caches.secondPrefix)
    }
    if caches.hasEntries {
      caches.fillEntries(format, setting.controls, from: start.level, downTo: descent.level, path: caches.secondPath)
    }
    return descent
  }

  /// The rare ways on from a descent: a refusal, A and D to be set, another writer in between. With a reason the fault is
  /// noted.
  @inline(never)
  private mutating func goOn<Format: RISCVFormat>(
    _ format: Format.Type, from descent: Descent, _ address: Address<GuestPhysical>, _ purpose: Purpose, _ tables: inout PhysicalTables
  ) -> Descent {
    var descent = descent
    var attempt = 0
    while true {
      let hasLeaf = descent.reason == .none
      if hasLeaf { descent.reason = refusal(descent.rights, purpose) }
      if descent.reason == .none && descent.isUnmarked { mark(format, &descent, address.bits, purpose, &tables) }
      if descent.reason == .none { return descent }
      if descent.reason != .contention || attempt == FirstWalk<Format, PhysicalTables>.attempts {
        if descent.isRefusedByMemory {
          note(caches.fault.pointee, address, purpose)
        } else {
          note(descent, address, purpose, hasLeaf: hasLeaf)
        }
        return descent
      }
      attempt &+= 1
      descent = descend(format, address.bits, isWritten(purpose), &tables)
    }
  }

  private mutating func mark<Format: RISCVFormat>(
    _ format: Format.Type, _ descent: inout Descent, _ input: UInt64, _ purpose: Purpose, _ tables: inout PhysicalTables
  ) {
    guard setting.controls.updates else {
      descent.reason = descent.leaf.has(Format.A) ? .dirtyClear : .accessedClear
      return
    }
    if postpones && purpose != .tableRead { return owe(descent, input, purpose) }
    switch Walker<Format, PhysicalTables>.mark(
      from: descent.top, to: descent.level, input: input, isWritten: isWritten(purpose), stage: 2, setting.controls, &tables,
      path: caches.secondPath, observer, updates: &caches.counters.pointee.updates)
    {
    case .done: break
    case .lost: descent.reason = .contention
    case .refused:
      descent.reason = caches.fault.pointee.reason
      descent.isRefusedByMemory = true
    }
  }

  // MARK: What is owed

  private func isOwed(_ purpose: Purpose) -> Bool {
    switch purpose {
    case .tableRead: false
    case .tableUpdate: owedForUpdate != nil
    case .final: owedForAccess != nil
    }
  }

  private mutating func owe(_ descent: Descent, _ input: UInt64, _ purpose: Purpose) {
    let flags = Sv39x4.A.mask | (isWritten(purpose) ? Sv39x4.D.mask : 0)
    let mark = OwedMark(step: caches.secondPath[descent.level], flags: flags, input: input, level: descent.level)
    if purpose == .final { owedForAccess = mark } else { owedForUpdate = mark }
  }

  mutating func forgetOwed() {
    owedForUpdate = nil
    owedForAccess = nil
  }

  /// Sets what is owed for a purpose. False if the entry has changed since it was read; then the walk starts again.
  func settle(_ purpose: Purpose) -> Bool {
    guard let mark = purpose == .final ? owedForAccess : owedForUpdate else { return true }
    let byteCount: UInt64 = setting.mode == .sv32 ? 4 : 8
    let flags = Sv39x4.A.mask | Sv39x4.D.mask
    var held: UInt64 = 0
    guard memory.load(mark.step.place, byteCount: byteCount, &held), (held ^ mark.step.entry.bits) & ~flags == 0 else { return false }
    let marked = held | mark.flags
    // One page may hold both the entry and what it leads to; then its leaf is owed twice.
    if marked == held { return true }
    guard memory.exchange(mark.step.place, byteCount: byteCount, expected: held, desired: marked) == .done else { return false }
    caches.counters.pointee.updates &+= 1
    observer.didStep(
      PGK_STEP_UPDATED, slot: mark.step.slot, entry: marked, input: mark.input, output: 0, level: mark.level, stage: 2, .none)
    return true
  }

  // MARK: Refusals

  private func refuseWide(_ address: Address<GuestPhysical>, _ purpose: Purpose) {
    observer.didStep(
      PGK_STEP_REFUSED, slot: .max, entry: 0, input: address.bits, output: 0, level: setting.topLevel, stage: 2, .nonCanonical)
    note(WalkFault(.nonCanonical, stage: 2), address, purpose)
  }

  private func note(_ descent: Descent, _ address: Address<GuestPhysical>, _ purpose: Purpose, hasLeaf: Bool) {
    let step = caches.secondPath[descent.level]
    if hasLeaf {
      observer.didStep(
        PGK_STEP_REFUSED, slot: step.slot, entry: step.entry.bits, input: address.bits, output: 0, level: descent.level, stage: 2,
        descent.reason)
    }
    var fault = WalkFault(descent.reason, stage: 2)
    fault.level = UInt8(truncatingIfNeeded: descent.level)
    fault.rights = descent.rights
    fault.slot = step.slot
    fault.entry = step.entry.bits
    note(fault, address, purpose)
  }

  private func note(_ fault: WalkFault, _ address: Address<GuestPhysical>, _ purpose: Purpose) {
    var fault = fault
    fault.purpose = purpose
    fault.guestPhysical = address.bits
    fault.hasGuestPhysical = true
    caches.fault.pointee = fault
  }

  // MARK: Nested TLB

  @inline(__always) private func find(_ address: Address<GuestPhysical>, _ purpose: Purpose, _ output: inout SecondStageOutput) -> Bool {
    let isFound = caches.findNested(address, setting.context, isWritten: isWritten(purpose), &output) { refusal($0, purpose) == .none }
    if isFound { output.rights = output.collected }
    return isFound
  }
}
