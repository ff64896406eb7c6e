import CPagingKit
import PagingKit

/// Runs scenarios: what a guest, its handler and its hypervisor do to one unit, step by step.
///
/// Caches start cold and then live on. Every expectation is complete, and a case ends at its first step that differs.
struct ScenarioRun {
  static let kind = "scenario"
  /// A wide instruction, or what is in flight, is one group. Nothing is forgotten for want of room: what a cache still holds
  /// is part of an expectation.
  static let options: [(name: String, value: String)] = [
    ("grouping", "marked"), ("tlb.l2.ways", "64"), ("pwc.level1.ways", "64"), ("pwc.level2.ways", "64"), ("pwc.level3.ways", "64"),
  ]

  private let names: ScenarioNames
  private let memory: any VectorMemory
  private let file: String
  private let mostShown: Int
  private(set) var accesses: UInt64 = 0
  private(set) var differences: UInt64 = 0
  private(set) var shown: [VectorDifference] = []

  private let editsByWords: Bool

  /// `editsByWords`: lists are edited as software of the architecture does, by reading and writing their words.
  init(file: String, names: VectorNames, memory: any VectorMemory, mostShown: Int, editsByWords: Bool = false) {
    self.editsByWords = editsByWords
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
    let home = try root["start"]?.name("start", of: ["native", "guest"]) ?? "native"
    try begin(root, decoder, &machine, &state)
    let check = ScenarioCheck(names: names, memory: memory, home: home, comparesAnswers: !editsByWords)
    let actor = ScenarioActor(names: names, memory: memory, editsByWords: editsByWords)
    guard let steps = root["steps"], steps.kind == .array else { throw .malformed(expected: "a case with a list \"steps\"", found: root["steps"]?.quotedText ?? "none") }
    for (index, step) in steps.elements.enumerated() {
      guard let action = step["do"], let expect = step["expect"] else { throw VectorCaseDecoder.malformed("a step with \"do\" and \"expect\"", step) }
      try actor.perform(action, &machine, &state)
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
    if let values = try root["dst"]?.object("dst") {
      for (name, value) in values { machine.set(try name.destination(), try WideValue(value)) }
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
}
