// Options of a unit: declared with range and preset, given as text, read by name.

/// Why a unit could not be opened.
public struct OpenError: Error, Equatable, Sendable {
  public let message: String
  public init(_ message: String) { self.message = message }
}

/// One declared option.
public struct Option: Sendable {
  public enum Kind: UInt32, Sendable { case model, feature, policy, geometry }
  public enum Values: Sendable, Equatable {
    case boolean(Bool)
    case integer(Int64, in: ClosedRange<Int64>)
    case choice(String, of: [String])
  }

  public let name: String
  public let kind: Kind
  public let values: Values
  public let help: String

  public init(_ name: String, _ kind: Kind, _ values: Values, _ help: String) {
    self.name = name
    self.kind = kind
    self.values = values
    self.help = help
  }

  /// The value when nothing is said, as text.
  public var preset: String {
    switch values {
    case .boolean(let value): value ? "true" : "false"
    case .integer(let value, _): String(value)
    case .choice(let value, _): value
    }
  }

  /// What may be given, in words.
  public var range: String {
    switch values {
    case .boolean: "true or false"
    case .integer(_, let range): "a number from \(range.lowerBound) to \(range.upperBound)"
    case .choice(_, let list): "one of " + list.joined(separator: ", ")
    }
  }

  func accepts(_ text: String) -> Bool {
    switch values {
    case .boolean: text == "true" || text == "false"
    case .integer(_, let range): parseInteger(text).map(range.contains) ?? false
    case .choice(_, let list): list.contains(text)
    }
  }

  /// Options of every unit: cache geometry and the forming of groups.
  public static var common: [Option] {
    CacheGeometry.presets.flatMap { preset in
      [
        Option(preset.name + ".sets", .geometry, .integer(Int64(preset.shape.sets), in: 1...CacheGeometry.maximumSets), "sets: " + preset.help),
        Option(preset.name + ".ways", .geometry, .integer(Int64(preset.shape.ways), in: 0...CacheGeometry.maximumWays), "ways: " + preset.help),
      ]
    } + [
      Option("tlb.replacement", .geometry, .choice("lru", of: CacheGeometry.replacementNames), "which entry of a full set makes room"),
      Option("tlb.seed", .geometry, .integer(1, in: 1...Int64(Int32.max)), "seed of random replacement"),
      Option("grouping", .policy, .choice("single", of: ["single", "marked"]), "a group is one access, or a run up to one marked as the end of its group"),
    ]
  }
}

/// Decimal or 0x hexadecimal, with a sign; nil if it is anything else.
public func parseInteger(_ text: String) -> Int64? {
  let isNegative = text.hasPrefix("-")
  let digits = isNegative ? text.dropFirst() : text[...]
  let isHexadecimal = digits.hasPrefix("0x") || digits.hasPrefix("0X")
  guard let magnitude = UInt64(isHexadecimal ? digits.dropFirst(2) : digits, radix: isHexadecimal ? 16 : 10), !digits.hasPrefix("+") else { return nil }
  return isNegative ? Int64(exactly: magnitude).map { -$0 } : Int64(exactly: magnitude)
}

/// The value of every declared option.
public struct OptionValues: Sendable {
  private var text: [String: String]

  /// Checks what is given against what is declared.
  public init(_ declared: [Option], given: [(name: String, value: String)]) throws(OpenError) {
    text = Dictionary(uniqueKeysWithValues: declared.map { ($0.name, $0.preset) })
    for (name, value) in given {
      guard let option = declared.first(where: { $0.name == name }) else {
        throw OpenError("unknown option '\(name)'; there are: " + declared.map(\.name).joined(separator: ", "))
      }
      guard option.accepts(value) else { throw OpenError("option '\(name)' is '\(value)', expected \(option.range)") }
      text[name] = value
    }
  }

  private func value(_ name: String) -> String {
    guard let value = text[name] else { preconditionFailure("option '\(name)' is not declared") }
    return value
  }

  public func integer(_ name: String) -> Int64 { parseInteger(value(name)) ?? 0 }
  public func boolean(_ name: String) -> Bool { value(name) == "true" }
  public func choice(_ name: String) -> String { value(name) }

  /// All values in one line, in the order of names: what saved bytes are checked against.
  public var fingerprint: String { text.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ";") }
}
