import CPagingKit
import PagingKit

/// Compares a machine with what a step expects of it.
struct ScenarioCheck {
  let names: ScenarioNames
  let memory: any VectorMemory
  /// Where the guest runs when nothing has stopped it: "native" or "guest".
  let home: String
  /// The mark of an answer is software's own: words alone do not show one that changes nothing.
  var comparesAnswers = true

  func check(_ expect: JSONValue, _ machine: ScenarioMachine, _ state: inout ScenarioState) throws(CaseProblem) -> ScenarioFindings {
    guard expect.kind == .object else { throw VectorCaseDecoder.malformed("an object at \"expect\"", expect) }
    var findings = ScenarioFindings()
    try take(expect, &state)
    findings.add("refused", try expect["refused"]?.name("refused") ?? "no", refusal(machine, expect["refused"]))
    do {
      try checkMode(expect, machine, &state, &findings)
      try checkList(expect, machine, &state, &findings)
      try checkRecords(expect, machine, &state, &findings)
      try checkRegisters(machine, state, &findings)
    } catch let problem as CaseProblem { throw problem } catch { findings.add("calls of the unit", "no refusal", "\(error)") }
    try checkValues(expect, machine, &findings)
    checkDestinations(machine, state, &findings)
    checkMemory(&state, &findings)
    try checkStores(expect, state, &findings)
    return findings
  }

  private func refusal(_ machine: ScenarioMachine, _ expected: JSONValue?) -> String {
    guard let found = machine.refusal else { return "no" }
    if let expected, found.hasPrefix(expected.string) { return expected.string }
    return found
  }

  // MARK: What the step names

  private static let known: Set<String> = [
    "mode", "list", "ptr", "exc", "to", "cellar", "dst", "mem", "regs", "stores", "value", "probe", "dtlb", "reads", "refused",
  ]

  private func take(_ expect: JSONValue, _ state: inout ScenarioState) throws(CaseProblem) {
    for (name, value) in expect.members {
      switch name.string {
      case "mem":
        for pair in try value.list("mem") {
          let (address, word) = try pair.pair("[address, word]", "mem")
          state.memory[address] = word
        }
      case "regs":
        for (register, value) in try value.object("regs") {
          state.registers[try names.register(register.string)] = try value.number(register.string)
        }
      case "dst":
        for (register, value) in try value.object("dst") { state.destinations[try register.destination()] = try WideValue(value) }
      case "ptr": state.pointer = try value.number("ptr")
      case let other where !Self.known.contains(other):
        state.registers[try names.register(other)] = try value.number(other)
      default: break
      }
    }
  }

  // MARK: Where it runs

  private func checkMode(
    _ expect: JSONValue, _ machine: ScenarioMachine, _ state: inout ScenarioState, _ findings: inout ScenarioFindings
  ) throws {
    let wasStopped = state.isStopped
    if let mode = expect["mode"] { state.isStopped = try mode.name("mode", of: [home, "hv"]) == "hv" }
    findings.add("mode", state.isStopped ? "hv" : home, machine.isStopped ? "hv" : home)
    var raised: [String] = []
    for exception in names.exceptions where try machine.unit.readRegister(exception.index) != 0 { raised.append(exception.name) }
    var target = raised.isEmpty ? "" : home
    // Who is stopped and goes on being so has been stopped anew only if it was let run.
    if machine.isStopped, !wasStopped || machine.hasResumed {
      raised.append("intercept")
      target = "hv"
    }
    var expected: [String] = []
    if let names = try expect["exc"]?.list("exc") { for name in names { expected.append(try name.name("exc")) } }
    findings.add("exc", expected.joined(separator: " "), raised.joined(separator: " "))
    findings.add("to", try expect["to"]?.name("to", of: [home, "hv"]) ?? "", target)
    if let pointer = state.pointer {
      findings.add("ptr", "\(pointer)", "\(try machine.unit.readRegister(try names.register("ptr")))")
    }
  }

  private func checkRegisters(_ machine: ScenarioMachine, _ state: ScenarioState, _ findings: inout ScenarioFindings) throws {
    for index in names.controls {
      let found = try machine.unit.readRegister(index)
      findings.add(String(cString: names.architecture.registers[index].name), hex(state.registers[index] ?? 0), hex(found))
    }
  }

  private func checkValues(_ expect: JSONValue, _ machine: ScenarioMachine, _ findings: inout ScenarioFindings) throws(CaseProblem) {
    if let value = try expect["value"]?.number("value") { findings.add("value", hex(value), machine.value.map(hex) ?? "none") }
    for key in ["probe", "dtlb"] {
      guard let pair = expect[key] else { continue }
      let (value, mask) = try pair.pair("[value, mask]", key)
      findings.add("\(key) in the bits \(hex(mask))", hex(value & mask), machine.value.map { hex($0 & mask) } ?? "none")
    }
    if let reads = try expect["reads"]?.number("reads") { findings.add("reads", "\(reads)", "\(machine.reads)") }
  }

  // MARK: Registers and memory of the guest

  private func checkDestinations(_ machine: ScenarioMachine, _ state: ScenarioState, _ findings: inout ScenarioFindings) {
    for number in Set(state.destinations.keys).union(machine.destinations.keys).sorted() {
      let (expected, found) = (state.destinations[number] ?? WideValue(), machine.destinations[number] ?? WideValue())
      // What a register holds besides the mark does not matter.
      if expected.isDiagnostic && found.isDiagnostic { continue }
      findings.add("dst \(number)", expected.text, found.text)
    }
  }

  private func checkMemory(_ state: inout ScenarioState, _ findings: inout ScenarioFindings) {
    let contents = memory.contents ?? [:]
    for (address, word) in contents where word != state.memory[address] ?? 0 && !state.isRecord(address) {
      findings.add("memory \(hex(address))", hex(state.memory[address] ?? 0), hex(word))
    }
    for (address, word) in state.memory where word != 0 && contents[address] == nil {
      findings.add("memory \(hex(address))", hex(word), "0x0")
    }
  }

  private func checkStores(_ expect: JSONValue, _ state: ScenarioState, _ findings: inout ScenarioFindings) throws(CaseProblem) {
    guard let list = expect["stores"] else { return }
    var expected: [UInt64: UInt64] = [:]
    for pair in try list.list("stores") {
      let (address, count) = try pair.pair("[word, count]", "stores")
      expected[address] = count
    }
    for address in Set(expected.keys).union(memory.stores.keys).sorted() where !state.isRecord(address) {
      findings.add("stores to \(hex(address))", "\(expected[address] ?? 0)", "\(memory.stores[address] ?? 0)")
    }
  }
}
