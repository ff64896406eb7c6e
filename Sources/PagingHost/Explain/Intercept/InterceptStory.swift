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

  let names: ScenarioNames
  let memory = SparseMemory()
  private let parser = JSONLine()

  /// Runs a script from its first line to its last.
  public init(file: String, architecture find: (String) throws -> Architecture) throws {
    let script = try InterceptScript(file: file)
    let architecture = try find(script.architecture)
    self.file = file
    self.architecture = architecture.name
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
      case "mem": memory.store(try script.number(line, 1, "mem ADDRESS WORD") & ~7, try script.number(line, 2, "mem ADDRESS WORD"))
      case "dst":
        machine.set(Int(truncatingIfNeeded: try script.number(line, 1, "dst NUMBER VALUE") & 0xffff), WideValue(low: try script.number(line, 2, "dst NUMBER VALUE")))
      default: try map(line, script, &tables)
      }
    }
  }

  private func map(_ line: ScriptLine, _ script: InterceptScript, _ tables: inout ScriptTables) throws {
    let form = "page FORMAT ROOT INPUT OUTPUT [ro|absent]"
    let (root, input) = (try script.number(line, 2, form), try script.number(line, 3, form))
    let output = try script.number(line, 4, form)
    let rest = line.words.dropFirst(5)
    try located(script, line) {
      let words = try tables.words(
        format: line.words[1], root: root, input: input, output: output, isReadOnly: rest.contains("ro"),
        isAbsent: rest.contains("absent"), memory.load)
      for (address, word) in words { memory.store(address, word) }
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
