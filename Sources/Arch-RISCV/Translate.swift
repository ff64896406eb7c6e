// Which regime an access belongs to, and the engine made concrete for each.
import CPagingKit
import PagingKit

extension RISCVUnit {
  func translate(_ batch: Batch, from first: Int, to end: Int, observer: pgk_observer_v1?) -> EngineEnd {
    guard let observer else { return translate(batch, from: first, to: end, NoObserver()) }
    // An observer is told which access it sees, so each is a batch of its own.
    var i = first
    while i < end {
      let access = batch.accesses[i]
      let end = translate(
        batch, from: i, to: i + 1,
        StepObserver(observer: observer, access: access, formats: formats(of: access), controls: controls(of: access)))
      if end.stop != .end { return end }
      i += 1
    }
    return EngineEnd(end, .end)
  }

  private func formats(of access: pgk_access_v1) -> (first: UInt8, second: UInt8) {
    let isGuest = setting.isGuest(access)
    let first = isGuest ? setting.guest.translation.mode : setting.native.translation.mode
    return (FormatList.index(first: first), FormatList.index(second: isGuest ? setting.second.mode : .bare))
  }

  private func controls(of access: pgk_access_v1) -> (first: EntryControls, second: EntryControls) {
    (setting.isGuest(access) ? setting.guest.controls : setting.native.controls, setting.secondControls)
  }

  /// U and S together, VU and VS together; the others one kind of access at a time.
  private func translate<Observer: WalkObserver>(_ batch: Batch, from first: Int, to end: Int, _ observer: Observer) -> EngineEnd {
    let access = batch.accesses[first]
    switch access.privilege {
    case 0, 1: return native(batch, from: first, to: end, 0b11, observer)
    case 3 where model.hasHypervisor, 4 where model.hasHypervisor: return guest(batch, from: first, to: end, 0b11000, observer)
    default: return other(batch, from: first, to: end, observer)
    }
  }

  @inline(never)
  private func other<Observer: WalkObserver>(_ batch: Batch, from first: Int, to end: Int, _ observer: Observer) -> EngineEnd {
    let access = batch.accesses[first]
    guard let privilege = Privilege(rawValue: Int(access.privilege)), !access.isSpecial, privilege.allows(kind: access.kind) else {
      return EngineEnd(first, .leave)
    }
    if !model.hasHypervisor && (privilege.isVirtual || privilege.isHypervisorAccess) { return EngineEnd(first, .leave) }
    if setting.missing & privilege.bit != 0 {
      // SSPUSH and SSPOPCHK that are not enabled do nothing, so they make no access. SSAMOSWAP traps.
      if privilege.isShadowStack && UInt32(access.kind) != PGK_MODIFY { return EngineEnd(first, .leave) }
      return missing(batch, first)
    }
    var last = first + 1
    while last < end, batch.accesses[last].privilege == access.privilege, batch.accesses[last].isFetch == access.isFetch,
      privilege.allows(kind: batch.accesses[last].kind)
    {
      last += 1
    }
    if privilege == .m && (access.isFetch || !setting.machineModifies) {
      return untranslated(batch, from: first, to: last, privilege.bit, PointerMasking(width: setting.native.masking.width), observer)
    }
    if setting.isGuest(privilege) { return guest(batch, from: first, to: last, privilege.bit, observer) }
    return native(batch, from: first, to: last, privilege.bit, observer)
  }

  /// The instruction does not exist here and now.
  private func missing(_ batch: Batch, _ i: Int) -> EngineEnd {
    state.engine.caches.fault.pointee = WalkFault(.privilege, stage: 0)
    var end = EngineEnd(i, .fault)
    end.faultAddress = batch.accesses[i].address
    return end
  }

  private func untranslated<Observer: WalkObserver>(
    _ batch: Batch, from first: Int, to end: Int, _ privileges: UInt32, _ masking: PointerMasking, _ observer: Observer
  ) -> EngineEnd {
    state.engine.run(
      Untranslated(privileges: privileges, context: contexts.untranslated, masking: masking), batch, from: first, to: end, observer)
  }

  private func native<Observer: WalkObserver>(
    _ batch: Batch, from first: Int, to end: Int, _ privileges: UInt32, _ observer: Observer
  ) -> EngineEnd {
    oneStage(native, batch, from: first, to: end, privileges, observer)
  }

  private func guest<Observer: WalkObserver>(
    _ batch: Batch, from first: Int, to end: Int, _ privileges: UInt32, _ observer: Observer
  ) -> EngineEnd {
    if setting.second.mode == .bare { return oneStage(guest, batch, from: first, to: end, privileges, observer) }
    switch setting.guest.translation.mode {
    case .bare:
      let regime = GuestBare(privileges: privileges, parameters: guest, second: second)
      return state.engine.run(regime, batch, from: first, to: end, observer)
    case .sv32: return twoStages(Sv32.self, batch, from: first, to: end, privileges, observer)
    case .sv39: return twoStages(Sv39.self, batch, from: first, to: end, privileges, observer)
    case .sv48: return twoStages(Sv48.self, batch, from: first, to: end, privileges, observer)
    case .sv57: return twoStages(Sv57.self, batch, from: first, to: end, privileges, observer)
    }
  }

  private func oneStage<Observer: WalkObserver>(
    _ parameters: UnsafePointer<StageParameters>, _ batch: Batch, from first: Int, to end: Int, _ privileges: UInt32, _ observer: Observer
  ) -> EngineEnd {
    let engine = state.engine
    switch parameters.pointee.stage.translation.mode {
    case .bare: return untranslated(batch, from: first, to: end, privileges, parameters.pointee.stage.masking, observer)
    case .sv32: return engine.run(OneStage<Sv32>(privileges: privileges, parameters: parameters), batch, from: first, to: end, observer)
    case .sv39: return engine.run(OneStage<Sv39>(privileges: privileges, parameters: parameters), batch, from: first, to: end, observer)
    case .sv48: return engine.run(OneStage<Sv48>(privileges: privileges, parameters: parameters), batch, from: first, to: end, observer)
    case .sv57: return engine.run(OneStage<Sv57>(privileges: privileges, parameters: parameters), batch, from: first, to: end, observer)
    }
  }

  @inline(__always)
  private func twoStages<First: RISCVFormat, Observer: WalkObserver>(
    _ format: First.Type, _ batch: Batch, from first: Int, to end: Int, _ privileges: UInt32, _ observer: Observer
  ) -> EngineEnd {
    let regime = TwoStage<First>(privileges: privileges, parameters: guest, second: second)
    return state.engine.run(regime, batch, from: first, to: end, observer)
  }
}

/// Names the rule of each step by its entry, too, and sends it over the border.
struct StepObserver: WalkObserver {
  static var isWatching: Bool { true }
  let observer: pgk_observer_v1
  let access: pgk_access_v1
  let formats: (first: UInt8, second: UInt8)
  let controls: (first: EntryControls, second: EntryControls)

  func didStep(_ kind: UInt32, slot: UInt64, entry: UInt64, input: UInt64, output: UInt64, level: Int, stage: UInt8, _ reason: FaultReason) {
    let controls = stage == 2 ? controls.second : controls.first
    let border = BorderObserver(observer, access: access, formats: formats) { reason, stage, _, kind in
      Rule.deciding(reason, stage: stage, kind: kind, entry: Entry(entry), controls).index
    }
    border.didStep(kind, slot: slot, entry: entry, input: input, output: output, level: level, stage: stage, reason)
  }
}
