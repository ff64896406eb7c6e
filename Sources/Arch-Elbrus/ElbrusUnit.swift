// The memory unit: registers, and the regimes that they make.
import CPagingKit
import PagingKit

/// One Elbrus memory unit.
final class ElbrusUnit: UnitModel {
  /// Which of the regimes the registers select for ordinary accesses.
  enum Selection { case physical, v6, v3, untranslatedGuest, guestV6, guestV3 }

  let state: UnitState
  let model: ElbrusModel
  /// What the model says about entries; without marks while neighbours of a group are judged.
  let controls: UnsafeMutablePointer<EntryControls>
  var values = ElbrusRegister.all.map { _ in UInt64(0) }

  // What the registers mean, computed when they change.
  var selection = Selection.physical
  var physical = PhysicalRegime()
  let first: UnsafeMutablePointer<FirstStageParameters>
  let second: UnsafeMutablePointer<GuestPhysicalControls>
  var qualifier = AccessQualifier()
  var window = InterceptWindow()
  private let owed: UnsafeMutablePointer<OwedMark>
  /// The map that the parameters' region belongs to.
  private var knownMap: UnsafePointer<pgk_physical_map_v1>?

  var nativeV6: NativeRegime<FormatV6> { NativeRegime(parameters: first) }
  var nativeV3: NativeRegime<FormatV3> { NativeRegime(parameters: first) }
  var guestV6: GuestRegime<FormatV6> { GuestRegime(first: nativeV6, second: UnsafePointer(second)) }
  var guestV3: GuestRegime<FormatV3> { GuestRegime(first: nativeV3, second: UnsafePointer(second)) }
  var untranslatedGuest: UntranslatedGuest { UntranslatedGuest(second: UnsafePointer(second)) }

  init(options: OptionValues, memory: PhysicalMemory) throws(OpenError) {
    model = ElbrusModel(options)
    controls = .allocate(capacity: 1)
    controls.initialize(to: model.entryControls)
    state = UnitState(options: options, sizes: PageSizes([12, 21, 30]), memory: memory)
    let room = GuestPhysicalStage<NoObserver>.mostOwed
    owed = .allocate(capacity: room)
    owed.initialize(repeating: OwedMark(place: 0, seen: 0, marks: 0, input: 0, level: 0), count: room)
    first = .allocate(capacity: 1)
    first.initialize(to: FirstStageParameters(controls: controls))
    second = .allocate(capacity: 1)
    second.initialize(to: GuestPhysicalControls(entries: controls, owed: owed))
    registersChanged()
  }

  deinit {
    first.pointee.largePages.deallocate()
    first.deallocate()
    second.deallocate()
    owed.deallocate()
    controls.deallocate()
  }

  /// Negative links are in the TLB, or may be.
  var hiddenState: [UInt64] {
    get { [first.pointee.links.mayBeThere ? 1 : 0, UInt64(window.pointer)] }
    set {
      first.pointee.links.mayBeThere = newValue.first != 0
      window.clear()
      window.pointer = Int(min(newValue.last ?? 0, UInt64(InterceptWindow.wordsPerItem * InterceptWindow.mostItems)))
    }
  }

  var isGuest: Bool { values[RegisterIndex.isGuest] != 0 }

  // MARK: Translation

  func translate(_ batch: Batch, from start: Int, to end: Int, observer: pgk_observer_v1?) -> EngineEnd {
    if knownMap != state.engine.memory.map { takeMap() }
    var i = start
    while true {
      let stop = begin(batch, from: i, to: end, observer)
      guard stop.stop == .fault, endsInDiagnostic(batch.accesses[stop.next]) else { return stop }
      finishDiagnostic(batch, stop)
      i = stop.next + 1
      if i == end { return EngineEnd(end, .end) }
    }
  }

  /// The largest region of the map, which most addresses lie in.
  private func takeMap() {
    let map = state.engine.memory.map
    knownMap = map
    let regions = (0..<map.pointee.region_count).map { map.pointee.regions[$0] }
    let largest = regions.max { $0.length < $1.length }
    first.pointee.regionBase = largest?.base ?? 0
    first.pointee.regionByteCount = largest?.length ?? 0
  }

  private func begin(_ batch: Batch, from first: Int, to end: Int, _ observer: pgk_observer_v1?) -> EngineEnd {
    guard observer == nil, qualifier.isPlain else { return startSingly(batch, from: first, to: end, observer) }
    guard let values = batch.values else { return run(batch, first, end, selection, NoObserver()) }
    // Accesses whose values qualify them go one by one, the others together.
    var i = first
    while i < end {
      var next = i
      while next < end, !isQualified(batch.accesses[next], values[next]) { next += 1 }
      var stop = next > i ? run(batch, i, next, selection, NoObserver()) : EngineEnd(next, .end)
      if stop.stop == .end && next < end {
        next += 1
        stop = startSingly(batch, from: next - 1, to: next, nil)
      }
      if stop.stop != .end { return stop }
      i = next
    }
    return EngineEnd(end, .end)
  }

  private func isQualified(_ access: pgk_access_v1, _ value: pgk_value_v1) -> Bool {
    value.qualifier != 0 && access.flags & UInt8(PGK_HAS_VALUE) != 0 && !access.isSpecial
  }

