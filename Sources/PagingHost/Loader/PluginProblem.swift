// What can be wrong with a library, said so that a user can act on it.

/// Why a library, or one architecture of it, is not in the catalogue.
public struct PluginProblem: Error, Hashable, Sendable, CustomStringConvertible {
  public enum Kind: String, Sendable {
    case missing, notALibrary, anotherLibrary, refused, wrongVersion, wrongSize, badDescription, duplicate
  }

  public let file: String
  public let kind: Kind
  public let expected: String
  public let found: String
  public let remedy: String
  /// The user named this file, so the problem is an error; one merely found in a folder is a warning.
  public let wasAskedFor: Bool

  public init(
    file: String, kind: Kind, expected: String, found: String, remedy: String, wasAskedFor: Bool = false
  ) {
    self.file = file
    self.kind = kind
    self.expected = expected
    self.found = found
    self.remedy = remedy
    self.wasAskedFor = wasAskedFor
  }

  public var description: String { "\(file): expected \(expected), found \(found); \(remedy)" }

  func askedFor(_ wasAskedFor: Bool) -> PluginProblem {
    PluginProblem(
      file: file, kind: kind, expected: expected, found: found, remedy: remedy, wasAskedFor: wasAskedFor)
  }
}

/// One contradiction in a table: the item, what it should say, what it says.
struct Finding: Hashable, Sendable, CustomStringConvertible {
  let kind: PluginProblem.Kind
  let item: String
  let expected: String
  let found: String

  var description: String { "\(item): expected \(expected), found \(found)" }
}
