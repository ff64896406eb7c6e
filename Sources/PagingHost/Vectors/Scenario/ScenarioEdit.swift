import CPagingKit
import PagingKit

/// What software makes of items of a list, as verdicts.
struct ScenarioEdit {
  let names: ScenarioNames

  /// Item by item: `delete`, or `set` with parts of the item by name.
  func verdicts(_ edits: JSONValue, _ list: [pgk_listed_v1]) throws(CaseProblem) -> [Int: pgk_verdict_v1] {
    var verdicts: [Int: pgk_verdict_v1] = [:]
    for edit in try edits.list("edit") {
      let item = try checkedItem(edit, list.count)
      if edit["delete"] != nil {
        var verdict = pgk_verdict_v1()
        verdict.kind = UInt8(PGK_VERDICT_DROP)
        verdicts[item] = verdict
      } else if let set = edit["set"] {
        verdicts[item] = try verdict(set, list[item])
      }
    }
    return verdicts
  }

  /// The items that stay, with their words as the edits say.
  func edited(_ edits: JSONValue, _ list: [pgk_listed_v1]) throws(CaseProblem) -> [pgk_listed_v1] {
    var kept: [pgk_listed_v1?] = list
    for edit in try edits.list("edit") {
      let item = try checkedItem(edit, list.count)
      if edit["delete"] != nil { kept[item] = nil }
      guard let set = edit["set"], var words = kept[item] else { continue }
      for (name, value) in set.members {
        let isName = value.kind == .string && value.unsigned == nil
        let number = isName ? try names.outcome(value.string).number : try value.number(name.string)
        try names.set(name.string, to: number, in: &words)
      }
      kept[item] = words
    }
    return kept.compactMap { $0 }
  }

  /// The item that an edit is about, which says one thing about it.
  private func checkedItem(_ edit: JSONValue, _ count: Int) throws(CaseProblem) -> Int {
    for (name, _) in try edit.object("edit") where !["item", "delete", "set"].contains(name.string) {
      throw VectorCaseDecoder.malformed("\"item\", \"delete\" or \"set\" at \"edit\"", name)
    }
    guard let item = edit["item"], (edit["delete"] == nil) != (edit["set"] == nil) else {
      throw VectorCaseDecoder.malformed("an edit with \"item\", and \"delete\" or \"set\"", edit)
    }
    if let delete = edit["delete"], delete.kind != .yes { throw VectorCaseDecoder.malformed("true at \"delete\"", delete) }
    _ = try edit["set"]?.object("set")
    return try item.index(of: "item", count: count)
  }

  /// Parts that the verdict would not heed are refused.
  private func allow(_ names: Set<String>, _ set: JSONValue) throws(CaseProblem) {
    for (name, _) in set.members where !names.contains(name.string) {
      _ = try self.names.field(name.string)
      throw VectorCaseDecoder.malformed("no part besides " + names.sorted().map { "\"\($0)\"" }.joined(separator: ", "), name)
    }
  }

  /// Data for a read is its result, for anything else what is done instead. Another code without data names the fault
  /// that the guest shall see.
  private func verdict(_ set: JSONValue, _ item: pgk_listed_v1) throws(CaseProblem) -> pgk_verdict_v1 {
    var verdict = pgk_verdict_v1()
    if let data = set["data"] {
      try allow(["data", "code"], set)
      if let code = set["code"] { _ = try names.outcome(code.name("code")) }
      let isRead = set["code"] != nil || UInt32(item.class_) == PGK_CLASS_REGISTER_READ
      verdict.kind = UInt8(isRead ? PGK_VERDICT_COMPLETE : PGK_VERDICT_REPLACE)
      verdict.value = isRead ? pgk_value_v1() : item.value
      verdict.value.low = try data.number("data")
    } else if let code = set["code"] {
      let outcome = try names.outcome(code.name("code"))
      verdict.kind = UInt8(PGK_VERDICT_REFLECT)
      verdict.outcome = UInt8(outcome.index)
      verdict.code = UInt32(truncatingIfNeeded: outcome.number)
      var words = item
      for (name, value) in set.members where name.string != "code" {
        try names.set(name.string, to: try value.number(name.string), in: &words)
      }
      verdict.words = words.words
    } else {
      try allow(["data", "code", "ignore_wr_rights"], set)
      let ignores = try set["ignore_wr_rights"]?.number("ignore_wr_rights") ?? 0
      guard ignores <= 1 else { throw .malformed(expected: "0 or 1 at \"ignore_wr_rights\"", found: hex(ignores)) }
      verdict.kind = UInt8(ignores == 1 ? PGK_VERDICT_REPLAY_IGNORING_WRITE_PROTECTION : PGK_VERDICT_REPLAY)
    }
    return verdict
  }

  /// Items that software declares decided without a change.
  func decided(_ items: JSONValue?, _ list: [pgk_listed_v1]) throws(CaseProblem) -> [Int: pgk_verdict_v1] {
    var verdicts: [Int: pgk_verdict_v1] = [:]
    guard let items = try items?.list("answered") else { return verdicts }
    for element in items {
      let item = try element.index(of: "item", count: list.count)
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
