// The memory unit: registers, and the regimes that they make.
import CPagingKit
import PagingKit

/// One x86 memory unit.
final class X86Unit: UnitModel {
  let state: UnitState
  let model: X86Model
  var registers = Registers()

  // What the registers mean, computed when they change.
  let first: UnsafeMutablePointer<FirstStageParameters>
  let second: UnsafeMutablePointer<NestedControls>

  var controls: EntryControls { first.pointee.controls.pointee }
  var judgement: Judgement { first.pointee.judgement }
  var masking: PointerMasking { first.pointee.masking }
  var nested: NestedControls { second.pointee }

  var maxPhysical: Int { model.maxPhysical }

  init(options: OptionValues, memory: PhysicalMemory) throws(OpenError) {
    model = X86Model(options)
    state = UnitState(options: options, sizes: PageSizes([12, 21, 22, 30]), memory: memory)
    first = .allocate(capacity: 1)
    let controls = UnsafeMutablePointer<EntryControls>.allocate(capacity: 1)
    controls.initialize(to: EntryControls())
    first.initialize(to: FirstStageParameters(controls: controls))
    second = .allocate(capacity: 1)
    second.initialize(to: NestedControls())
    registersChanged()
  }

  deinit {
    first.pointee.controls.deallocate()
    second.pointee.deallocate()
    first.deallocate()
    second.deallocate()
  }

  // MARK: Registers

  func readRegister(_ index: Int) -> UInt64 { registers.values[index] }

  func restoreRegisters(_ values: [UInt64]) {
    registers = Registers(values)
    registersChanged()
  }

  /// Computes what entries, rights and identifiers mean under the registers as they are.
  func registersChanged() {
    setNested()
    var new = FirstStageParameters(controls: first.pointee.controls)
    new.root = registers.root
    new.controls.pointee = model.entryControls(efer: registers[.efer], cr4: registers[.cr4], isLegacyPAE: registers.paging == .pae)
    new.judgement = presentJudgement()
    new.masking = presentMasking()
    new.pointers = [registers[.pdpte0], registers[.pdpte1], registers[.pdpte2], registers[.pdpte3]]
    // Under nested paging the PDPTEs are read by the walk; under EPT they are loaded as usual.
    new.readsPointers = nested.kind != .none && !nested.isEPT
    first.pointee = new
    setContexts()
    state.engine.permissions.clear()
  }

  private func presentJudgement() -> Judgement {
    var judgement = Judgement()
    judgement.writeProtect = registers[.cr0] & CR0.WP != 0
    judgement.smep = registers.has(CR4.SMEP)
    judgement.smap = registers.has(CR4.SMAP)
    judgement.alignmentCheck = registers[.rflags] & 1 << 18 != 0
    judgement.userKeys = registers.has(CR4.PKE)
    judgement.supervisorKeys = registers.has(CR4.PKS)
    judgement.pkru = UInt32(truncatingIfNeeded: registers[.pkru])
    judgement.pkrs = UInt32(truncatingIfNeeded: registers[.pkrs])
    return judgement
  }

  private func presentMasking() -> PointerMasking {
    var masking = PointerMasking()
    if registers[.cr3] & 1 << 61 != 0 { masking.userBit = 56 } else if registers[.cr3] & 1 << 62 != 0 { masking.userBit = 47 }
    if registers.has(CR4.LAM_SUP) { masking.supervisorBit = registers.has(CR4.LA57) ? 56 : 47 }
    return masking
  }

  private func setNested() {
    switch model.mode {
    case .npt: setNestedPaging()
    case .ept: setEPT()
    default: second.pointee.kind = .none
    }
    // Nested paging takes a read of a guest's entry for a user's write; so does EPT that has flags, for a write.
    second.pointee.tableRights = !nested.isEPT ? [.user, .write] : nested.eptControls.pointee.hasFlags ? [.read, .write] : .read
  }