  /// One at a time: the observer is told which access it sees, and qualifiers change what an access is.
  private func startSingly(_ batch: Batch, from first: Int, to end: Int, _ observer: pgk_observer_v1?) -> EngineEnd {
    for i in first..<end {
      var (access, selection) = qualified(batch.accesses[i], batch.values?[i] ?? pgk_value_v1())
      let one = Batch(accesses: &access, values: batch.values.map { $0 + i }, results: batch.results + i)
      var stop: EngineEnd
      if isPhysicalIntercepted(batch.accesses[i], batch.values?[i]) {
        stop = physicalIntercept(access)
      } else if let observer {
        stop = run(one, 0, 1, selection, watching(observer, access: batch.accesses[i]))
      } else {
        stop = run(one, 0, 1, selection, NoObserver())
      }
      stop.next += i
      if stop.stop != .end { return stop }
    }
    return EngineEnd(end, .end)
  }

  private func watching(_ observer: pgk_observer_v1, access: pgk_access_v1) -> BorderObserver {
    let regime = regimeIndex.map { Self.definition.regimes[$0] }
    let formats = (first: UInt8(regime?.first ?? Int(PGK_NO_FORMAT)), second: UInt8(regime?.second ?? Int(PGK_NO_FORMAT)))
    return BorderObserver(observer, access: access, formats: formats) { reason, stage, _, kind in
      Rule.of(reason, stage: stage, kind: kind).rawValue
    }
  }

  private func run<Observer: WalkObserver>(
    _ batch: Batch, _ first: Int, _ end: Int, _ selection: Selection, _ observer: Observer
  ) -> EngineEnd {
    let engine = state.engine
    switch selection {
    case .v6: return engine.run(nativeV6, batch, from: first, to: end, observer)
    case .v3: return engine.run(nativeV3, batch, from: first, to: end, observer)
    case .physical: return engine.run(physical, batch, from: first, to: end, observer)
    case .guestV6: return engine.run(guestV6, batch, from: first, to: end, observer)
    case .guestV3: return engine.run(guestV3, batch, from: first, to: end, observer)
    case .untranslatedGuest: return engine.run(untranslatedGuest, batch, from: first, to: end, observer)
    }
  }

  /// What MAS and channel make of a load or store. A fetch has none.
  private func qualified(_ access: pgk_access_v1, _ value: pgk_value_v1) -> (pgk_access_v1, Selection) {
    let qualifier = qualifier(of: access, value)
    guard !access.isFetch, !access.isSpecial else { return (access, selection) }
    var access = access
    if qualifier.isHardware { access.privilege = Privilege.kernel }
    if qualifier.isPhysical || qualifier.isInputOutput { return (access, untranslated) }
    guard qualifier.isLock(access, iset: model.iset) else { return (access, selection) }
    access.kind = UInt8(PGK_LOAD_LOCKED)
    return (access, selection)
  }

  /// VIRT_CTRL_MU.pma: a guest's access with a physical address leaves it, whatever the GP tables say.
  private func isPhysicalIntercepted(_ access: pgk_access_v1, _ value: pgk_value_v1?) -> Bool {
    isGuest && values[RegisterIndex.virtualControl] & VirtualControl.physicalAccess != 0 && !access.isFetch
      && qualifier(of: access, value ?? pgk_value_v1()).isPhysical
  }

  private func physicalIntercept(_ access: pgk_access_v1) -> EngineEnd {
    var fault = WalkFault(.none, stage: 2)
    fault.guestPhysical = access.address & UntranslatedGuest.addressMask
    fault.hasGuestPhysical = true
    state.engine.caches.fault.pointee = fault
    var end = EngineEnd(0, .fault)
    end.faultAddress = access.address
    return end
  }

  /// A guest's physical addresses are guest-physical ones while GP tables are in use.
  var untranslated: Selection { isGuest && second.pointee.isEnabled ? .untranslatedGuest : .physical }

  // MARK: Speculative loads

  /// A speculative load of an illegal page is no fault.
  private func endsInDiagnostic(_ access: pgk_access_v1) -> Bool {
    let reason = state.engine.caches.fault.pointee.reason
    return access.isSpeculative && UInt32(access.kind) == PGK_READ && (reason == .invalid || reason == .nonCanonical)
  }

  /// The destination gets the diagnostic value: zero, with tags that say so.
  private func finishDiagnostic(_ batch: Batch, _ stop: EngineEnd) {
    let access = batch.accesses[stop.next]
    state.engine.caches.counters.pointee.accesses &+= 1
    batch.results[stop.next] = pgk_result_v1(
      output: stop.faultAddress, outcome: Outcome.diagnostic.rawValue, level: state.engine.caches.fault.pointee.level,
      page_shift: 12, rights: 0, entry_reads: stop.reads)
    guard !access.isTranslateOnly, let values = batch.values else { return }
    values[stop.next] = pgk_value_v1()
    values[stop.next].tags = (Self.diagnosticTag, access.size_log2 == 4 ? Self.diagnosticTag : 0)
  }

  /// Both words of a register are marked invalid.
  static let diagnosticTag: UInt8 = 0b0101

  func rule(_ reason: FaultReason, stage: UInt8, level: Int, kind: UInt32) -> UInt32 {
    Rule.of(reason, stage: stage, kind: kind).rawValue
  }
}
