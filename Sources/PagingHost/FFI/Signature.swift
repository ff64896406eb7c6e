// The type of a C function, from a string such as `i32(ptr,u64,ptr,ptr)`, prepared for libffi.
import CLibFFI

/// The types that a signature can name. Raw values are the shim's codes.
public enum ForeignType: Int32, Sendable, CaseIterable {
  case void, u8, u16, u32, u64, i8, i16, i32, i64, f64, ptr

  public var name: String { "\(self)" }

  init?(_ name: Substring) {
    guard let type = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = type
  }

  /// A pattern as the type holds it: narrowed, then widened by its sign.
  func normalized(_ pattern: UInt64) -> UInt64 {
    switch self {
    case .void: 0
    case .u8: UInt64(UInt8(truncatingIfNeeded: pattern))
    case .u16: UInt64(UInt16(truncatingIfNeeded: pattern))
    case .u32: UInt64(UInt32(truncatingIfNeeded: pattern))
    case .i8: UInt64(bitPattern: Int64(Int8(truncatingIfNeeded: pattern)))
    case .i16: UInt64(bitPattern: Int64(Int16(truncatingIfNeeded: pattern)))
    case .i32: UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: pattern)))
    case .u64, .i64, .f64, .ptr: pattern
    }
  }
}

/// A signature that cannot be read or called.
public struct SignatureError: Error, Hashable, Sendable, CustomStringConvertible {
  public let expected: String
  public let found: String
  public var description: String { "signature: expected \(expected), found \(found)" }
}

/// A function type; immutable once prepared, so threads may share it.
///
/// Values travel as 64-bit patterns: integers and pointers as they are, `f64` as its bits. libffi takes the low bytes of
/// a pattern, which on a little-endian machine are at its address.
public final class Signature: @unchecked Sendable {
  // SAFETY: libffi only reads a prepared cif; the type list lives as long as the object.
  public static let argumentLimit = 16

  public let result: ForeignType
  public let arguments: [ForeignType]
  let interface: UnsafeMutablePointer<ffi_cif>
  private let types: UnsafeMutablePointer<UnsafeMutablePointer<ffi_type>?>

  public init(_ text: String) throws(SignatureError) {
    (result, arguments) = try Self.parse(text)
    types = .allocate(capacity: Self.argumentLimit)
    for (index, type) in arguments.enumerated() { (types + index).initialize(to: clibffi_type(type.rawValue)) }
    interface = .allocate(capacity: 1)
    interface.initialize(to: ffi_cif())
    let status = ffi_prep_cif(interface, FFI_DEFAULT_ABI, UInt32(arguments.count), clibffi_type(result.rawValue), types)
    guard status == FFI_OK else {
      throw SignatureError(expected: "a type that libffi can call", found: "“\(text)”, status \(status.rawValue)")
    }
  }

  deinit {
    interface.deallocate()
    types.deallocate()
  }

  private static func parse(_ text: String) throws(SignatureError) -> (ForeignType, [ForeignType]) {
    let plain = text.filter { $0 != " " }
    guard let open = plain.firstIndex(of: "("), plain.last == ")" else {
      throw SignatureError(expected: "result(arguments)", found: "“\(text)”")
    }
    let inner = plain[plain.index(after: open)...].dropLast()
    let result = try type(plain[..<open])
    guard !inner.isEmpty, inner != "void" else { return (result, []) }
    let names = inner.split(separator: ",", omittingEmptySubsequences: false)
    guard names.count <= argumentLimit else {
      throw SignatureError(expected: "at most \(argumentLimit) arguments", found: "\(names.count)")
    }
    var arguments: [ForeignType] = []
    for name in names {
      let type = try type(name)
      guard type != .void else { throw SignatureError(expected: "void as the result only", found: "“\(text)”") }
      arguments.append(type)
    }
    return (result, arguments)
  }

  private static func type(_ name: Substring) throws(SignatureError) -> ForeignType {
    guard let type = ForeignType(name) else {
      let names = ForeignType.allCases.map(\.name).joined(separator: " ")
      throw SignatureError(expected: "one of \(names)", found: "“\(name)”")
    }
    return type
  }
}

extension Signature {
  /// Calls a C function of this type and returns its result as a pattern.
  ///
  /// The function must really have this type: nothing can detect that it has another.
  public func call(_ function: @convention(c) () -> Void, _ arguments: [UInt64]) throws(SignatureError) -> UInt64 {
    guard arguments.count == self.arguments.count else {
      throw SignatureError(expected: "\(self.arguments.count) arguments", found: "\(arguments.count)")
    }
    return arguments.withUnsafeBufferPointer { call(function, unchecked: $0) }
  }

  private func call(_ function: @convention(c) () -> Void, unchecked arguments: UnsafeBufferPointer<UInt64>) -> UInt64 {
    // A register wide: libffi widens narrower results into it.
    var result: UInt64 = 0
    withUnsafeTemporaryAllocation(of: UnsafeMutableRawPointer?.self, capacity: Self.argumentLimit) { slots in
      for index in arguments.indices { slots[index] = UnsafeMutableRawPointer(mutating: arguments.baseAddress! + index) }
      clibffi_call(interface, function, &result, slots.baseAddress)
    }
    return self.result.normalized(result)
  }
}