  private func setNestedPaging() {
    let efer = registers[.nestedEFER]
    let cr4 = registers[.nestedCR4]
    let isLong = efer & EFER.LME != 0
    let isPAE = cr4 & CR4.PAE != 0
    second.pointee.kind = isLong ? (cr4 & CR4.LA57 != 0 ? .nptFiveLevel : .nptFourLevel) : isPAE ? .nptPAE : .nptTwoLevel
    second.pointee.controls.pointee = model.entryControls(efer: efer, cr4: cr4, isLegacyPAE: !isLong && isPAE)
    second.pointee.controls.pointee.hasGlobal = false
    second.pointee.reportsFetch = cr4 & CR4.SMEP != 0 || isPAE && efer & EFER.NXE != 0
    second.pointee.root = registers[.nestedCR3] & (!isLong && isPAE ? 0xffff_ffe0 : isLong ? EntryBits.address : 0xffff_f000)
  }

  private func setEPT() {
    let eptp = registers[.eptp]
    second.pointee.kind = eptp >> 3 & 7 == 4 ? .ept5 : .ept4
    second.pointee.root = eptp & EntryBits.address
    var c = EPTControls()
    c.reserved = model.reservedAddress
    c.hasExecuteOnly = model.hasEPTExecuteOnly
    c.has2MiB = model.hasEPT2MiB
    c.has1GiB = model.hasEPT1GiB
    c.hasFlags = eptp & 1 << 6 != 0
    c.hasModeBasedExecute = registers[.mbec] != 0
    c.isEager = model.isEager
    second.pointee.eptControls.pointee = c
  }

  /// Translations are tagged with PCID, with VPID or ASID, and under EPT with the EPT pointer's root.
  private func setContexts() {
    // When the numbers run out, those just given are void as well, so that all are given anew.
    while !giveContexts() {}
  }

  private func giveContexts() -> Bool {
    let before = state.contexts.generation
    let machine = UInt32(registers[.vpid])
    let context = state.context(ContextIdentifiers(machine: machine, space: registers.pcid, root: eptTag))
    first.pointee.context = context
    first.pointee.globalContext = controls.hasGlobal
      ? state.context(ContextIdentifiers(machine: machine, space: 0, isGlobal: true, root: eptTag)) : context
    if nested.kind != .none {
      second.pointee.context = state.context(
        ContextIdentifiers(machine: nested.isEPT ? 0 : machine, space: 0, stage: 2, root: nested.isEPT ? eptTag : nested.root))
    }
    return state.contexts.generation == before
  }

  /// What tells the mappings of one EPT pointer from those of others; never 0 under EPT, though tables may begin there.
  var eptTag: UInt64 { nested.isEPT ? Self.eptTag(nested.root) : 0 }
  static func eptTag(_ pointer: UInt64) -> UInt64 { pointer & EntryBits.address | 1 }

  var regimeIndex: Int? { Self.regimeIndex(first: registers.paging, second: nested.kind) }

  // MARK: Translation

  func translate(_ batch: Batch, from start: Int, to end: Int, observer: pgk_observer_v1?) -> EngineEnd {
    guard let observer else { return translate(batch, start, end, NoObserver()) }
    let regime = regimeIndex.map { Self.definition.regimes[$0] }
    let formats = (first: UInt8(regime?.first ?? Int(PGK_NO_FORMAT)), second: UInt8(regime?.second ?? Int(PGK_NO_FORMAT)))
    // One at a time, so that the observer is told which access it sees.
    var i = start
    while i < end {
      let access = batch.accesses[i]
      let watching = BorderObserver(observer, access: access, formats: formats) { [self] in
        rule($0, stage: $1, level: $2, kind: $3, access).rawValue
      }
      let one = translate(batch, i, i + 1, watching)
      if one.stop != .end { return one }
      i += 1
    }
    return EngineEnd(end, .end)
  }

