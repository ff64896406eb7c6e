// The second stage: AMD nested paging and Intel EPT, from guest-physical to physical.
import CPagingKit
import PagingKit

/// Which second stage there is, and what it is made of.
@frozen @usableFromInline struct NestedControls {
  @usableFromInline enum Kind { case none, nptTwoLevel, nptPAE, nptFourLevel, nptFiveLevel, ept4, ept5 }

  @usableFromInline var kind = Kind.none
  @usableFromInline var root: UInt64 = 0
  /// The host's own paging controls (nested paging).
  @usableFromInline let controls: UnsafeMutablePointer<EntryControls>
  /// Whether the host reports fetches in error codes: its EFER.NXE with PAE, or its CR4.SMEP.
  @usableFromInline var reportsFetch = false
  @usableFromInline let eptControls: UnsafeMutablePointer<EPTControls>
  @usableFromInline var context = ContextTag(number: 1)
  /// What the second stage must allow for a guest's entry to be read.
  @usableFromInline var tableRights: Rights = []

  @usableFromInline init() {
    controls = .allocate(capacity: 1)
    controls.initialize(to: EntryControls())
    eptControls = .allocate(capacity: 1)
    eptControls.initialize(to: EPTControls())
  }

  /// The unit calls it once.
  @usableFromInline func deallocate() {
    controls.deallocate()
    eptControls.deallocate()
  }

  @inline(__always) @usableFromInline var isEPT: Bool { kind == .ept4 || kind == .ept5 }
}

/// One second-stage translator at work for one access.
@frozen @usableFromInline struct NestedStage<Observer: WalkObserver>: SecondStage {
  // SAFETY: as FirstStage.
  @usableFromInline let parameters: UnsafePointer<NestedControls>
  @usableFromInline let access: pgk_access_v1
  @usableFromInline let caches: TranslationCaches
  @usableFromInline let memory: PhysicalMemory
  @usableFromInline let observer: Observer
  /// The guest's entries together say that the page is a user page; known when the final address is asked.
  @usableFromInline var isUserPage = true
  @usableFromInline var reads: UInt32 = 0

  @inline(__always) @usableFromInline
  init(_ parameters: UnsafePointer<NestedControls>, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer) {
    self.parameters = parameters
    self.access = access
    self.caches = caches
    self.memory = memory
    self.observer = observer
  }

  @inline(__always) @usableFromInline var nested: NestedControls { parameters.pointee }

  /// Nested paging takes every access to a guest table for a write; EPT with accessed and dirty flags does so too.
  @inline(__always) @usableFromInline
  var translatesForUpdate: Bool { nested.isEPT && !nested.eptControls.pointee.hasFlags }

  @inline(__always) @usableFromInline
  mutating func translate(_ address: Address<GuestPhysical>, for purpose: Purpose, _ output: inout SecondStageOutput) -> Bool {
    if !caches.nested.isAbsent && findNested(address, purpose, &output) { return true }
    let before = reads
    let isDone = switch nested.kind {
    case .nptFourLevel: walkNested(FourLevel.self, address, purpose, &output)
    case .ept4: walkEPT(EPT4.self, address, purpose, &output)
    case .nptTwoLevel: walkNested(TwoLevel.self, address, purpose, &output)
    case .nptPAE: walkNested(PAE.self, address, purpose, &output)
    case .nptFiveLevel: walkNested(FiveLevel.self, address, purpose, &output)
    case .ept5: walkEPT(EPT5.self, address, purpose, &output)
    case .none: preconditionFailure("a two-stage regime without a second stage")
    }
    caches.counters.pointee.secondStageReads &+= UInt64(truncatingIfNeeded: reads &- before)
    if isDone && !caches.nested.isAbsent { fillNested(address, output) }
    return isDone
  }

  // MARK: Nested TLB

  @inline(never) @usableFromInline
  mutating func findNested(_ address: Address<GuestPhysical>, _ purpose: Purpose, _ output: inout SecondStageOutput) -> Bool {
    var found: UInt64 = 0
    var sizeClass = 0
    guard caches.nested.find(address.bits, nested.context, nested.context, &found, &sizeClass) else { return false }
    let translation = Translation(bits: found)
    guard !isWritten(purpose) || translation.rights.has(.dirty), refusal(translation.rights, purpose) == .none else { return false }
    caches.counters.pointee.nestedTlbHits &+= 1
    let shift = caches.nested.sizes.shift(ofClass: sizeClass)
    output.address = Address(translation.page | address.bits & ((1 &<< shift) &- 1))
    output.pageShift = shift
    output.rights = secondRights(translation.rights)
    return true
  }

