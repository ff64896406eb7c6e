// What failed becomes a listed operation: outcome, number and raw words.
import CPagingKit
import PagingKit

extension ElbrusUnit {
  func describe(_ fault: WalkFault, _ listed: inout pgk_listed_v1) {
    var condition = condition(of: listed.access, listed.value)
    if (listed.fault_address ^ listed.access.address) >> 12 != 0 { condition[ConditionWord.num_align] = 1 }
    if fault.stage == 2 {
      describeIntercept(fault, &listed, &condition)
    } else if isShadowed && fault.stage == 1 {
      describeShadow(fault, &listed, &condition)
    } else {
      describeOwn(fault, &listed, &condition)
    }
    setWords(&listed, code: code(of: listed), condition)
    guard fault.stage == 2 else { return }
    let isTable = fault.purpose != .final && fault.firstLevel != WalkFault.noLevel
    listed[header: ItemHeader.guest_pt_lev] = isTable ? UInt64(fault.firstLevel) + 1 : 0
    listed[header: ItemHeader.guest_pt_lev_fin] = fault.purpose == .final ? 1 : 0
  }

  /// The event code of an item; natively there are none.
  private func code(of listed: pgk_listed_v1) -> UInt64 {
    guard UInt32(listed.class_) == PGK_CLASS_GUEST_FAULT else { return UInt64(listed.code) }
    return isGuest ? Outcome.forcedGuestFault.code : 0
  }

  /// The hypervisor's tables are walked in the place of the guest's.
  var isShadowed: Bool {
    isGuest && values[RegisterIndex.virtualControl] & RegisterBits.shadowTables != 0 && (selection == .v6 || selection == .v3)
  }

  private func describeOwn(_ fault: WalkFault, _ listed: inout pgk_listed_v1, _ condition: inout ConditionWord) {
    let outcome = FaultTable.outcome(fault.reason, isFetch: listed.access.isFetch)
    listed.class_ = UInt8(PGK_CLASS_GUEST_FAULT)
    listed.outcome = outcome.rawValue
    listed.code = UInt32(outcome.definition.number)
    condition[ConditionWord.fault_type] = outcome.faultType
    if outcome == .pageMiss { condition[ConditionWord.miss_lvl] = UInt64(fault.level) }
  }

  /// The GP tables refuse: the guest leaves, and sees nothing of it.
  private func describeIntercept(_ fault: WalkFault, _ listed: inout pgk_listed_v1, _ condition: inout ConditionWord) {
    let isInputOutput = qualifier(of: listed.access, listed.value).isInputOutput
    let outcome: Outcome =
      listed.access.isFetch ? .guestPhysicalFetch : isInputOutput ? .inputOutputIntercept : .guestPhysicalData
    listed.class_ = UInt8(PGK_CLASS_SECOND_STAGE)
    listed.outcome = outcome.rawValue
    listed.code = UInt32(outcome.definition.number)
    listed.guest_physical = fault.guestPhysical
    listed.flags |= UInt8(PGK_LISTED_HAS_GUEST_PHYSICAL)
    if fault.purpose == .final { listed.flags |= UInt8(PGK_LISTED_FINAL_ADDRESS) }
    condition[ConditionWord.fault_type] = fault.reason == .none ? 0 : FaultTable.secondStage(fault.reason).faultType
  }

  /// Whether the guest's own tables refuse as well, hardware cannot know: it never sees them.
  private func describeShadow(_ fault: WalkFault, _ listed: inout pgk_listed_v1, _ condition: inout ConditionWord) {
    let outcome: Outcome = listed.access.isFetch ? .guestPhysicalFetch : .shadowData
    listed.class_ = UInt8(PGK_CLASS_SHADOW)
    listed.outcome = outcome.rawValue
    listed.code = UInt32(outcome.definition.number)
    let why = FaultTable.outcome(fault.reason, isFetch: false)
    condition[ConditionWord.fault_type] = why == .fetchProtection ? Outcome.protected.faultType : why.faultType
    if why == .pageMiss { condition[ConditionWord.miss_lvl] = UInt64(fault.level) }
  }
}
