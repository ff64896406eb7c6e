// A walk for programs.
import CPagingKit
import PagingKit

extension WalkExplanation {
  public var json: JSON {
    [
      "architecture": .text(architecture.name), "regime": .text(regime), "origin": .array(origin.map { .text($0) }),
      "access": [
        "address": .text(hex(access.address)),
        "kind": .text(DescriptionNames.name(DescriptionNames.accessKinds, access.kind)),
        "byteCount": JSON(1 << Int(access.size_log2)), "privilege": .text(privilegeName),
      ],
      "registers": .object(JSONObject(registers.map { ($0.name, .text(hex($0.value))) })),
      "steps": .array(steps.map(stepJSON)), "result": resultJSON,
    ]
  }

  private func stepJSON(_ step: Step) -> JSON {
    var object: JSONObject = [
      "kind": .text(DescriptionNames.name(DescriptionNames.steps, step.step.kind)), "stage": JSON(step.step.stage),
      "level": JSON(step.step.level), "entryName": .text(step.entryName), "input": .text(hex(step.step.input)),
    ]
    if let number = step.number { object["read"] = JSON(number) }
    if step.hasSlot {
      object["slot"] = .text(hex(step.step.slot))
      object["entry"] = .text(hex(step.step.entry))
    }
    if let fields = step.fields {
      object["layout"] = .text(fields.layout)
      object["fields"] = fields.json
    }
    if step.kind != PGK_STEP_REFUSED { object["output"] = .text(hex(step.step.output)) }
    object["rule"] = .text(architecture.ruleName(step.step.rule))
    object["section"] = .text(ruleSection(step.step))
    return .object(object)
  }

  private var resultJSON: JSON {
    guard let listed else {
      return [
        "outcome": .text(architecture.outcomeName(result.outcome)), "output": .text(hex(result.output)),
        "level": JSON(result.level), "pageShift": JSON(result.page_shift),
        "rights": .text(DescriptionNames.rights(result.rights)), "entryReads": JSON(result.entry_reads),
      ]
    }
    var object: JSONObject = [
      "outcome": .text(architecture.outcomeName(listed.outcome)), "code": JSON(listed.code),
      "faultAddress": .text(hex(listed.fault_address)), "stage": JSON(listed.stage), "level": JSON(listed.level),
      "entryReads": JSON(listed.entry_reads),
      "words": .object(JSONObject(listedWords(listed).map { ($0.name, .text(hex($0.value))) })),
    ]
    if listed.slot != PGK_NO_ENTRY { object["slot"] = .text(hex(listed.slot)) }
    if UInt32(listed.flags) & PGK_LISTED_HAS_GUEST_PHYSICAL != 0 { object["guestPhysical"] = .text(hex(listed.guest_physical)) }
    return .object(object)
  }
}