  @inline(never) @usableFromInline
  func fillNested(_ address: Address<GuestPhysical>, _ output: SecondStageOutput) {
    let sizeClass = caches.nested.sizes.sizeClass(ofShift: output.pageShift)
    let shift = caches.nested.sizes.shift(ofClass: sizeClass)
    caches.nested.removePage(address.bits, context: nested.context)
    caches.nested.insert(
      address.bits, sizeClass: sizeClass, nested.context,
      Translation(output: output.address.bits & ~((1 &<< shift) &- 1), rights: output.collected, attributes: 0, level: 0))
  }

  @inline(__always) @usableFromInline var rules: NestedRules { NestedRules(parameters, access, isUserPage: isUserPage) }
  @inline(__always) @usableFromInline func isWritten(_ purpose: Purpose) -> Bool { rules.isWritten(purpose) }
  @inline(__always) @usableFromInline func refusal(_ rights: Rights, _ purpose: Purpose) -> FaultReason { rules.refusal(rights, purpose) }
  @inline(__always) @usableFromInline func secondRights(_ rights: Rights) -> Rights { rules.secondRights(rights) }

  // MARK: Walks

  @inline(__always) @usableFromInline
  mutating func walkNested<Format: FirstStageFormat>(
    _ format: Format.Type, _ address: Address<GuestPhysical>, _ purpose: Purpose, _ output: inout SecondStageOutput
  ) -> Bool {
    let input = address.bits
    guard input &>> min(Format.radix.inputBits, 52) == 0 else { return tooWide(address, purpose) }
    return walk(format, UnsafePointer(nested.controls), address, purpose, &output)
  }

  @inline(__always) @usableFromInline
  mutating func walkEPT<Format: EPTFormat>(
    _ format: Format.Type, _ address: Address<GuestPhysical>, _ purpose: Purpose, _ output: inout SecondStageOutput
  ) -> Bool {
    guard address.bits &>> Format.radix.inputBits == 0 else { return tooWide(address, purpose) }
    return walk(format, UnsafePointer(nested.eptControls), address, purpose, &output)
  }

  @inline(__always) @usableFromInline
  mutating func walk<Format: PageTableFormat>(
    _ format: Format.Type, _ controls: Format.Controls, _ address: Address<GuestPhysical>, _ purpose: Purpose,
    _ output: inout SecondStageOutput
  ) -> Bool {
    let isWritten = isWritten(purpose)
    var tables = PhysicalTables(memory, caches, stage: 2, hole: .ones)
    let path = caches.secondPath
    let root = WalkStart(table: nested.root, level: Format.radix.levelCount &- 1)
    var attempt = 0
    while true {
      let start = caches.hasSecondPrefix
        ? caches.start(address.bits, root: root, Format.self, nested.context, caches.secondPrefix) : root
      var descent = Walker<Format, PhysicalTables>.descend(
        address.bits, from: start, isWritten: isWritten, stage: 2, controls, &tables, path: path, observer)
      var isJudged = false
      if descent.reason == .none {
        descent.reason = refusal(descent.rights, purpose)
        isJudged = true
        if descent.reason == .none && descent.isUnmarked {
          var copy = tables
          let exchange = Walker<Format, PhysicalTables>.mark(
            from: start.level, to: descent.level, input: address.bits, isWritten: isWritten, stage: 2, controls, &copy,
            path: path, observer, updates: &caches.counters.pointee.updates)
          if exchange != .done { descent.reason = .contention }
        }
      }
      if descent.reason == .contention && attempt < 64 {
        attempt &+= 1
        continue
      }
      if caches.hasSecondPrefix {
        caches.fill(
          address.bits, format, controls, nested.context, from: start, downTo: descent.level, path: path, caches.secondPrefix)
      }
      if caches.hasEntries {
        caches.fillEntries(format, controls, from: start.level, downTo: descent.level, path: path)
      }
      reads &+= tables.reads
      if descent.reason != .none {
        return refuse(descent.reason, descent.rights, descent.level, isJudged: isJudged, address, purpose)
      }
      output.address = Address(descent.output)
      output.pageShift = descent.pageShift
      output.collected = isWritten ? descent.rights.union(.dirty) : descent.rights
      output.rights = secondRights(output.collected)
      return true
    }
  }

