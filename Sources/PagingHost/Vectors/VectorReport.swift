/// One access, load of registers, or case's memory that did not come out as a vector file says.
public struct VectorDifference: Sendable, CustomStringConvertible {
  public typealias Item = (quantity: String, expected: String, found: String)

  public let file: String
  public let line: UInt64
  public let caseID: String
  /// Counts from 0; nil if the difference is in the load of registers or in the memory after the case.
  public let access: Int?
  /// What `access` counts: accesses, or the steps of a scenario.
  public let part: String
  public let accessText: String
  /// Every quantity that differs.
  public let items: [Item]

  init(
    file: String, line: UInt64, caseID: String, access: Int?, part: String = "access", accessText: String, items: [Item]
  ) {
    self.file = file
    self.line = line
    self.caseID = caseID
    self.access = access
    self.part = part
    self.accessText = accessText
    self.items = items
  }

  public var description: String {
    let place = access.map { "\(part) \($0) (\(accessText))" } ?? "the case as a whole"
    return items.reduce("\(file):\(line): \(caseID), \(place)") { text, item in
      text + "\n  \(item.quantity): expected \(item.expected), found \(item.found)"
    }
  }
}

/// What became of one vector file.
public struct VectorFileReport: Sendable {
  public enum Failure: Sendable, CustomStringConvertible {
    /// The file is wrong at a place; the cases before it count.
    case input(InputError)
    /// The back end or an option that was asked for is bad or missing.
    case missing(file: String, reason: String)

    public var description: String {
      switch self {
      case .input(let error): error.description
      case .missing(let file, let reason): "\(file): \(reason)"
      }
    }
  }

  public let file: String
  /// As the file names it; empty if that could not be read.
  public internal(set) var architecture = ""
  public internal(set) var cases: UInt64 = 0
  public internal(set) var accesses: UInt64 = 0
  public internal(set) var differences: UInt64 = 0
  /// The first differences in full.
  public internal(set) var shown: [VectorDifference] = []
  /// Cases that were not run, by what they need and the back end does not declare. They are in no other count.
  public internal(set) var unsupported: [String: UInt64] = [:]
  public internal(set) var failure: Failure?
  /// True if the run was stopped before the end of the file.
  public internal(set) var isPartial = false
}

/// What became of a list of vector files.
public struct VectorReport: Sendable {
  /// In the order in which they were given.
  public let files: [VectorFileReport]
  let mostShown: Int

  public var cases: UInt64 { files.reduce(0) { $0 + $1.cases } }
  public var accesses: UInt64 { files.reduce(0) { $0 + $1.accesses } }
  public var differences: UInt64 { files.reduce(0) { $0 + $1.differences } }
  public var shown: ArraySlice<VectorDifference> { files.flatMap(\.shown).prefix(mostShown) }
  public var failures: [VectorFileReport.Failure] { files.compactMap(\.failure) }
  public var isPartial: Bool { files.contains(where: \.isPartial) }

  public var unsupported: [String: UInt64] {
    files.reduce(into: [:]) { $0.merge($1.unsupported, uniquingKeysWith: +) }
  }

  /// The last line of a verification.
  public var totals: String { "\(cases) cases, \(accesses) accesses, \(differences) differences" }

  /// 1 if a difference was found, otherwise 3 if something asked for is bad or missing, otherwise 0.
  public var exitStatus: Int32 {
    if differences > 0 { return 1 }
    return failures.isEmpty && unsupported.isEmpty ? 0 : 3
  }
}
