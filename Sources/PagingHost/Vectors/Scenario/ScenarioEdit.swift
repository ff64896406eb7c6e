import CPagingKit
import PagingKit

/// What software makes of items of a list, as verdicts.
struct ScenarioEdit {
  let names: ScenarioNames

  /// Item by item: `delete`, or `set` with parts of the item by name.
  func verdicts(_ edits: JSONValue, _ list: [pgk_listed_v1]) throws(CaseProblem) -> [Int: pgk_verdict_v1] {
    var verdicts: [Int: pgk_verdict_v1] = [:]
    for edit in edits.elements {
      let item = Int(truncatingIfNeeded: try edit["item"]?.number("item") ?? .max)
      guard list.indices.contains(item) else { throw .malformed(expected: "an item from 0 to \(list.count - 1)", found: edit.quotedText) }
      if edit["delete"] != nil {
        var verdict = pgk_verdict_v1()
        verdict.kind = UInt8(PGK_VERDICT_DROP)
        verdicts[item] = verdict
      } else if let set = edit["set"] {
        verdicts[item] = try verdict(set, list[item])
      } else {
        throw VectorCaseDecoder.malformed("an edit with \"delete\" or \"set\"", edit)
      }
    }
    return verdicts
  }

  /// The items that stay, with their words as the edits say.
  func edited(_ edits: JSONValue, _ list: [pgk_listed_v1]) throws(CaseProblem) -> [pgk_listed_v1] {
    var kept: [pgk_listed_v1?] = list
    for edit in edits.elements {
      let item = Int(truncatingIfNeeded: try edit["item"]?.number("item") ?? .max)
      guard list.indices.contains(item) else { throw .malformed(expected: "an item from 0 to \(list.count - 1)", found: edit.quotedText) }
      if edit["delete"] != nil { kept[item] = nil }
      guard let set = edit["set"], var words = kept[item] else { continue }
      for (name, value) in set.members {
        let isName = value.kind == .string && value.unsigned == nil
        let number = isName ? try names.outcome(value.string).number : try value.number(name.string)
        try names.field(name.string).set(number, in: &words)
      }
      kept[item] = words
    }
    return kept.compactMap { $0 }
  }

  /// Data for a read is its result, for anything else what is done instead. Another code without data names the fault
  /// that the guest shall see.
  private func verdict(_ set: JSONValue, _ item: pgk_listed_v1) throws(CaseProblem) -> pgk_verdict_v1 {
    var verdict = pgk_verdict_v1()
    if let data = set["data"] {
      let isRead = set["code"] != nil || UInt32(item.class_) == PGK_CLASS_REGISTER_READ
      verdict.kind = UInt8(isRead ? PGK_VERDICT_COMPLETE : PGK_VERDICT_REPLACE)
      verdict.value = isRead ? pgk_value_v1() : item.value
      verdict.value.low = try data.number("data")
    } else if let code = set["code"] {
      let outcome = try names.outcome(code.string)
      verdict.kind = UInt8(PGK_VERDICT_REFLECT)
      verdict.outcome = UInt8(outcome.index)
      verdict.code = UInt32(truncatingIfNeeded: outcome.number)
      var words = item
      for (name, value) in set.members where name.string != "code" {
        try names.field(name.string).set(try value.number(name.string), in: &words)
      }
      verdict.words = words.words
    } else if let ignoring = set["ignore_wr_rights"], try ignoring.number("ignore_wr_rights") != 0 {
      verdict.kind = UInt8(PGK_VERDICT_REPLAY_IGNORING_WRITE_PROTECTION)
    } else {
      verdict.kind = UInt8(PGK_VERDICT_REPLAY)
    }
    return verdict
  }

  /// Items that software declares decided without a change.
  func decided(_ items: JSONValue?, _ list: [pgk_listed_v1]) throws(CaseProblem) -> [Int: pgk_verdict_v1] {
    var verdicts: [Int: pgk_verdict_v1] = [:]
    for element in items?.elements.map(\.self) ?? [] {
      guard let item = element.unsigned.flatMap({ Int(exactly: $0) }), list.indices.contains(item) else {
        throw VectorCaseDecoder.malformed("an item from 0 to \(list.count - 1)", element)
      }
      // An edit has answered it already.
      if UInt32(list[item].flags) & PGK_LISTED_ANSWERED != 0 { continue }
      var verdict = pgk_verdict_v1()
      let isOwn = UInt32(list[item].class_) == PGK_CLASS_GUEST_FAULT
      verdict.kind = UInt8(isOwn ? PGK_VERDICT_REFLECT : PGK_VERDICT_REPLAY)
      verdicts[item] = verdict
    }
    return verdicts
  }
}