  @inline(never) @usableFromInline
  func refuse(
    _ reason: FaultReason, _ rights: Rights, _ level: Int, isJudged: Bool, _ address: Address<GuestPhysical>, _ purpose: Purpose
  ) -> Bool {
    var fault = WalkFault(reason, stage: 2)
    fault.level = UInt8(truncatingIfNeeded: level)
    fault.purpose = purpose
    fault.rights = reason == .notPresent ? [] : rights
    fault.guestPhysical = address.bits
    fault.hasGuestPhysical = true
    let step = caches.secondPath[level]
    fault.slot = step.slot
    fault.entry = step.entry.bits
    caches.fault.pointee = fault
    if isJudged {
      observer.didStep(
        PGK_STEP_REFUSED, slot: step.slot, entry: step.entry.bits, input: address.bits, output: 0, level: level, stage: 2, reason)
    }
    return false
  }

  @inline(never) @usableFromInline
  func tooWide(_ address: Address<GuestPhysical>, _ purpose: Purpose) -> Bool {
    var fault = WalkFault(.tooWide, stage: 2)
    fault.purpose = purpose
    fault.rights = []
    fault.guestPhysical = address.bits
    fault.hasGuestPhysical = true
    caches.fault.pointee = fault
    // For an entry of the guest the walker shows the slot.
    if purpose == .final {
      observer.didStep(
        PGK_STEP_REFUSED, slot: PGK_NO_ENTRY, entry: 0, input: address.bits, output: 0, level: 0, stage: 2, .tooWide)
    }
    return false
  }
}

/// Who may do what in the second stage, for one access.
@frozen @usableFromInline struct NestedRules {
  // SAFETY: as FirstStage.
  @usableFromInline let parameters: UnsafePointer<NestedControls>
  @usableFromInline let access: pgk_access_v1
  @usableFromInline var isUserPage: Bool

  @inline(__always) @usableFromInline
  init(_ parameters: UnsafePointer<NestedControls>, _ access: pgk_access_v1, isUserPage: Bool) {
    self.parameters = parameters
    self.access = access
    self.isUserPage = isUserPage
  }

  @inline(__always) @usableFromInline var nested: NestedControls { parameters.pointee }

  /// Whether the access, seen as this purpose, writes.
  @inline(__always) @usableFromInline func isWritten(_ purpose: Purpose) -> Bool {
    switch purpose {
    case .final: access.isWrite
    case .tableRead: !nested.isEPT || nested.eptControls.pointee.hasFlags
    case .tableUpdate: true
    }
  }

  /// Why the collected rights do not let the purpose go on.
  @inline(__always) @usableFromInline func refusal(_ rights: Rights, _ purpose: Purpose) -> FaultReason {
    if nested.isEPT { return eptRefusal(rights, purpose) }
    guard rights.has(.user) else { return .privilege }
    if isWritten(purpose) && !rights.has(.write) { return .writeDenied }
    return purpose == .final && access.isFetch && !rights.has(.execute) ? .executeDenied : .none
  }

  /// A guest entry is read, or read and written where EPT has flags; setting a guest's flag writes.
  @inline(__always) @usableFromInline func eptRefusal(_ rights: Rights, _ purpose: Purpose) -> FaultReason {
    if purpose == .tableRead && !rights.has(.read) { return .readDenied }
    if isWritten(purpose) { return rights.has(.write) ? .none : .writeDenied }
    guard purpose == .final else { return .none }
    if access.isFetch { return executes(rights) ? .none : .executeDenied }
    return rights.has(.read) ? .none : .readDenied
  }

  /// With mode-based execute control the mode of the page, not of the access, chooses the bit.
  @inline(__always) @usableFromInline func executes(_ rights: Rights) -> Bool {
    nested.isEPT && nested.eptControls.pointee.hasModeBasedExecute && isUserPage ? rights.has(.user) : rights.has(.execute)
  }

  /// As the upper half of a combined translation.
  @inline(__always) @usableFromInline func secondRights(_ rights: Rights) -> Rights {
    var second: Rights = []
    if nested.isEPT ? rights.has(.read) : rights.has(.user) { second.formUnion(.secondRead) }
    if rights.has(.write) && (nested.isEPT || rights.has(.user)) { second.formUnion(.secondWrite) }
    if executes(rights) && (nested.isEPT || rights.has(.user)) { second.formUnion(.secondExecute) }
    if rights.has(.dirty) { second.formUnion(.dirty) }
    return second
  }
}
