// What a step of a story changed, in words.
import CPagingKit
import PagingKit

extension InterceptStory {
  /// All that can be looked at.
  struct Snapshot {
    var destinations: [Int: WideValue]
    var memory: [UInt64: UInt64]
    var registers: [UInt64]
    var list: [pgk_listed_v1]
    var records: [pgk_listed_v1]
    var exceptions: [String]
    var isStopped: Bool
  }

  func snapshot(_ machine: ScenarioMachine) throws -> Snapshot {
    var registers: [UInt64] = []
    for index in names.controls { registers.append(try machine.unit.readRegister(index)) }
    return Snapshot(
      destinations: machine.destinations, memory: memory.contents ?? [:], registers: registers, list: machine.list,
      records: try machine.records(),
      exceptions: try names.exceptions.filter { try machine.unit.readRegister($0.index) != 0 }.map(\.name),
      isStopped: machine.isStopped)
  }

  func changes(from old: Snapshot, to new: Snapshot, _ machine: ScenarioMachine) throws -> [String] {
    var lines: [String] = []
    if let refusal = machine.refusal { lines.append("refused: \(refusal)") }
    if machine.hasResult, let value = machine.value { lines.append("gives \(hex(value))") }
    for exception in new.exceptions { lines.append("raised: \(exception), to \(home)") }
    lines += list(from: old, to: new)
    if new.records.map(words) != old.records.map(words) {
      lines += new.records.isEmpty ? ["the records have been taken"] : new.records.enumerated().map { "record \($0): \(text(of: $1))" }
    }
    for number in Set(new.destinations.keys).union(old.destinations.keys).sorted() where new.destinations[number] != old.destinations[number] {
      lines.append("destination \(number) = \(new.destinations[number]?.text ?? "0x0")")
    }
    let area = try names.record.map { try machine.unit.readRegister($0) }
    for address in Set(new.memory.keys).union(old.memory.keys).sorted() where new.memory[address] != old.memory[address] {
      if let area, area != 0, address &- area < ScenarioState.recordByteCount { continue }
      lines.append("memory \(hex(address)): \(hex(old.memory[address] ?? 0)) -> \(hex(new.memory[address] ?? 0))")
    }
    for (place, index) in names.controls.enumerated() where new.registers[place] != old.registers[place] {
      lines.append("\(String(cString: names.architecture.registers[index].name)) = \(hex(new.registers[place]))")
    }
    return lines.isEmpty ? ["nothing else has changed"] : lines
  }

  private func list(from old: Snapshot, to new: Snapshot) -> [String] {
    if !new.isStopped { return old.isStopped ? ["the list is finished, and the guest goes on"] : [] }
    if old.isStopped, old.list.map(words) == new.list.map(words), old.list.map(\.flags) == new.list.map(\.flags) { return [] }
    let head = new.list.isEmpty ? "the list is empty" : "the machine is stopped with a list of \(new.list.count)"
    return [head] + new.list.enumerated().map { "item \($0): \(text(of: $1))" }
  }

  private func words(_ item: pgk_listed_v1) -> [UInt64] {
    names.architecture.words.indices.map { WordPart(word: $0).value(in: item) ?? 0 }
  }

  /// The parts that say something, each once.
  private func text(of item: pgk_listed_v1) -> String {
    var seen: Set<[UInt8]> = []
    var parts: [String] = []
    for field in names.architecture.wordFields {
      let name = String(cString: field.name)
      let part = WordPart(word: Int(field.word), high: field.high, low: field.low)
      guard !name.hasSuffix("?"), seen.insert([field.word, field.high, field.low]).inserted, names.isPresent(name, in: item),
        let value = part.value(in: item)
      else { continue }
      if name == "code" {
        if UInt32(item.stage) != 0 || item.class_ != 1 || value != 0 { parts.append("code \(outcome(value))") }
      } else if value != 0 {
        parts.append("\(name) \(hex(value))")
      }
    }
    if UInt32(item.flags) & PGK_LISTED_ANSWERED != 0 { parts.append("answered") }
    return parts.joined(separator: ", ")
  }

  private func outcome(_ number: UInt64) -> String {
    let known = names.architecture.outcomes.first { $0.number >= 0 && UInt64($0.number) == number }
    return known.map { String(cString: $0.name) } ?? "\(number)"
  }
}

extension InterceptStory {
  public var text: String {
    chapters.enumerated().map { index, chapter in
      "\(index + 1). \(chapter.title)\n" + chapter.lines.map { "     \($0)\n" }.joined()
    }.joined(separator: "\n")
  }

  public var json: JSON {
    [
      "architecture": .text(architecture),
      "steps": .array(chapters.map { ["do": .text($0.title), "lines": .array($0.lines.map { .text($0) })] }),
    ]
  }
}
