// One value for one option, and who said it.

/// `name = value`, not yet checked against an architecture.
public struct Setting: Hashable, Sendable {
  public let name: String
  public let value: String
  /// A file or `--set`, for messages.
  public let origin: String

  public init(name: String, value: String, origin: String) {
    self.name = name
    self.value = value
    self.origin = origin
  }

  /// From the text of a `--set`: `tlb.l1.ways=12`.
  public init(assignment: String, origin: String = "--set") throws(SettingError) {
    guard let equals = assignment.firstIndex(of: "="), equals != assignment.startIndex else {
      throw SettingError(origin: origin, expected: "NAME=VALUE", found: "“\(assignment)”")
    }
    self.init(
      name: String(assignment[..<equals]), value: String(assignment[assignment.index(after: equals)...]), origin: origin)
  }
}

/// A profile or setting that cannot be used: where, what was expected, what was found.
public struct SettingError: Error, Hashable, Sendable, CustomStringConvertible {
  public let origin: String
  public let expected: String
  public let found: String

  public init(origin: String, expected: String, found: String) {
    self.origin = origin
    self.expected = expected
    self.found = found
  }

  public var description: String { "\(origin): expected \(expected), found \(found)" }
}