  private func translate<Observer: WalkObserver>(_ batch: Batch, _ start: Int, _ end: Int, _ observer: Observer) -> EngineEnd {
    let engine = state.engine
    let isNested = nested.kind != .none
    switch registers.paging {
    case .fourLevel:
      let stage = FirstStage<FourLevel>(first)
      return isNested
        ? engine.run(TwoStage(stage, second), batch, from: start, to: end, observer)
        : engine.run(OneStage(stage), batch, from: start, to: end, observer)
    case .fiveLevel:
      let stage = FirstStage<FiveLevel>(first)
      return isNested
        ? engine.run(TwoStage(stage, second), batch, from: start, to: end, observer)
        : engine.run(OneStage(stage), batch, from: start, to: end, observer)
    case .pae:
      let stage = FirstStage<PAE>(first)
      return isNested
        ? engine.run(TwoStage(stage, second), batch, from: start, to: end, observer)
        : engine.run(OneStage(stage), batch, from: start, to: end, observer)
    case .twoLevel:
      let stage = FirstStage<TwoLevel>(first)
      return isNested
        ? engine.run(TwoStage(stage, second), batch, from: start, to: end, observer)
        : engine.run(OneStage(stage), batch, from: start, to: end, observer)
    default:
      return isNested
        ? engine.run(UnpagedGuest(context: first.pointee.context, second), batch, from: start, to: end, observer)
        : engine.run(Unpaged(context: first.pointee.context), batch, from: start, to: end, observer)
    }
  }

  // MARK: Invalidation

  /// Whether identifiers belong to this guest: its VPID or ASID, whatever EPT pointer it went through.
  func isOwn(_ identifiers: ContextIdentifiers) -> Bool {
    identifiers.stage == 1 && identifiers.machine == UInt32(registers[.vpid])
  }

  /// Drops translations and walk-cache entries of own contexts that satisfy the condition.
  func dropAll(where condition: @escaping (ContextIdentifiers) -> Bool) {
    state.engine.caches.removeAll(where: state.contexts { [self] in isOwn($0) && condition($0) })
  }

  /// Drops what translates one linear address, and its walk-cache entries, for a PCID and for global pages.
  func dropPage(_ address: UInt64, pcid: UInt32, withGlobal: Bool) {
    dropPage(address) { [self] in isOwn($0) && ($0.isGlobal ? withGlobal : $0.space == pcid) }
  }

  /// The same for contexts that satisfy a condition.
  func dropPage(_ address: UInt64, where condition: (ContextIdentifiers) -> Bool) {
    let isMeant = state.contexts(where: condition)
    let caches = state.engine.caches
    caches.removePage(address, where: isMeant)
    guard let format = registers.paging else { return }
    if nested.kind != .none { dropFragments(of: address, format.definition.radix, where: isMeant) }
    for level in 1..<min(format.definition.radix.levelCount, TranslationCaches.prefixLevels) {
      caches.prefix[level].removePrefix(of: address, shift: format.definition.radix.shift(level), where: isMeant)
    }
    caches.entries.removeAll()
  }

  /// Over small second-stage pages a large page is in many TLB entries; an invalidation of one address of it takes all
  /// ("Details of TLB Use").
  private func dropFragments(of address: UInt64, _ radix: Radix, where isMeant: (ContextTag) -> Bool) {
    let caches = state.engine.caches
    for tlb in [caches.l1, caches.l1i, caches.l2] where !tlb.isAbsent {
      tlb.array.removeAll { word in
        let tag = PageTag(bits: word.tag)
        let own = tlb.sizes.shift(ofClass: tag.sizeClass), whole = radix.shift(Int(Translation(bits: word.payload).level))
        guard own < whole, isMeant(tag.context) else { return false }
        // A tag holds 47 bits of a page number, which is all of a large page's.
        let difference = tag.pageNumber << own ^ address
        return (own > 12 ? difference : difference & ((1 << 59) - 1)) >> whole == 0
      }
    }
  }

  /// Drops all walk-cache entries of a PCID.
  func dropPrefixes(pcid: UInt32) {
    state.engine.caches.removePrefixes(where: state.contexts { [self] in isOwn($0) && !$0.isGlobal && $0.space == pcid })
  }

  /// Drops what translates a guest-physical address: what an EPT violation or nested page fault does by itself.
  func dropGuestPhysical(_ address: UInt64) {
    let caches = state.engine.caches
    caches.nested.removePage(address, context: nested.context)
    guard let format = regimeIndex.flatMap({ Self.regimePairs[$0].second }) else { return }
    for level in 1..<min(format.definition.radix.levelCount, TranslationCaches.prefixLevels) {
      let shift = format.definition.radix.shift(level)
      caches.secondPrefix[level].removePrefix(of: address, shift: shift) { $0 == nested.context }
    }
    caches.entries.removeAll()
  }
}
