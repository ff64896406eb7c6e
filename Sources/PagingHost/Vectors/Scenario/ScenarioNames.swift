import CPagingKit
import PagingKit

/// What a scenario calls by name: encoders, exceptions, parts of raw words.
final class ScenarioNames {
  let architecture: Architecture
  /// One-bit registers that say what was raised.
  let exceptions: [(name: String, index: Int)]
  /// Registers whose values software has put there, and which change by what is done to them alone.
  let controls: [Int]
  /// The register that says where the unit's own records are.
  let record: Int?
  private let fields: [String: WordPart]
  private var encoders: [String: OperationEncoder] = [:]
  /// What arguments are called, whatever operation has them.
  private(set) lazy var arguments: Set<String> = {
    var names: Set<String> = []
    for encoder in architecture.encoders {
      for name in UnsafeBufferPointer(start: encoder.argument_names, count: encoder.argument_count) {
        if let name { names.insert(String(cString: name)) }
      }
    }
    return names
  }()

  init(_ architecture: Architecture) {
    self.architecture = architecture
    let registers = Array(architecture.registers.enumerated())
    exceptions = registers.filter { $0.element.kind == PGK_REGISTER_STATUS && $0.element.width == 1 }
      .map { (String(cString: $0.element.name), $0.offset) }
    controls = registers.filter { $0.element.kind == PGK_REGISTER_CONTROL || $0.element.kind == PGK_REGISTER_RECORD }.map(\.offset)
    record = registers.first { $0.element.kind == PGK_REGISTER_RECORD }?.offset
    var fields: [String: WordPart] = [:]
    for field in architecture.wordFields {
      fields[String(cString: field.name)] = WordPart(word: Int(field.word), high: field.high, low: field.low)
    }
    for (index, word) in architecture.words.enumerated() {
      let name = String(cString: word.name)
      if fields[name] == nil { fields[name] = WordPart(word: index) }
    }
    self.fields = fields
  }

  func field(_ name: String) throws(CaseProblem) -> WordPart {
    guard let field = fields[name] else { throw .unsupported("a raw word \"\(name)\"") }
    return field
  }

  /// Sets a part of a raw word to a number that it can hold.
  func set(_ name: String, to number: UInt64, in listed: inout pgk_listed_v1) throws(CaseProblem) {
    let part = try field(name)
    let most = part.mask >> UInt64(part.low)
    guard number <= most else { throw .malformed(expected: "a number from 0 to \(hex(most)) at \"\(name)\"", found: hex(number)) }
    part.set(number, in: &listed)
  }

  /// Whether an operation has what a field is about.
  func isPresent(_ name: String, in listed: pgk_listed_v1) -> Bool {
    fields[name + "?"].map { $0.value(in: listed) != 0 } ?? true
  }

  func encoder(_ name: String) throws(CaseProblem) -> OperationEncoder {
    if let known = encoders[name] { return known }
    do {
      let encoder = try OperationEncoder(architecture, named: name)
      encoders[name] = encoder
      return encoder
    } catch { throw .unsupported("an operation \"\(name)\"") }
  }

  func register(_ name: String) throws(CaseProblem) -> Int {
    guard let index = architecture.registerIndex(named: name) else { throw .unsupported("a register \"\(name)\"") }
    return index
  }

  /// The number that an outcome stands for in raw words.
  func outcome(_ name: String) throws(CaseProblem) -> (index: Int, number: UInt64) {
    guard let index = architecture.outcomes.firstIndex(where: { String(cString: $0.name) == name }) else {
      throw .unsupported("an outcome \"\(name)\"")
    }
    return (index, UInt64(truncatingIfNeeded: Int64(architecture.outcomes[index].number)))
  }

  func privilege(_ name: String) throws(CaseProblem) -> UInt64 {
    guard let index = architecture.privilegeIndex(named: name) else { throw .unsupported("a privilege \"\(name)\"") }
    return UInt64(index)
  }
}
