// What is run: a recorded trace, or a synthetic program described in a word.

public struct Workload: Sendable, Equatable {
  enum Kind: Sendable, Equatable {
    /// A file, or "-".
    case trace(String)
    case generator(GeneratorText)
  }

  /// For tables.
  public let name: String
  /// As it was given, or the file that was found for it.
  public let text: String
  let kind: Kind

  static let traceEndings = [".xz", ".gz", ".zst", ".lackey", ".trace", ".txt"]
  private static let bundledEndings = [".lackey.xz", ".lackey.gz", ".lackey.zst", ".lackey"]

  /// `random:pages=1000`, "-" for standard input, a file, or the name of a trace that comes with the program.
  public init(_ text: String) throws {
    if let generator = try GeneratorText(text) {
      self.init(name: text, text: text, kind: .generator(generator))
    } else if text == "-" {
      self.init(name: "standard input", text: text, kind: .trace(text))
    } else if DataFolder.exists(text) {
      self.init(trace: text)
    } else {
      let bundled = Self.bundled
      guard let found = bundled.first(where: { $0.name == text }) else {
        throw InputError(
          file: text, place: .file, expected: "a trace file, \(GeneratorText.names.joined(separator: ": or ")):"
            + (bundled.isEmpty ? "" : ", or one of \(bundled.map(\.name).joined(separator: ", "))"), found: "no such file")
      }
      self = found
    }
  }

  private init(trace path: String) {
    self.init(name: baseName(path, without: Self.traceEndings), text: path, kind: .trace(path))
  }

  private init(name: String, text: String, kind: Kind) {
    self.name = name
    self.text = text
    self.kind = kind
  }

  /// Traces that come with the program, in the order of their names.
  public static var bundled: [Workload] { DataFolder.workloads.files(bundledEndings).map { Workload(trace: $0) } }

  /// What is run when nothing is named.
  public static func first() throws(UnknownName) -> [Workload] {
    guard let first = bundled.first else {
      throw UnknownName(
        what: "workload", name: "", valid: [],
        hint: "no bundled trace was found: name a workload, or set PAGINGKIT_DATA_PATH to a folder with Workloads in it")
    }
    return [first]
  }
}
