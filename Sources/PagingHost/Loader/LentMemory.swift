// Reading tables that a stranger wrote: every pointer, count and string is checked before it is followed.
import CPagingKit

/// Collects what is wrong with lent tables while reading them.
struct LentMemory {
  /// More items than this in one list is taken for a lie.
  static let itemLimit = 4096
  static let textLimit = 4096

  private let space = AddressSpace.current()
  private(set) var findings: [Finding] = []

  mutating func report(
    _ item: String, expected: String, found: String, kind: PluginProblem.Kind = .badDescription
  ) {
    findings.append(Finding(kind: kind, item: item, expected: expected, found: found))
  }

  mutating func require(_ holds: Bool, _ item: String, expected: @autoclosure () -> String, found: @autoclosure () -> String) {
    if !holds { report(item, expected: expected(), found: found()) }
  }

  /// A structure that starts with its size and version; nil if it must not be read.
  mutating func descriptor<Record>(
    _ pointer: UnsafePointer<Record>?, _ item: String,
    size: KeyPath<Record, UInt32>, abi: KeyPath<Record, UInt32>
  ) -> Record? {
    guard let pointer, let prefix = list(
      UnsafeRawPointer(pointer).assumingMemoryBound(to: UInt32.self), count: 2, item).map(Array.init) else {
      if pointer == nil { report(item, expected: "a structure", found: "null") }
      return nil
    }
    let byteCount = UInt32(MemoryLayout<Record>.size)
    guard prefix[1] == PGK_ABI else {
      report(item, expected: "version \(versionText(PGK_ABI))", found: "version \(versionText(prefix[1]))", kind: .wrongVersion)
      return nil
    }
    guard prefix[0] == byteCount else {
      report(item, expected: "a size of \(byteCount) bytes", found: "\(prefix[0]) bytes", kind: .wrongSize)
      return nil
    }
    return list(pointer, count: 1, item)?.first
  }

  /// A list that may be read from end to end; nil, and a finding, if not.
  mutating func list<Element>(
    _ start: UnsafePointer<Element>?, count: Int, _ item: String, atLeast: Int = 0, atMost: Int = itemLimit
  ) -> UnsafeBufferPointer<Element>? {
    guard (atLeast...atMost).contains(count) else {
      report(item, expected: atLeast == 0 ? "at most \(atMost)" : "\(atLeast) to \(atMost)", found: countText(count))
      return nil
    }
    guard count > 0 else { return UnsafeBufferPointer(start: nil, count: 0) }
    guard let start else {
      report(item, expected: "\(count) of them", found: "null")
      return nil
    }
    guard UInt(bitPattern: start) % UInt(MemoryLayout<Element>.alignment) == 0 else {
      report(item, expected: "an aligned address", found: "\(start)")
      return nil
    }
    let byteCount = UInt(count * MemoryLayout<Element>.stride)
    guard space.readableBytes(from: start) >= byteCount else {
      report(item, expected: "\(count) readable elements", found: "\(start), which is not readable for \(byteCount) bytes")
      return nil
    }
    return UnsafeBufferPointer(start: start, count: count)
  }

  /// Zero-terminated UTF-8 of bounded length; nil, and a finding, if it is anything else.
  mutating func text(_ pointer: UnsafePointer<CChar>?, _ item: String, mayBeEmpty: Bool = false) -> String? {
    guard let pointer else {
      report(item, expected: "text", found: "null")
      return nil
    }
    let readable = Int(min(space.readableBytes(from: pointer), UInt(Self.textLimit)))
    guard readable > 0 else {
      report(item, expected: "text", found: "\(pointer), which is not readable")
      return nil
    }
    let bytes = UnsafeRawBufferPointer(start: pointer, count: readable).prefix { $0 != 0 }
    guard bytes.count < readable else {
      report(item, expected: "text of at most \(Self.textLimit - 1) bytes", found: "no end after \(bytes.count) bytes")
      return nil
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      report(item, expected: "UTF-8", found: "other bytes")
      return nil
    }
    require(mayBeEmpty || !text.isEmpty, item, expected: "a name", found: "empty text")
    // Printed as it is, so it must not steer a terminal.
    let isPrintable = text.unicodeScalars.allSatisfy { $0.value >= 32 && !(127..<160).contains($0.value) || $0 == "\n" }
    require(isPrintable, item, expected: "text without control characters", found: "one")
    return text
  }

  /// A word that can be typed on a command line.
  mutating func word(_ pointer: UnsafePointer<CChar>?, _ item: String) -> String? {
    guard let name = text(pointer, item) else { return nil }
    let isWord = name.unicodeScalars.allSatisfy { $0.value > 32 && $0.value != 127 && $0 != "=" && $0 != "," }
    require(isWord, "\(item) “\(name)”", expected: "no blanks, “=” or “,”", found: "“\(name)”")
    return name
  }

  mutating func unique(_ names: [String], _ item: String) {
    var seen: Set<String> = []
    for name in names where !seen.insert(name).inserted {
      report(item, expected: "every name once", found: "“\(name)” twice")
    }
  }

  /// Something of this process that can be called.
  mutating func function<Function>(_ function: Function?, _ item: String, mayBeNull: Bool = false) {
    guard let function else {
      if !mayBeNull { report(item, expected: "a function", found: "null") }
      return
    }
    // SAFETY: C function pointers have the size of a data pointer on every machine with dynamic libraries.
    let code = unsafeBitCast(function, to: UnsafeRawPointer.self)
    require(space.isExecutable(code), item, expected: "a function", found: "\(code), which is not code")
  }
}

/// `major.minor` of a border version.
func versionText(_ abi: UInt32) -> String { "\(abi >> 16).\(abi & 0xffff)" }

/// A count as its writer meant it: a huge size_t arrives as a negative number.
private func countText(_ count: Int) -> String { String(UInt(bitPattern: count)) }
