// Operations that only one architecture has, called by name with arguments as text.
public import CPagingKit
public import PagingKit

/// An operation that was not encoded: the operation, the argument, what was expected and found.
public enum EncoderError: Error, Hashable, Sendable, CustomStringConvertible {
  case argumentCount(operation: String, expected: String, found: Int)
  case argument(operation: String, name: String, expected: String, found: String)
  case refused(operation: String, code: Int32, message: String)

  public var description: String {
    switch self {
    case .argumentCount(let operation, let expected, let found):
      "\(operation): expected \(expected), found \(found) arguments"
    case .argument(let operation, let name, let expected, let found):
      "\(operation), argument \(name): expected \(expected), found “\(found)”"
    case .refused(let operation, let code, let message):
      "\(operation): refused by the back end: \(message.isEmpty ? "code \(code)" : message)"
    }
  }
}

/// One exported operation of an architecture. It makes an access; only `run` performs it.
public struct OperationEncoder: Sendable {
  public struct Argument: Sendable, Hashable {
    public let name: String
    public let type: ForeignType
  }

  public let name: String
  public let help: String
  public let signature: Signature
  /// Those that a caller gives, between the unit and the access.
  public let arguments: [Argument]
  private let function: @convention(c) () -> Void

  /// `index` into the description's encoders, which the loader has checked.
  public init(_ architecture: Architecture, at index: Int) throws(SignatureError) {
    let encoder = architecture.encoders[index]
    name = String(cString: encoder.name)
    help = String(cString: encoder.help)
    signature = try Signature(String(cString: encoder.signature))
    guard let function = encoder.function, signature.isEncoder, signature.arguments.count == encoder.argument_count + 3 else {
      throw SignatureError(expected: "i32(ptr,...,ptr,ptr) and a name for each argument", found: "“\(String(cString: encoder.signature))”")
    }
    self.function = function
    let names = UnsafeBufferPointer(start: encoder.argument_names, count: encoder.argument_count)
    arguments = zip(names, signature.arguments.dropFirst()).map { name, type in
      Argument(name: name.map { String(cString: $0) } ?? "", type: type)
    }
  }

  public init(_ architecture: Architecture, named name: String) throws {
    guard let index = architecture.encoderIndex(named: name) else {
      throw UnknownName(what: "operation", name: name, valid: Self.names(of: architecture))
    }
    try self.init(architecture, at: index)
  }

  public static func names(of architecture: Architecture) -> [String] {
    architecture.encoders.map { String(cString: $0.name) }
  }

  public static func all(of architecture: Architecture) throws(SignatureError) -> [OperationEncoder] {
    var list: [OperationEncoder] = []
    for index in architecture.encoders.indices { list.append(try OperationEncoder(architecture, at: index)) }
    return list
  }

  /// How it is written: `name address:u64 identifier:u32`.
  public var usage: String { ([name] + arguments.map { "\($0.name):\($0.type.name)" }).joined(separator: " ") }

  /// Makes the access from arguments as text: decimal, 0x hexadecimal, or negative, within the type's range.
  public func encode(_ texts: [String], for unit: Unit) throws(EncoderError) -> (access: pgk_access_v1, value: pgk_value_v1) {
    guard texts.count == arguments.count else {
      throw .argumentCount(operation: name, expected: "“\(usage)”", found: texts.count)
    }
    var patterns: [UInt64] = []
    for (argument, text) in zip(arguments, texts) { patterns.append(try pattern(of: text, argument)) }
    return try encode(patterns: patterns, for: unit)
  }

  /// Makes the access from argument patterns, for callers that hold numbers.
  public func encode(patterns: [UInt64], for unit: Unit) throws(EncoderError) -> (access: pgk_access_v1, value: pgk_value_v1) {
    var access = pgk_access_v1()
    var value = pgk_value_v1()
    let code: UInt64
    do {
      code = try withUnsafeMutablePointer(to: &access) { access throws(SignatureError) in
        try withUnsafeMutablePointer(to: &value) { value throws(SignatureError) in
          let unitPattern = UInt64(UInt(bitPattern: unit.handle))
          let outputs = [UInt64(UInt(bitPattern: access)), UInt64(UInt(bitPattern: value))]
          return try signature.call(function, [unitPattern] + patterns + outputs)
        }
      }
    } catch {
      throw .argumentCount(operation: name, expected: "“\(usage)”", found: patterns.count)
    }
    let status = Int32(truncatingIfNeeded: code)
    guard status == PGK_OK else { throw .refused(operation: name, code: status, message: unit.lastMessage) }
    return (access, value)
  }

  private func pattern(of text: String, _ argument: Argument) throws(EncoderError) -> UInt64 {
    guard let pattern = argument.type.pattern(of: text) else {
      throw .argument(operation: name, name: argument.name, expected: argument.type.expectation, found: text)
    }
    return pattern
  }
}

extension Signature {
  /// The shape that every encoder has: a unit first, an access and its value last.
  var isEncoder: Bool {
    result == .i32 && arguments.count >= 3 && arguments[0] == .ptr && arguments.suffix(2).allSatisfy { $0 == .ptr }
  }
}

extension ForeignType {
  /// The pattern of a number in text, nil if it is none or does not fit.
  ///
  /// A pointer cannot be given as text: an address of this process means nothing to the user.
  func pattern(of text: String) -> UInt64? {
    if self == .f64 { return Double(text)?.bitPattern }
    guard let bounds, let number = IntegerText(text) else { return nil }
    if bounds.lower < 0 {
      guard let value = number.signed, value >= bounds.lower, value <= Int64(bounds.upper) else { return nil }
      return UInt64(bitPattern: value)
    }
    guard let value = number.unsigned, value <= bounds.upper else { return nil }
    return value
  }

  private var bounds: (lower: Int64, upper: UInt64)? {
    switch self {
    case .u8: (0, 0xff)
    case .u16: (0, 0xffff)
    case .u32: (0, 0xffff_ffff)
    case .u64: (0, .max)
    case .i8: (-0x80, 0x7f)
    case .i16: (-0x8000, 0x7fff)
    case .i32: (-0x8000_0000, 0x7fff_ffff)
    case .i64: (.min, UInt64(Int64.max))
    case .void, .f64, .ptr: nil
    }
  }

  var expectation: String {
    switch self {
    case .f64: return "a number (f64)"
    case .void, .ptr: return "nothing that text can give (\(name))"
    default: break
    }
    return bounds.map { "a number from \($0.lower) to \($0.upper) (\(name))" } ?? name
  }
}
