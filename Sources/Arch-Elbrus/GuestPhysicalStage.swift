// The second stage: GP tables from guest-physical to physical addresses, asked for every guest table and the final page.
import CPagingKit
import PagingKit

/// What the second stage is made of. Regimes have it by pointer, as the first stage's parameters.
struct GuestPhysicalControls {
  /// A store that the hypervisor has taken in goes on without W.
  var ignoresWrite = false
  /// VIRT_CTRL_MU.gp_pt_en; without it guest-physical addresses are physical.
  var isEnabled = false
  var root: UInt64 = 0
  let entries: UnsafeMutablePointer<EntryControls>
  /// Room for the marks of one access.
  let owed: UnsafeMutablePointer<OwedMark>
  /// Tag of guest-physical addresses in walk caches and nested TLB.
  var context = ContextTag(number: 0)

  init(entries: UnsafeMutablePointer<EntryControls>, owed: UnsafeMutablePointer<OwedMark>) {
    self.entries = entries
    self.owed = owed
  }
}

/// A or D that a walk owes to an entry. Nothing is written before the access is known to go through.
struct OwedMark {
  var place: UInt64
  var seen: UInt64
  var marks: UInt64
  /// The guest-physical address that led through the entry, and the entry's level.
  var input: UInt64
  var level: Int
}

/// One second-stage translator at work for one access.
struct GuestPhysicalStage<Observer: WalkObserver>: SecondStage {
  let parameters: UnsafePointer<GuestPhysicalControls>
  let access: pgk_access_v1
  let caches: TranslationCaches
  let memory: PhysicalMemory
  let observer: Observer
  var owedCount = 0
  var reads: UInt32 = 0

  /// Entries of one access: four tables and a page, each with four GP entries, and again where A and D are set.
  static var mostOwed: Int { 64 }

  @inline(__always)
  init(
    _ parameters: UnsafePointer<GuestPhysicalControls>, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory,
    _ observer: Observer
  ) {
    self.parameters = parameters
    self.access = access
    self.caches = caches
    self.memory = memory
    self.observer = observer
  }

  @inline(__always) private var context: ContextTag { parameters.pointee.context }
  @inline(__always) private var entries: UnsafePointer<EntryControls> { UnsafePointer(parameters.pointee.entries) }
  private var owed: UnsafeMutablePointer<OwedMark> { parameters.pointee.owed }

  /// Rights for setting A and D in guest tables are asked for all of them before the first is set.
  @inline(__always) var translatesForUpdate: Bool { false }

  @inline(__always)
  mutating func translate(_ address: Address<GuestPhysical>, for purpose: Purpose, _ output: inout SecondStageOutput) -> Bool {
    guard parameters.pointee.isEnabled else {
      output.address = Address(address.bits)
      output.pageShift = 64
      return true
    }
    if !caches.nested.isAbsent && findNested(address, purpose, &output) { return true }
    let before = reads
    let isDone = walk(address.bits, purpose, &output)
    caches.counters.pointee.secondStageReads &+= UInt64(truncatingIfNeeded: reads &- before)
    if isDone && !caches.nested.isAbsent { fillNested(address.bits, output) }
    return isDone
  }

  /// The right that the step itself needs: table reads read, setting A or D writes.
  @inline(__always) private func refusal(_ rights: Rights, _ purpose: Purpose) -> FaultReason {
    switch purpose {
    case .tableRead: return .none
    case .tableUpdate: return rights.has(.secondWrite) ? .none : .writeDenied
    case .final: return secondStageRefusal(rights, access, parameters)
    }
  }

  @inline(__always) private func isWritten(_ purpose: Purpose) -> Bool {
    purpose == .tableUpdate || purpose == .final && Judgement.isStore(access)
  }

  @inline(__always)
  private mutating func walk(_ input: UInt64, _ purpose: Purpose, _ output: inout SecondStageOutput) -> Bool {
    let isWritten = isWritten(purpose)
    let path = caches.secondPath
    var tables = PhysicalTables(memory, caches, stage: 2, hole: .fault)
    let root = WalkStart(table: parameters.pointee.root, level: FormatGP.radix.levelCount &- 1)
    var descent: Descent
    if caches.hasSecondPrefix {
      let start = caches.start(input, root: root, FormatGP.self, context, caches.secondPrefix)
      descent = Walker<FormatGP, PhysicalTables>.descend(
        input, from: start, isWritten: isWritten, stage: 2, entries, &tables, path: path, observer)
      caches.fill(input, FormatGP.self, entries, context, from: start, downTo: descent.level, path: path, caches.secondPrefix)
    } else {
      descent = Walker<FormatGP, PhysicalTables>.descend(
        input, from: root, isWritten: isWritten, stage: 2, entries, &tables, path: path, observer)
    }
    if caches.hasEntries {
      caches.fillEntries(FormatGP.self, entries, from: descent.top, downTo: descent.level, path: path)
    }
    reads &+= tables.reads
    if descent.reason == .none { descent.reason = refusal(descent.rights, purpose) }
    if descent.reason != .none { return refuse(descent, input, purpose) }
    if descent.isUnmarked {
      var copy = self
      copy.owe(descent, input, isWritten: isWritten)
      owedCount = copy.owedCount
    }
    output.address = Address(descent.output)
    output.pageShift = descent.pageShift
    output.rights = isWritten ? descent.rights.union(.dirty) : descent.rights
    return true
  }

