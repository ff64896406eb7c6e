// A translation step by step: what was read where, what it says, and which rule decided.
import CPagingKit
import PagingKit

/// One access, performed with somebody watching.
public struct WalkExplanation {
  struct Step {
    let step: pgk_step_v1
    /// Of the entry that was read, if one was.
    let fields: EntryFields?
    /// The manual's name of an entry at this level.
    let entryName: String
    /// Counts entries that were read, from 1; nil if this step read none.
    let number: Int?
    /// Fields that this step wrote anew.
    var changes: [(name: String, old: UInt64, new: UInt64)] = []

    var kind: UInt32 { UInt32(step.kind) }
    var isSecondStage: Bool { step.stage == 2 }
    var hasSlot: Bool { step.slot != PGK_NO_ENTRY }
  }

  let unit: Unit
  let access: pgk_access_v1
  let origin: [String]
  let regime: String
  /// Registers that are not as after reset.
  let registers: [(name: String, value: UInt64)]
  let steps: [Step]
  let result: pgk_result_v1
  /// The operation as it was listed, if the access did not finish.
  let listed: pgk_listed_v1?

  var architecture: Architecture { unit.architecture }

  /// True if the access did not finish.
  public var isFault: Bool { listed != nil || result.outcome != UInt8(PGK_OUTCOME_FINISHED) }

  /// Performs the access of the subject.
  public init(_ subject: WalkSubject) throws(UnitError) {
    unit = subject.unit
    access = subject.access
    origin = subject.origin
    regime = unit.regime.map { string(subject.unit.architecture.regimes[$0].name) } ?? "none"
    registers = try Self.changedRegisters(unit)
    let (steps, result) = try WalkRecorder.record(access, on: unit)
    self.steps = Self.explained(steps, unit)
    self.result = result
    listed = result.outcome == UInt8(PGK_OUTCOME_LISTED) ? unit.pending().first : nil
  }

  private static func changedRegisters(_ unit: Unit) throws(UnitError) -> [(name: String, value: UInt64)] {
    var changed: [(name: String, value: UInt64)] = []
    for (index, register) in unit.architecture.registers.enumerated() {
      let value = try unit.readRegister(index)
      if value != register.preset { changed.append((string(register.name), value)) }
    }
    return changed
  }

  private static func explained(_ steps: [pgk_step_v1], _ unit: Unit) -> [Step] {
    var count = 0
    var shown: [UInt64: EntryFields] = [:]
    var last: (slot: UInt64, stage: UInt8) = (PGK_NO_ENTRY, 0)
    return steps.map { step in
      let hasSlot = step.slot != PGK_NO_ENTRY
      // An entry that is refused after it has been shown was not read again.
      let isShown = UInt32(step.kind) == PGK_STEP_REFUSED && hasSlot && (step.slot, step.stage) == last
      let isRead = [PGK_STEP_TABLE, PGK_STEP_LEAF, PGK_STEP_REFUSED].contains(UInt32(step.kind)) && hasSlot && !isShown
      if isRead { count += 1 }
      last = (step.slot, step.stage)
      let fields = hasSlot && !isShown ? EntryFields(step.entry, format: Int(step.format), level: Int(step.level), on: unit) : nil
      var explained = Step(step: step, fields: fields, entryName: entryName(step, unit), number: isRead ? count : nil)
      if UInt32(step.kind) == PGK_STEP_UPDATED, let fields, let old = shown[step.slot] { explained.changes = fields.changes(from: old) }
      if let fields { shown[step.slot] = fields }
      return explained
    }
  }

  private static func entryName(_ step: pgk_step_v1, _ unit: Unit) -> String {
    let formats = unit.architecture.formats
    return Int(step.format) < formats.count ? formats[Int(step.format)].entryName(at: Int(step.level)) : "level \(step.level)"
  }

  // MARK: Words

  var privilegeName: String { string(architecture.privileges[Int(access.privilege)].name) }

  var accessText: String {
    let kind = DescriptionNames.name(DescriptionNames.accessKinds, access.kind)
    let count = 1 << Int(access.size_log2)
    return "\(kind) of \(count) byte\(count == 1 ? "" : "s") at \(wideHex(access.address)) as \(privilegeName)"
  }

  func ruleSection(_ step: pgk_step_v1) -> String {
    Int(step.rule) < architecture.rules.count ? string(architecture.rules[Int(step.rule)].help) : ""
  }
}
