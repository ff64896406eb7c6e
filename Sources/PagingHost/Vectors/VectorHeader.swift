/// The first line of a vector file.
struct VectorHeader {
  /// What physical memory the cases have.
  enum Memory {
    /// Bytes from the first address up to, not including, the second.
    case windows([Range<UInt64>])
    /// All of it; zero where no case says otherwise.
    case sparse
  }

  var architecture = ""
  /// What the cases are; "walk" unless said.
  var kind = "walk"
  var memory = Memory.sparse

  static let format = "paging-vectors/1"
  static let mostWindows = 64
  static let longestWindow: UInt64 = 1 << 46

  init(_ root: JSONValue) throws(CaseProblem) {
    let format = try Self.text(VectorKey.format, in: root)
    guard format == Self.format else {
      throw .malformed(expected: "format \"\(Self.format)\"", found: "\"\(format ?? "")\"")
    }
    guard let architecture = try Self.text(VectorKey.arch, in: root) else {
      throw .malformed(expected: "a header with \"arch\"", found: "none")
    }
    self.architecture = architecture
    kind = try Self.text(VectorKey.kind, in: root) ?? kind
    guard let ram = Self.member(VectorKey.ram, of: root) else {
      throw .malformed(expected: "a header with \"ram\"", found: "none")
    }
    memory = try Self.memory(ram)
  }

  private static func member(_ key: VectorKey, of root: JSONValue) -> JSONValue? {
    root.members.first { $0.name.string == key.rawValue }?.value
  }

  private static func text(_ key: VectorKey, in root: JSONValue) throws(CaseProblem) -> String? {
    guard let value = member(key, of: root) else { return nil }
    guard value.kind == .string else {
      throw .malformed(expected: "text at \"\(key.rawValue)\"", found: value.quotedText)
    }
    return value.string
  }

  private static func memory(_ ram: JSONValue) throws(CaseProblem) -> Memory {
    if ram.kind == .string, ram.string == "sparse" { return .sparse }
    var pairs: [(UInt64, UInt64)] = []
    for element in ram.elements {
      let pair = element.elements.map(\.unsigned)
      guard pair.count == 2, let first = pair[0], let second = pair[1], pairs.count < mostWindows else {
        throw .malformed(expected: "at most \(mostWindows) pairs of addresses in \"ram\"", found: element.quotedText)
      }
      pairs.append((first, second))
    }
    guard !pairs.isEmpty else {
      throw .malformed(expected: "\"sparse\" or a list of pairs at \"ram\"", found: ram.quotedText)
    }
    return .windows(try windows(pairs))
  }

  /// Sets write a window as [start, end) or as [base, length]. As long as every pair can be the first, all of them are.
  private static func windows(_ pairs: [(UInt64, UInt64)]) throws(CaseProblem) -> [Range<UInt64>] {
    let areEnds = pairs.allSatisfy { $0.0 < $0.1 }
    var result: [Range<UInt64>] = []
    for (base, second) in pairs.sorted(by: { $0.0 < $1.0 }) {
      let (end, overflow) = areEnds ? (second, false) : base.addingReportingOverflow(second)
      guard !overflow, base < end, base % 16 == 0, end % 16 == 0, end - base <= longestWindow,
        base >= result.last?.upperBound ?? 0
      else {
        throw .malformed(
          expected: "windows of \"ram\" that do not overlap, in multiples of 16 bytes, at most 2^46 bytes long",
          found: "\(hex(base)) and \(hex(second))")
      }
      result.append(base..<end)
    }
    return result
  }
}

/// Why a case cannot be run.
enum CaseProblem: Error {
  /// The file is wrong.
  case malformed(expected: String, found: String)
  /// The back end does not declare something that the case needs.
  case unsupported(String)
}

