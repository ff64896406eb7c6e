import CPagingKit
import PagingKit

/// Runs scenarios: what a guest, its handler and its hypervisor do to one unit, step by step.
///
/// Caches start cold and then live on. Every expectation is complete, and a case ends at its first step that differs.
struct ScenarioRun {
  static let kind = "scenario"
  /// A wide instruction, or what is in flight, is one group.
  static let options: [(name: String, value: String)] = [("grouping", "marked")]

  private let names: ScenarioNames
  private let memory: any VectorMemory
  private let file: String
  private let mostShown: Int
  private(set) var accesses: UInt64 = 0
  private(set) var differences: UInt64 = 0
  private(set) var shown: [VectorDifference] = []

  init(file: String, names: VectorNames, memory: any VectorMemory, mostShown: Int) {
    self.file = file
    self.names = ScenarioNames(names.architecture)
    self.memory = memory
    self.mostShown = mostShown
  }

  mutating func run(_ root: JSONValue, line: UInt64, _ decoder: inout VectorCaseDecoder) throws(CaseProblem) {
    guard root.kind == .object else { throw VectorCaseDecoder.malformed("an object, one case", root) }
    guard memory.contents != nil else { throw .unsupported("scenarios whose \"ram\" is not \"sparse\"") }
    let unit = try decoder.decodeOptions(root)
    var machine = ScenarioMachine(unit, names)
    var state = ScenarioState()
    defer {
      _ = memory.takeStrays(near: [])
      accesses += machine.accesses
    }
    let id = root["id"]?.string ?? ""
    try begin(root, decoder, &machine, &state)
    let check = ScenarioCheck(names: names, memory: memory, home: root["start"]?.string ?? "native")
    guard let steps = root["steps"], steps.kind == .array else { throw .malformed(expected: "a case with \"steps\"", found: "none") }
    for (index, step) in steps.elements.enumerated() {
      guard let action = step["do"], let expect = step["expect"] else { throw VectorCaseDecoder.malformed("a step with \"do\" and \"expect\"", step) }
      try perform(action, &machine, &state)
      let findings = try check.check(expect, machine, &state)
      guard findings.items.isEmpty else { return report(line, id, index, action, findings) }
    }
  }

  private mutating func report(_ line: UInt64, _ id: String, _ step: Int, _ action: JSONValue, _ findings: ScenarioFindings) {
    differences += 1
    guard shown.count < mostShown else { return }
    shown.append(
      VectorDifference(
        file: file, line: line, caseID: id, access: step, part: "step",
        accessText: action.members.map(\.name.string).joined(separator: ", "), items: findings.items))
  }

  // MARK: The beginning

  private func begin(
    _ root: JSONValue, _ decoder: VectorCaseDecoder, _ machine: inout ScenarioMachine, _ state: inout ScenarioState
  ) throws(CaseProblem) {
    var vector = VectorCase()
    if let words = root["mem"] { try decoder.decodeWords(words, &vector.memory) }
    if let registers = root["regs"] { try decoder.decodeRegisters(registers, prefix: nil, &vector) }
    for word in vector.memory {
      memory.store(word.address, word.value)
      state.memory[word.address] = word.value
    }
    for (name, value) in root["dst"]?.members.map({ ($0.name.string, $0.value) }) ?? [] {
      guard let number = Int(name) else { throw .malformed(expected: "a number of a register in \"dst\"", found: name) }
      machine.set(number, try WideValue(value))
    }
    state.destinations = machine.destinations
    do {
      try machine.unit.reset(PGK_RESET_CACHES | PGK_RESET_REGISTERS | PGK_RESET_PENDING | PGK_RESET_COUNTERS)
      let outcome = try machine.unit.writeRegisters(vector.registers.map { (index: Int($0.index), value: $0.value) })
      guard outcome.outcome == 0 else {
        throw CaseProblem.malformed(expected: "registers that can be loaded", found: names.architecture.outcomeName(outcome.outcome))
      }
      for index in names.controls { state.registers[index] = try machine.unit.readRegister(index) }
    } catch let problem as CaseProblem { throw problem } catch {
      throw .malformed(expected: "registers that can be loaded", found: "\(error)")
    }
  }

  // MARK: Steps

  private func perform(
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
      case "edit": machine.answer(try ScenarioEdit(names: names).verdicts(value, machine.list))
      case "glaunch": machine.resume(try ScenarioEdit(names: names).decided(value["answered"], machine.list))
      case "info_read": try machine.readList(Int(truncatingIfNeeded: min(try value.number("info_read"), 1 << 12)))
      case "info_write": try machine.writeList(value.elements.map { Int(truncatingIfNeeded: $0.unsigned ?? .max) })
      default: try perform(name.string, value, kind: action["kind"] ?? value["kind"], &machine)
      }
    }
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
