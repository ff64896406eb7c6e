// What failed becomes a listed operation: outcome, number and raw words.
import CPagingKit
import PagingKit

extension ElbrusUnit {
  func describe(_ fault: WalkFault, _ listed: inout pgk_listed_v1) {
    let qualifier = qualifier(of: listed.access, listed.value)
    var condition = ConditionWord(listed.access, qualifier)
    if (listed.fault_address ^ listed.access.address) >> 12 != 0 { condition[ConditionWord.num_align] = 1 }
    if fault.stage == 2 {
      describeIntercept(fault, &listed, &condition, isInputOutput: qualifier.isInputOutput)
    } else {
      let outcome = FaultTable.outcome(fault.reason, isFetch: listed.access.isFetch)
      listed.class_ = UInt8(PGK_CLASS_GUEST_FAULT)
      listed.outcome = outcome.rawValue
      listed.code = UInt32(outcome.definition.number)
      condition[ConditionWord.fault_type] = outcome.faultType
      if outcome == .pageMiss { condition[ConditionWord.miss_lvl] = UInt64(fault.level) }
    }
    let isMiss = listed.outcome == Outcome.pageMiss.rawValue
    set(&listed, fault, condition, level: isMiss ? UInt64(fault.level) : 0)
  }

  /// The GP tables refuse: the guest leaves, and sees nothing of it.
  private func describeIntercept(
    _ fault: WalkFault, _ listed: inout pgk_listed_v1, _ condition: inout ConditionWord, isInputOutput: Bool
  ) {
    let outcome: Outcome =
      listed.access.isFetch ? .guestPhysicalFetch : isInputOutput ? .inputOutputIntercept : .guestPhysicalData
    listed.class_ = UInt8(PGK_CLASS_SECOND_STAGE)
    listed.outcome = outcome.rawValue
    listed.code = UInt32(outcome.definition.number)
    listed.guest_physical = fault.guestPhysical
    listed.flags |= UInt8(PGK_LISTED_HAS_GUEST_PHYSICAL)
    if fault.purpose == .final { listed.flags |= UInt8(PGK_LISTED_FINAL_ADDRESS) }
    condition[ConditionWord.fault_type] = FaultTable.secondStage(fault.reason).faultType
  }

  private func set(_ listed: inout pgk_listed_v1, _ fault: WalkFault, _ condition: ConditionWord, level: UInt64) {
    let isTable = fault.stage == 2 && fault.purpose != .final && fault.firstLevel != WalkFault.noLevel
    listed.words.0 = condition[ConditionWord.fault_type]
    listed.words.1 = level
    listed.words.2 = isTable ? UInt64(fault.firstLevel) + 1 : 0
    listed.words.3 = fault.stage == 2 && fault.purpose == .final ? 1 : 0
    listed.words.4 = condition.bits
    listed.word_count = UInt8(Outcome.words.count)
  }
}