  @inline(never)
  private func refuse(_ descent: Descent, _ input: UInt64, _ purpose: Purpose) -> Bool {
    var fault = descent.fault(path: caches.secondPath, noted: caches.fault.pointee)
    fault.stage = 2
    fault.purpose = purpose
    fault.guestPhysical = input
    fault.hasGuestPhysical = true
    caches.fault.pointee = fault
    return false
  }

  // MARK: Marks

  @inline(never)
  private mutating func owe(_ descent: Descent, _ input: UInt64, isWritten: Bool) {
    for level in stride(from: descent.top, through: descent.level, by: -1) {
      let step = caches.secondPath[level]
      let marked = FormatGP.marked(step.entry, at: level, isLeaf: level == descent.level, isWritten: isWritten, entries)
      if marked == step.entry || owedCount == Self.mostOwed { continue }
      owed[owedCount] = OwedMark(
        place: step.place, seen: step.entry.bits, marks: marked.bits & ~step.entry.bits, input: input, level: level)
      owedCount += 1
    }
  }

  /// Sets what is owed. False if an entry has changed since it was read.
  @inline(never)
  mutating func settle() -> Bool {
    for i in 0..<owedCount {
      let mark = owed[i]
      var held: UInt64 = 0
      guard memory.load(mark.place, byteCount: 8, &held) else { return false }
      // The same entry may have been marked for an earlier step of this access.
      if held & mark.marks == mark.marks { continue }
      guard held & ~(EntryBits.accessed | EntryBits.dirty) == mark.seen & ~(EntryBits.accessed | EntryBits.dirty),
        memory.exchange(mark.place, byteCount: 8, expected: held, desired: held | mark.marks) == .done
      else { return false }
      caches.counters.pointee.updates &+= 1
      observer.didStep(
        PGK_STEP_UPDATED, slot: mark.place, entry: held | mark.marks, input: mark.input, output: 0, level: mark.level, stage: 2, .none)
    }
    owedCount = 0
    return true
  }

  // MARK: Nested TLB

  @inline(never)
  private mutating func findNested(_ address: Address<GuestPhysical>, _ purpose: Purpose, _ output: inout SecondStageOutput) -> Bool {
    var found: UInt64 = 0
    var sizeClass = 0
    guard caches.nested.find(address.bits, context, context, &found, &sizeClass) else { return false }
    let translation = Translation(bits: found)
    guard !isWritten(purpose) || translation.rights.has(.dirty), refusal(translation.rights, purpose) == .none else { return false }
    caches.counters.pointee.nestedTlbHits &+= 1
    let shift = caches.nested.sizes.shift(ofClass: sizeClass)
    output.address = Address(translation.page | address.bits & ((1 &<< shift) &- 1))
    output.pageShift = shift
    output.rights = translation.rights
    return true
  }

  /// Only what is marked is kept, so that a hit owes nothing.
  @inline(never)
  private func fillNested(_ input: UInt64, _ output: SecondStageOutput) {
    guard owedCount == 0 else { return }
    let sizeClass = caches.nested.sizes.sizeClass(ofShift: output.pageShift)
    let shift = caches.nested.sizes.shift(ofClass: sizeClass)
    caches.nested.removePage(input, context: context)
    caches.nested.insert(
      input, sizeClass: sizeClass, context,
      Translation(output: output.address.bits & ~((1 &<< shift) &- 1), rights: output.rights, attributes: 0, level: 0))
  }
}

/// The second stage's say on an access of the guest.
@inline(__always) func secondStageRefusal(
  _ rights: Rights, _ access: pgk_access_v1, _ parameters: UnsafePointer<GuestPhysicalControls>
) -> FaultReason {
  if Judgement.isStore(access) { return rights.has(.secondWrite) || parameters.pointee.ignoresWrite ? .none : .writeDenied }
  return !access.isFetch || rights.has(.secondExecute) ? .none : .executeDenied
}
