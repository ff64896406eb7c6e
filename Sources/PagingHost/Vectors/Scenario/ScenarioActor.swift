import CPagingKit
import PagingKit

/// Does what a step says.
struct ScenarioActor {
  let names: ScenarioNames
  let memory: any VectorMemory
  /// An edit reads the words of the list, changes them, and writes back what stays; otherwise it gives answers.
  var editsByWords = false

  func perform(
    _ action: JSONValue, _ machine: inout ScenarioMachine, _ state: inout ScenarioState
  ) throws(CaseProblem) {
    do { try machine.beginStep() } catch { throw .malformed(expected: "exceptions that can be cleared", found: error.message) }
    memory.forgetStores()
    for (name, value) in action.members {
      switch name.string {
      case "group": try runGroup(action, &machine)
      case "hw" where action["group"] != nil, "count", "kind": break
      case "write": try write(value, &state)
      case "reg": try load(value, &machine, &state)
      case "reexec": try machine.reexecute(Int(truncatingIfNeeded: try value.number("reexec")))
      case "edit" where editsByWords: try edit(value, &machine)
      case "edit": machine.answer(try ScenarioEdit(names: names).verdicts(value, machine.list))
      case "glaunch": machine.resume(try ScenarioEdit(names: names).decided(value["answered"], machine.list))
      case "info_read": try machine.readList(Int(truncatingIfNeeded: min(try value.number("info_read"), 1 << 12)))
      case "info_write": try machine.writeList(value.elements.map { Int(truncatingIfNeeded: $0.unsigned ?? .max) })
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

  private func runGroup(_ action: JSONValue, _ machine: inout ScenarioMachine) throws(CaseProblem) {
    var batch = ScenarioBatch()
    for key in ["group", "hw"] {
      for operation in action[key]?.elements.map(\.self) ?? [] { try names.append(operation, to: &batch, unit: machine.unit) }
    }
    batch.close()
    machine.run(batch)
  }

  /// What software stores goes past the unit.
  private func write(_ list: JSONValue, _ state: inout ScenarioState) throws(CaseProblem) {
    for pair in list.elements {
      let numbers = pair.elements.map(\.unsigned)
      guard numbers.count == 2, let address = numbers[0], let word = numbers[1], address % 8 == 0, memory.holds(address) else {
        throw VectorCaseDecoder.malformed("[address, word]", pair)
      }
      memory.store(address, word)
      state.memory[address] = word
    }
  }

  private func load(_ pair: JSONValue, _ machine: inout ScenarioMachine, _ state: inout ScenarioState) throws(CaseProblem) {
    let parts = Array(pair.elements)
    guard parts.count == 2 else { throw VectorCaseDecoder.malformed("[register, value]", pair) }
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
    let operation = kind.map { "\(name)_\($0.string)" } ?? name
    switch value.kind {
    case .object: try machine.perform(operation, value)
    case .yes: try machine.perform(operation)
    default: try machine.perform(operation, argument: try value.number(name))
    }
  }
}
