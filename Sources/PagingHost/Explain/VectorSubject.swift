// One access of one golden vector: its registers and memory, as the file has them.
import CPagingKit
import PagingKit

/// `FILE:CASE`, or `FILE:CASE:ACCESS` with the access counted from 0.
public struct VectorPlace: Sendable, Equatable {
  public let file: String
  public let caseID: String
  public let access: Int

  public init?(_ text: String) {
    var parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard parts.count >= 2 else { return nil }
    var access = 0
    if parts.count >= 3, let number = Int(parts.last!) {
      guard number >= 0 else { return nil }
      access = number
      parts.removeLast()
    }
    guard let caseID = parts.popLast(), !caseID.isEmpty else { return nil }
    file = parts.joined(separator: ":")
    self.caseID = caseID
    self.access = access
  }
}

extension WalkSubject {
  /// The access of a case, with memory as the accesses before it leave it. Registers of the request stand over those of the
  /// case, and its settings over the options of the file.
  public init(
    _ place: VectorPlace, _ request: WalkRequest, architecture find: (String) throws -> Architecture
  ) throws {
    let blocks = LineBlocks(try ByteSource(path: place.file))
    let json = JSONLine()
    var reader: VectorPlaceReader?
    var line: UInt64 = 0
    while let block = try blocks.next(line: line + 1) {
      for text in block.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast() {
        line += 1
        // With its line feed, at which the parser stops.
        let text = UnsafeRawBufferPointer(rebasing: block[text.startIndex..<text.endIndex + 1])
        let located = VectorLine(place: place, number: line)
        guard let known = reader else {
          reader = try VectorPlaceReader(try located.parse(text, json), located, request, find)
          continue
        }
        guard text.count > 1, text.containsText(place.caseID) else { continue }
        if let subject = try known.subject(try located.parse(text, json), located) {
          self = subject
          try request.loadRegisters(of: unit)
          return
        }
      }
    }
    throw InputError(file: place.file, place: .file, expected: "a case with the id “\(place.caseID)”", found: "none in \(line) lines")
  }
}

/// A line of the file, for errors.
private struct VectorLine {
  let place: VectorPlace
  let number: UInt64

  func parse(_ text: UnsafeRawBufferPointer, _ json: JSONLine) throws(InputError) -> JSONValue {
    do { return try json.parse(text) } catch {
      throw problem(expected: "\(error.expected) at byte \(error.offset) of the line", found: "something else")
    }
  }

  func problem(expected: String, found: String) -> InputError {
    InputError(file: place.file, place: .line(number), expected: expected, found: found)
  }

  func located<Result>(_ body: () throws(CaseProblem) -> Result) throws(InputError) -> Result {
    do { return try body() } catch {
      switch error {
      case .malformed(let expected, let found): throw problem(expected: expected, found: found)
      case .unsupported(let reason): throw problem(expected: "what the back end declares", found: reason)
      }
    }
  }
}

private struct VectorPlaceReader {
  let memory: any VectorMemory
  let names: VectorNames
  let units: VectorUnits
  let kind: String

  init(
    _ root: JSONValue, _ line: VectorLine, _ request: WalkRequest, _ find: (String) throws -> Architecture
  ) throws {
    let header = try line.located { () throws(CaseProblem) in try VectorHeader(root) }
    let architecture = try find(header.architecture)
    let memory = try line.located { () throws(CaseProblem) in try makeMemory(header.memory) }
    self.memory = memory
    names = VectorNames(architecture)
    kind = header.kind
    let options = try Configuration(architecture, settings: request.settings).options
    units = VectorUnits(names, memory: memory, settings: options)
    units.read(header: root)
  }

  /// Nil if the line is another case.
  func subject(_ root: JSONValue, _ line: VectorLine) throws -> WalkSubject? {
    guard root.members.first(where: { $0.name.string == VectorKey.id.rawValue })?.value.string == line.place.caseID else { return nil }
    var decoder = VectorCaseDecoder(names: names, units: units, memory: memory, kind: kind)
    var vector = VectorCase()
    let unit = try line.located { () throws(CaseProblem) in try decoder.decode(root, into: &vector) }
    guard vector.accesses.indices.contains(line.place.access) else {
      throw line.problem(expected: "an access from 0 to \(vector.accesses.count - 1)", found: "\(line.place.access)")
    }
    for word in vector.memory { memory.store(word.address, word.value) }
    for access in vector.accesses[..<line.place.access] {
      for word in vector.memoryAfter[access.memoryAfter] { memory.store(word.address, word.value) }
    }
    let access = vector.accesses[line.place.access]
    try load(vector.registers + vector.qualifiers[access.qualifiers], unit)
    var asked = access.access
    asked.tag = 0
    let origin = "case \(line.place.caseID) of \(line.place.file), access \(line.place.access)"
    return WalkSubject(unit: unit, access: asked, origin: [origin])
  }

  private func load(_ registers: [pgk_register_value_v1], _ unit: Unit) throws {
    let outcome = try unit.writeRegisters(registers.map { (index: Int($0.index), value: $0.value) })
    guard outcome.outcome == UInt8(PGK_OUTCOME_FINISHED) else {
      throw WalkError.registerFault(unit.architecture.outcomeName(outcome.outcome))
    }
  }
}

extension UnsafeRawBufferPointer {
  /// Whether the bytes of a text occur.
  func containsText(_ text: String) -> Bool {
    let wanted = Array(text.utf8)
    guard let first = wanted.first, count >= wanted.count else { return wanted.isEmpty }
    return (0...count - wanted.count).contains { start in
      self[start] == first && self[start..<start + wanted.count].elementsEqual(wanted)
    }
  }
}
