// A small scenario as text: what a machine is at the beginning, and what guest, handler and hypervisor do, line by line.
import PagingKit

/// One line that says something.
struct ScriptLine {
  let number: UInt64
  let words: [String]
  var text: String { words.joined(separator: " ") }

  /// What follows the first word: words of the form NAME=VALUE, and the others in order.
  var named: [(name: String, value: String)] {
    words.dropFirst().compactMap { word in
      guard let equals = word.firstIndex(of: "=") else { return nil }
      return (String(word[..<equals]), String(word[word.index(after: equals)...]))
    }
  }
  var plain: [String] { words.dropFirst().filter { !$0.contains("=") } }
}

/// A script, read in full and sorted into beginning and steps.
struct InterceptScript {
  let file: String
  private(set) var architecture = ""
  private(set) var settings: [Setting] = []
  /// Who runs, and gets what is raised, while nothing is stopped.
  private(set) var home = "native"
  private(set) var registers: [ScriptLine] = []
  /// `mem`, `dst` and `page` before the first step.
  private(set) var beginning: [ScriptLine] = []
  private(set) var steps: [Step] = []

  /// One thing that is done; a group with its operations.
  struct Step {
    let line: ScriptLine
    var operations: [ScriptLine] = []
    var hardware: [ScriptLine] = []
  }

  init(file: String) throws(InputError) {
    self.file = file
    let blocks = LineBlocks(try ByteSource(path: file))
    var number: UInt64 = 0
    while let block = try blocks.next(line: number + 1) {
      for text in block.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast() {
        number += 1
        let words = String(decoding: text, as: UTF8.self).prefix { $0 != "#" }.split(whereSeparator: \.isWhitespace).map(String.init)
        if !words.isEmpty { try add(ScriptLine(number: number, words: words)) }
      }
    }
    guard !architecture.isEmpty else { throw problem(nil, expected: "a line “arch NAME”", found: "none") }
  }

  private mutating func add(_ line: ScriptLine) throws(InputError) {
    switch line.words[0] {
    case "arch":
      try checkCount(line, 2...2, "arch NAME")
      architecture = line.words[1]
    case "set":
      try checkCount(line, 3...3, "set OPTION VALUE")
      settings.append(Setting(name: try word(line, 1, "set OPTION VALUE"), value: try word(line, 2, "set OPTION VALUE"), origin: file))
    case "start":
      guard steps.isEmpty, line.words == ["start", "native"] || line.words == ["start", "guest"] else {
        throw problem(line, expected: "“start native” or “start guest” before the first step", found: "“\(line.text)”")
      }
      home = line.words[1]
    case "reg" where steps.isEmpty: registers.append(line)
    case "mem" where steps.isEmpty, "dst" where steps.isEmpty, "page" where steps.isEmpty: beginning.append(line)
    case "r", "w", "x":
      guard let last = steps.indices.last, ["group", "hw"].contains(steps[last].line.words[0]) else {
        throw problem(line, expected: "a line “group” before operations", found: line.words[0])
      }
      if isHardware { steps[last].hardware.append(line) } else { steps[last].operations.append(line) }
    case "hw":
      try checkCount(line, 1...1, "hw")
      guard steps.last?.line.words[0] == "group" else { throw problem(line, expected: "a group before “hw”", found: "none") }
      isHardware = true
    default:
      isHardware = false
      steps.append(Step(line: line))
    }
  }

  private var isHardware = false

  /// A line of a fixed form has no words but those of the form.
  func checkCount(_ line: ScriptLine, _ counts: ClosedRange<Int>, _ form: String) throws(InputError) {
    guard counts.contains(line.words.count) else { throw problem(line, expected: "“\(form)”", found: "“\(line.text)”") }
  }

  /// Arguments by name: each has one, and only one, value.
  func arguments(_ line: ScriptLine) throws(InputError) -> [(name: String, value: String)] {
    var seen: Set<String> = []
    for (name, value) in line.named {
      guard !name.isEmpty, !value.isEmpty else { throw problem(line, expected: "NAME=VALUE", found: "“\(name)=\(value)”") }
      guard seen.insert(name).inserted else { throw problem(line, expected: "“\(name)=” once", found: "“\(line.text)”") }
    }
    return line.named
  }

  func word(_ line: ScriptLine, _ index: Int, _ form: String) throws(InputError) -> String {
    guard index < line.words.count else { throw problem(line, expected: "“\(form)”", found: "“\(line.text)”") }
    return line.words[index]
  }

  func number(_ line: ScriptLine, _ index: Int, _ form: String) throws(InputError) -> UInt64 {
    let text = try word(line, index, form)
    guard let number = IntegerText(text)?.unsigned else { throw problem(line, expected: "a number in “\(form)”", found: "“\(text)”") }
    return number
  }

  func problem(_ line: ScriptLine?, expected: String, found: String) -> InputError {
    InputError(file: file, place: line.map { .line($0.number) } ?? .file, expected: expected, found: found)
  }
}
