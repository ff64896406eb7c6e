// A scenario told step by step: what was done, the list with its fields by name, the answers, and what changed.
import CPagingKit
public import PagingKit

/// What became of a script.
public struct InterceptStory {
  /// One step: what was done, and what came of it, line by line.
  public struct Chapter {
    public let title: String
    public let lines: [String]
  }

  public let file: String
  public let architecture: String
  public private(set) var chapters: [Chapter] = []

  /// Who gets what is raised.
  let home: String
  let names: ScenarioNames
  let memory = SparseMemory()
  private let parser = JSONLine()

  /// Runs a script from its first line to its last.
  public init(file: String, architecture find: (String) throws -> Architecture) throws {
    let script = try InterceptScript(file: file)
    let architecture = try find(script.architecture)
    self.file = file
    self.architecture = architecture.name
    home = script.home
    names = ScenarioNames(architecture)
    let declared = Set(architecture.options.map { String(cString: $0.name) })
    let preset = ScenarioRun.options.filter { declared.contains($0.name) }
    let settings = preset.map { Setting(name: $0.name, value: $0.value, origin: file) } + script.settings
    let unit = try Unit(architecture, map: memory.map, options: Configuration(architecture, settings: settings).options)
    var machine = ScenarioMachine(unit, names)
    var tables = ScriptTables(unit)
    try begin(script, &machine, &tables)
    for step in script.steps {
      let before = try snapshot(machine)
      try located(script, step.line) { try perform(step, script, &machine, &tables) }
      let said = step.operations + step.hardware
      let title = step.line.words.joined(separator: " ") + said.map { "\n    " + $0.words.joined(separator: " ") }.joined()
      chapters.append(Chapter(title: title, lines: try changes(from: before, to: snapshot(machine), machine)))
    }
  }

  /// Says where a problem is.
  private func located(_ script: InterceptScript, _ line: ScriptLine, _ body: () throws -> Void) throws {
    do { try body() } catch let problem as CaseProblem {
      switch problem {
      case .malformed(let expected, let found): throw script.problem(line, expected: expected, found: found)
      case .unsupported(let what): throw script.problem(line, expected: "what \(architecture) declares", found: what)
      }
    }
  }

  // MARK: Doing

  private func begin(_ script: InterceptScript, _ machine: inout ScenarioMachine, _ tables: inout ScriptTables) throws {
    var values: [(index: Int, value: UInt64)] = []
    for line in script.registers {
      try script.checkCount(line, 3...3, "reg NAME VALUE")
      let name = try script.word(line, 1, "reg NAME VALUE")
      guard let index = names.architecture.registerIndex(named: name) else {
        throw script.problem(line, expected: "a register of \(architecture)", found: "“\(name)”")
      }
      values.append((index, try script.number(line, 2, "reg NAME VALUE")))
    }
    let outcome = try machine.unit.writeRegisters(values)
    guard outcome.outcome == 0 else { throw script.problem(nil, expected: "registers that can be loaded", found: names.architecture.outcomeName(outcome.outcome)) }
    for line in script.beginning {
      switch line.words[0] {
      case "mem":
        let form = "mem ADDRESS WORD"
        try script.checkCount(line, 3...3, form)
        let address = try script.number(line, 1, form)
        guard address % 8 == 0, memory.holds(address) else {
          throw script.problem(line, expected: "the address of an 8-byte word in “\(form)”", found: "“\(line.words[1])”")
        }
        memory.store(address, try script.number(line, 2, form))
      case "dst":
        let form = "dst NUMBER VALUE"
        try script.checkCount(line, 3...3, form)
        guard let number = UInt16(exactly: try script.number(line, 1, form)) else {
          throw script.problem(line, expected: "a number from 0 to \(UInt16.max) in “\(form)”", found: "“\(line.words[1])”")
        }
        machine.set(Int(number), WideValue(low: try script.number(line, 2, form)))
      default: try map(line, script, &tables)
      }
    }
  }

  private func map(_ line: ScriptLine, _ script: InterceptScript, _ tables: inout ScriptTables) throws {
    let form = "page FORMAT ROOT INPUT OUTPUT [ro|absent]"
    let (root, input) = (try script.number(line, 2, form), try script.number(line, 3, form))
    let output = try script.number(line, 4, form)
    let rest = line.words.dropFirst(5)
    guard rest.count <= 1, rest.allSatisfy({ $0 == "ro" || $0 == "absent" }) else {
      throw script.problem(line, expected: "“\(form)”", found: "“\(line.text)”")
    }
    try located(script, line) {
      let words = try tables.words(
        format: line.words[1], root: root, input: input, output: output, isReadOnly: rest.contains("ro"),
        isAbsent: rest.contains("absent"), memory.load)
      for (address, word) in words {
        guard address % 8 == 0, memory.holds(address) else {
          throw CaseProblem.malformed(expected: "tables of 8-byte words", found: "an entry at \(hex(address))")
        }
        memory.store(address, word)
      }
    }
  }

  private func perform(
    _ step: InterceptScript.Step, _ script: InterceptScript, _ machine: inout ScenarioMachine, _ tables: inout ScriptTables
  ) throws {
    if step.line.words[0] == "page" { return try map(step.line, script, &tables) }
    var state = ScenarioState()
    let text = try script.action(step).compact + "\n"
    var bytes = Array(text.utf8)
    try bytes.withUnsafeMutableBytes { buffer in
      let action = try parser.parse(UnsafeRawBufferPointer(buffer))
      try ScenarioActor(names: names, memory: memory).perform(action, &machine, &state)
    }
  }
}
