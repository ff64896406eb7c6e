import CPagingKit
import PagingKit

/// Where the value of an access goes.
struct ScenarioTarget {
  var destination: Int?
  /// 16 bytes that fill two neighbouring registers.
  var isPair = false
}

/// The accesses of a step, ready to run.
struct ScenarioBatch {
  var accesses: [pgk_access_v1] = []
  var values: [pgk_value_v1] = []
  var targets: [ScenarioTarget] = []

  mutating func append(_ access: pgk_access_v1, _ value: pgk_value_v1, _ target: ScenarioTarget) {
    accesses.append(access)
    accesses[accesses.count - 1].tag = UInt32(targets.count)
    values.append(value)
    targets.append(target)
  }

  /// All of it is one group.
  mutating func close() {
    if let last = accesses.indices.last { accesses[last].flags |= UInt8(PGK_END_OF_GROUP) }
  }
}

extension ScenarioNames {
  /// An operation as the file writes it: a load or store by the back end's encoders, or a fetch.
  func append(_ object: JSONValue, to batch: inout ScenarioBatch, unit: Unit) throws(CaseProblem) {
    guard object.kind == .object, let op = object["op"] else { throw VectorCaseDecoder.malformed("an operation with \"op\"", object) }
    switch op.string {
    case "r": try append("load", object, to: &batch, unit)
    case "w": try append("store", object, to: &batch, unit)
    case "x": batch.append(try fetch(object), pgk_value_v1(), ScenarioTarget())
    default: throw VectorCaseDecoder.malformed("\"r\", \"w\" or \"x\" at \"op\"", op)
    }
  }

  private func append(_ name: String, _ object: JSONValue, to batch: inout ScenarioBatch, _ unit: Unit) throws(CaseProblem) {
    let encoder = try encoder(name)
    // `wi` numbers the wide instructions: the order of the list is that of the program.
    let known = Set(encoder.arguments.map(\.name) + ["op", "wi"])
    for (name, _) in object.members where !known.contains(name.string) { throw .unsupported("operations with \"\(name.string)\"") }
    let encoded = try encode(encoder, object, unit)
    let size = try object["size"]?.number("size") ?? 0
    let isPacked = try object["packed"].map { value throws(CaseProblem) in try value.number("packed") != 0 } ?? false
    // The encoder has taken it, so a type of 32 bits holds it.
    let destination = try object["dst"]?.number("dst")
    batch.append(
      encoded.access, encoded.value,
      ScenarioTarget(destination: destination.map { Int(truncatingIfNeeded: $0) }, isPair: size == 16 && !isPacked))
  }

  /// Arguments by name. One that is not given is 0, or -1 where it has a sign.
  func encode(
    _ encoder: OperationEncoder, _ object: JSONValue, _ unit: Unit
  ) throws(CaseProblem) -> (access: pgk_access_v1, value: pgk_value_v1) {
    var patterns: [UInt64] = []
    for argument in encoder.arguments {
      guard let value = object[argument.name] else {
        patterns.append(argument.type == .i32 || argument.type == .i64 ? .max : 0)
        continue
      }
      if argument.name == "priv" {
        patterns.append(try privilege(value.name("priv")))
      } else if argument.name == "data", value.kind == .string, value.bytes.count > 18 {
        // 16 bytes: the upper ones have an argument of their own.
        patterns.append(try WideValue(value).low)
      } else {
        patterns.append(try pattern(of: value.number(argument.name), argument))
      }
    }
    if let data = object["data"], data.kind == .string, data.bytes.count > 18 {
      let high = try WideValue(data).high
      if let at = encoder.arguments.firstIndex(where: { $0.name == "data_hi" }) {
        patterns[at] = high
      } else if high != 0 {
        throw VectorCaseDecoder.malformed("a number of at most 8 bytes at \"data\"", data)
      }
    }
    do { return try encoder.encode(patterns: patterns, for: unit) } catch {
      throw .malformed(expected: "arguments that \"\(encoder.name)\" takes", found: "\(error)")
    }
  }

  /// A number as an argument's type holds it; one that does not fit is refused, not narrowed.
  func pattern(of number: UInt64, _ argument: OperationEncoder.Argument) throws(CaseProblem) -> UInt64 {
    guard let pattern = argument.type.pattern(of: String(number)) else {
      throw .malformed(expected: "\(argument.type.expectation) at \"\(argument.name)\"", found: hex(number))
    }
    return pattern
  }

  private func fetch(_ object: JSONValue) throws(CaseProblem) -> pgk_access_v1 {
    for (name, _) in object.members where !["op", "va", "priv", "size", "wi"].contains(name.string) {
      throw .unsupported("fetches with \"\(name.string)\"")
    }
    guard let level = object["priv"] else { throw VectorCaseDecoder.malformed("a fetch with \"priv\"", object) }
    let size = try object["size"]?.number("size") ?? 8
    guard size.nonzeroBitCount == 1, size <= 16 else { throw .malformed(expected: "1, 2, 4, 8 or 16 at \"size\"", found: hex(size)) }
    var access = pgk_access_v1()
    access.kind = UInt8(PGK_FETCH)
    access.flags = UInt8(PGK_TRANSLATE_ONLY)
    access.address = try object["va"]?.number("va") ?? 0
    access.privilege = UInt8(truncatingIfNeeded: try privilege(level.name("priv")))
    access.size_log2 = UInt8(size.trailingZeroBitCount)
    return access
  }
}

/// Up to 16 bytes, or a value that is marked as no value.
struct WideValue: Equatable {
  var low: UInt64 = 0
  var high: UInt64 = 0
  var isDiagnostic = false

  init(low: UInt64 = 0, high: UInt64 = 0, isDiagnostic: Bool = false) {
    self.low = low
    self.high = high
    self.isDiagnostic = isDiagnostic
  }

  /// `0x` and up to 32 digits, a number, or "diag".
  init(_ value: JSONValue) throws(CaseProblem) {
    if value.kind == .string, value.string == "diag" {
      isDiagnostic = true
      return
    }
    if let number = value.unsigned {
      low = number
      return
    }
    let text = value.string
    guard value.kind == .string, text.hasPrefix("0x"), text.utf8.count <= 34,
      text.utf8.dropFirst(2).allSatisfy({ $0.hexadecimalDigit != nil }),
      let high = UInt64(text.dropFirst(2).dropLast(16), radix: 16), let low = UInt64(text.suffix(16), radix: 16)
    else { throw VectorCaseDecoder.malformed("a number of at most 16 bytes", value) }
    (self.low, self.high) = (low, high)
  }

  var text: String {
    if isDiagnostic { return "diag" }
    guard high != 0 else { return hex(low) }
    let digits = String(low, radix: 16)
    return hex(high) + String(repeating: "0", count: 16 - digits.count) + digits
  }
}
