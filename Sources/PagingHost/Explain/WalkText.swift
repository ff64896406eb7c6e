// A walk for a terminal.
import CPagingKit
import PagingKit

extension WalkExplanation {
  private static let width = 100

  public var text: String {
    var lines = ["\(architecture.name), regime \(regime): \(accessText)"]
    lines += origin.map { "  " + $0 }
    lines += wrapped(registers.map { "\($0.name)=\(hex($0.value))" }, indent: 2)
    for (index, step) in steps.enumerated() {
      // Updates of one way down stand together.
      if step.kind != PGK_STEP_UPDATED || index == 0 || steps[index - 1].kind != PGK_STEP_UPDATED { lines.append("") }
      lines += text(of: step)
    }
    let grid = WalkGrid(steps)
    if !grid.rows.isEmpty && steps.contains(where: \.isSecondStage) { lines += ["", grid.table.text] } else { lines.append("") }
    lines += end
    return lines.joined(separator: "\n") + "\n"
  }

  private func wrapped(_ words: [String], indent: Int) -> [String] {
    var lines: [String] = []
    for word in words {
      if let last = lines.last, last.count + 2 + word.count <= Self.width {
        lines[lines.count - 1] = "\(last)  \(word)"
      } else {
        lines.append(String(repeating: " ", count: indent) + word)
      }
    }
    return lines
  }

  // MARK: Steps

  private func text(of step: Step) -> [String] {
    // The second stage stands to the right of what it is for.
    let margin = String(repeating: " ", count: step.isSecondStage ? 8 : 0)
    if step.kind == PGK_STEP_UPDATED { return [margin + updateText(step)] }
    var lines = [head(of: step)]
    if let fields = step.fields, step.hasSlot {
      lines.append("   entry \(entryText(step)): \(fields.layout)")
      lines += fields.lines(width: Self.width - 12).map { "     " + $0 }
    }
    let rule = architecture.ruleName(step.step.rule)
    lines.append("   rule: \(rule) [\(ruleSection(step.step))]")
    return lines.map { margin + $0 }
  }

  private func head(of step: Step) -> String {
    let number = step.number.map { "\($0). " } ?? "   "
    let stage = steps.contains(where: \.isSecondStage) ? "stage \(step.step.stage), " : ""
    let entry = step.entryName == "level \(step.step.level)" ? "entry" : step.entryName
    let space = !stage.isEmpty && !step.isSecondStage ? "guest-physical " : ""
    let place = step.hasSlot ? "\(entry) (\(stage)level \(step.step.level)) at \(space)\(hex(step.step.slot))" : ""
    switch step.kind {
    case PGK_STEP_TABLE: return "\(number)\(place) -> table at \(hex(step.step.output))"
    case PGK_STEP_LEAF: return "\(number)\(place) -> \(hex(step.step.output))"
    case PGK_STEP_REFUSED: return "\(number)\(place.isEmpty ? "\(stage)address \(hex(step.step.input))" : place): refused"
    case PGK_STEP_CACHED: return "\(number)\(place.isEmpty ? "\(step.entryName) (\(stage)level \(step.step.level))" : place) from a walk cache -> table at \(hex(step.step.output))"
    case PGK_STEP_TLB_HIT: return "\(number)\(stage)TLB hit: \(hex(step.step.input)) -> \(hex(step.step.output))"
    default: return "\(number)\(stage)\(hex(step.step.input)) -> \(hex(step.step.output))"
    }
  }

  /// What an update changed, field by field.
  private func updateText(_ step: Step) -> String {
    let changes = step.changes.map { "\($0.name) \(hex($0.old)) -> \(hex($0.new))" }
    let what = changes.isEmpty ? entryText(step) : changes.joined(separator: ", ")
    return "   \(step.entryName) at \(hex(step.step.slot)) is written: \(what) [\(ruleSection(step.step))]"
  }

  /// As many digits as the format's entries have.
  private func entryText(_ step: Step) -> String {
    let format = architecture.formats[Int(step.step.format)]
    return format.entry_bytes == 8 ? wideHex(step.step.entry) : hex(step.step.entry)
  }

  // MARK: End

  private var end: [String] {
    guard isFault else {
      let shift = Int(result.page_shift)
      let page = shift == 64 ? "not translated" : "page of \(SizeText.text(shift: shift))"
      return [
        "finished: \(wideHex(access.address)) -> \(wideHex(result.output))",
        "  \(page), rights \(DescriptionNames.rights(result.rights)), decided at level \(result.level), \(reads(result.entry_reads))",
      ]
    }
    guard let listed else { return ["ended: \(architecture.outcomeName(result.outcome)) at \(hex(result.output))"] }
    return faultText(listed)
  }

  private func reads(_ count: UInt32) -> String { "\(count) entr\(count == 1 ? "y" : "ies") read" }

  private func faultText(_ listed: pgk_listed_v1) -> [String] {
    let outcomes = architecture.outcomes
    let help = Int(listed.outcome) < outcomes.count ? string(outcomes[Int(listed.outcome)].help) : ""
    // A code that only repeats the exception's number says nothing.
    let number = Int(listed.outcome) < outcomes.count ? outcomes[Int(listed.outcome)].number : -1
    let code = number == Int32(truncatingIfNeeded: listed.code) ? "number \(number)" : "code \(hex(UInt64(listed.code)))"
    var lines = ["fault: \(architecture.outcomeName(listed.outcome)), \(code) (\(help))"]
    var facts = ["address \(hex(listed.fault_address))"]
    if UInt32(listed.flags) & PGK_LISTED_HAS_GUEST_PHYSICAL != 0 { facts.append("guest-physical \(hex(listed.guest_physical))") }
    if listed.stage > 0 { facts.append("stage \(listed.stage), level \(listed.level)") }
    if listed.slot != PGK_NO_ENTRY { facts.append("entry at \(hex(listed.slot))") }
    facts.append(reads(listed.entry_reads))
    lines.append("  " + facts.joined(separator: ", "))
    // Words that this outcome does not fill are zero; a single one says something even so.
    let words = listedWords(listed)
    lines += wrapped(words.filter { $0.value != 0 || words.count == 1 }.map { "\($0.name)=\(hex($0.value))" }, indent: 2)
    return lines
  }

  func listedWords(_ listed: pgk_listed_v1) -> [(name: String, value: UInt64)] {
    let values = withUnsafeBytes(of: listed.words) { Array($0.bindMemory(to: UInt64.self)) }
    return zip(architecture.words, values).prefix(Int(listed.word_count)).map { (string($0.name), $1) }
  }
}
