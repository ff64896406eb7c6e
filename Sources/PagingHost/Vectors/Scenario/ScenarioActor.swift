import CPagingKit
import PagingKit

/// Does what a step says.
struct ScenarioActor {
  let names: ScenarioNames
  let memory: any VectorMemory
  /// An edit reads the words of the list, changes them, and writes back what stays; otherwise it gives answers.
  var editsByWords = false

  /// More than any list has.
  private static let mostWords: UInt64 = 1 << 12

  func perform(
    _ action: JSONValue, _ machine: inout ScenarioMachine, _ state: inout ScenarioState
  ) throws(CaseProblem) {
    do { try machine.beginStep() } catch { throw .malformed(expected: "exceptions that can be cleared", found: error.message) }
    memory.forgetStores()
    guard try action.object("do").contains(where: { $0.name.string != "count" && $0.name.string != "kind" }) else {
      throw VectorCaseDecoder.malformed("what is done at \"do\"", action)
    }
    for (name, value) in action.members {
      switch name.string {
      case "group": try runGroup(action, &machine)
      case "hw" where action["group"] != nil, "count", "kind": break
      case "write": try write(value, &state)
      case "reg": try load(value, &machine, &state)
      case "reexec": try machine.reexecute(try value.index(of: "record", count: machine.taken.count))
      case "edit" where editsByWords: try edit(value, &machine)
      case "edit": machine.answer(try ScenarioEdit(names: names).verdicts(value, machine.list))
      case "glaunch": try finish(value, &machine)
      case "info_read":
        guard let count = value.unsigned, count <= Self.mostWords else {
          throw VectorCaseDecoder.malformed("a number of words from 0 to \(Self.mostWords) at \"info_read\"", value)
        }
        try machine.readList(Int(count))
      case "info_write": try writeBack(value, &machine)
      default: try perform(name.string, value, kind: action["kind"] ?? value["kind"], &machine)
      }
    }
  }

  private func edit(_ edits: JSONValue, _ machine: inout ScenarioMachine) throws(CaseProblem) {
    let list = machine.list
    let changed = try ScenarioEdit(names: names).edited(edits, list)
    // What is not there cannot be written.
    if changed.isEmpty { return machine.answer(try ScenarioEdit(names: names).verdicts(edits, list)) }
    try machine.perform("ptr_read")
    try machine.readList(list.count * names.architecture.words.count)
    try machine.perform("ptr_read")
    try machine.write(changed)
  }

  private func finish(_ value: JSONValue, _ machine: inout ScenarioMachine) throws(CaseProblem) {
    guard value.kind != .yes else { return machine.resume([:]) }
    // `stores` is a remark: how many were in the list.
    for (name, _) in try value.object("glaunch") where name.string != "answered" && name.string != "stores" {
      throw VectorCaseDecoder.malformed("\"answered\" at \"glaunch\"", name)
    }
    machine.resume(try ScenarioEdit(names: names).decided(value["answered"], machine.list))
  }

  private func writeBack(_ list: JSONValue, _ machine: inout ScenarioMachine) throws(CaseProblem) {
    var items: [Int] = []
    for item in try list.list("info_write") { items.append(try item.index(of: "item", count: machine.readItemCount)) }
    try machine.writeList(items)
  }

  private func runGroup(_ action: JSONValue, _ machine: inout ScenarioMachine) throws(CaseProblem) {
    var batch = ScenarioBatch()
    for key in ["group", "hw"] {
      guard let operations = try action[key]?.list(key) else { continue }
      for operation in operations { try names.append(operation, to: &batch, unit: machine.unit) }
    }
    batch.close()
    machine.run(batch)
  }

  /// What software stores goes past the unit.
  private func write(_ list: JSONValue, _ state: inout ScenarioState) throws(CaseProblem) {
    for pair in try list.list("write") {
      let (address, word) = try pair.pair("[address, word]", "write")
      guard address % 8 == 0, memory.holds(address) else {
        throw VectorCaseDecoder.malformed("the address of an 8-byte word at \"write\"", pair)
      }
      memory.store(address, word)
      state.memory[address] = word
    }
  }

  private func load(_ pair: JSONValue, _ machine: inout ScenarioMachine, _ state: inout ScenarioState) throws(CaseProblem) {
    let parts = Array(pair.elements)
    guard parts.count == 2, parts[0].kind == .string else { throw VectorCaseDecoder.malformed("[register, value] at \"reg\"", pair) }
    let index = try names.register(parts[0].string)
    let value = try parts[1].number(parts[0].string)
    do { _ = try machine.unit.writeRegisters([(index, value)]) } catch {
      throw .malformed(expected: "a value that \"\(parts[0].string)\" takes", found: error.message)
    }
    state.registers[index] = value
  }

  /// Any operation of the architecture by name: KEY with an argument, or KEY_KIND.
  private func perform(
    _ name: String, _ value: JSONValue, kind: JSONValue?, _ machine: inout ScenarioMachine
  ) throws(CaseProblem) {
    let operation = try kind.map { kind throws(CaseProblem) in "\(name)_\(try kind.name("kind"))" } ?? name
    switch value.kind {
    case .object: try machine.perform(operation, value)
    case .yes: try machine.perform(operation)
    default: try machine.perform(operation, argument: try value.number(name))
    }
  }
}
