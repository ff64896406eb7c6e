import CPagingKit
import PagingKit

/// Lists and records, item by item and field by field.
extension ScenarioCheck {
  func checkList(
    _ expect: JSONValue, _ machine: ScenarioMachine, _ state: inout ScenarioState, _ findings: inout ScenarioFindings
  ) throws {
    let found = machine.list
    if let list = expect["list"] {
      try compare("item", Array(try list.list("list")), found, &findings)
    } else {
      unchanged("item", state.list, found, &findings)
    }
    state.list = found
  }

  func checkRecords(
    _ expect: JSONValue, _ machine: ScenarioMachine, _ state: inout ScenarioState, _ findings: inout ScenarioFindings
  ) throws {
    if let record = names.record {
      let place = try machine.unit.readRegister(record)
      if place != 0 { state.recordAreas.insert(place) }
    }
    let found = try machine.records()
    if let list = expect["cellar"] {
      try compare("record", Array(try list.list("cellar")), found, &findings)
    } else {
      unchanged("record", state.records, found, &findings)
    }
    state.records = found
  }

  private func unchanged(_ what: String, _ before: [pgk_listed_v1], _ found: [pgk_listed_v1], _ findings: inout ScenarioFindings) {
    findings.add("\(what)s", "\(before.count)", "\(found.count)")
    for (i, (old, new)) in zip(before, found).enumerated() {
      for word in names.architecture.words.indices {
        let part = WordPart(word: word)
        findings.add(
          "\(what) \(i), \(String(cString: names.architecture.words[word].name))", part.value(in: old).map(hex) ?? "none",
          part.value(in: new).map(hex) ?? "none")
      }
      if comparesAnswers { findings.add("\(what) \(i), answered", "\(isAnswered(old))", "\(isAnswered(new))") }
    }
  }

  private func isAnswered(_ item: pgk_listed_v1) -> Int { UInt32(item.flags) & PGK_LISTED_ANSWERED == 0 ? 0 : 1 }

  private func compare(
    _ what: String, _ expected: [JSONValue], _ found: [pgk_listed_v1], _ findings: inout ScenarioFindings
  ) throws(CaseProblem) {
    findings.add("\(what)s", "\(expected.count)", "\(found.count)")
    for (i, (object, item)) in zip(expected, found).enumerated() {
      try compare("\(what) \(i)", object, item, &findings)
    }
  }

  private func compare(
    _ what: String, _ object: JSONValue, _ item: pgk_listed_v1, _ findings: inout ScenarioFindings
  ) throws(CaseProblem) {
    let members = try object.object(what)
    let mask = try object["dmask"]?.number("dmask") ?? .max
    var answered: UInt64 = 0
    for (name, value) in members {
      let name = name.string
      switch name {
      case "dmask": break
      case "answered": answered = try value.number(name)
      default:
        let part = try names.field(name)
        let quantity = "\(what), \(name)"
        if value.kind == .null {
          findings.add(quantity, "none", names.isPresent(name, in: item) ? "one" : "none")
          continue
        }
        let bits = name == "data" ? mask : .max
        let expected = try number(value, name)
        let isThere = names.isPresent(name, in: item)
        findings.add(quantity, hex(expected & bits), isThere ? part.value(in: item).map { hex($0 & bits) } ?? "none" : "none")
      }
    }
    if comparesAnswers { findings.add("\(what), answered", "\(answered)", "\(isAnswered(item))") }
  }

  /// A number, or an outcome that stands for one.
  private func number(_ value: JSONValue, _ name: String) throws(CaseProblem) -> UInt64 {
    if value.kind == .string, value.unsigned == nil { return try names.outcome(value.string).number }
    return try value.number(name)
  }
}
