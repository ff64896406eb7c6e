// A processor's numbers in a file: TOML whose tables spell the option names.
import TOMLKit

/// Named settings with where they come from.
///
/// `title`, `architecture` and `source` are text at the top of the file; everything else is an option, its name the path
/// of its tables joined by dots. Without `architecture` the profile is for any, and options that one lacks are skipped.
public struct Profile: Hashable, Sendable {
  public let file: String
  public let title: String?
  public let architecture: String?
  /// Where the numbers come from.
  public let source: String?
  /// In the order of their names.
  public let settings: [Setting]

  private static let byteLimit: UInt64 = 1 << 20
  private static let depthLimit = 16

  /// Reads a file of at most 1 MiB.
  public init(file: String) throws(SettingError) {
    let text: String
    do throws(FileRefusal) {
      text = try PositionedFile.open(file).text(atMost: Self.byteLimit)
    } catch {
      throw SettingError(origin: file, expected: "a profile in TOML", found: error.reason)
    }
    try self.init(text: text, file: file)
  }

  /// `file` names the text in messages.
  public init(text: String, file: String) throws(SettingError) {
    let table = try Self.parse(text, file)
    var flat = Flattening(file: file)
    try flat.add(table, prefix: "", depth: Self.depthLimit)
    self.file = file
    title = flat.heads["title"]
    architecture = flat.heads["architecture"]
    source = flat.heads["source"]
    settings = flat.settings.sorted { $0.name < $1.name }
    for (setting, next) in zip(settings, settings.dropFirst()) where setting.name == next.name {
      throw SettingError(origin: file, expected: "“\(setting.name)” once", found: "it twice")
    }
  }

  private static func parse(_ text: String, _ file: String) throws(SettingError) -> TOMLTable {
    do {
      return try TOMLTable(string: text)
    } catch let error as TOMLParseError {
      throw SettingError(
        origin: "\(file), line \(error.source.begin.line), column \(error.source.begin.column)", expected: "TOML",
        found: error.description)
    } catch {
      throw SettingError(origin: file, expected: "TOML", found: "\(error)")
    }
  }
}

/// Nested tables on their way to dotted names.
private struct Flattening {
  static let headNames: Set = ["title", "architecture", "source"]

  let file: String
  var heads: [String: String] = [:]
  var settings: [Setting] = []

  mutating func add(_ table: TOMLTable, prefix: String, depth: Int) throws(SettingError) {
    guard depth > 0 else { throw SettingError(origin: file, expected: "fewer nested tables", found: "“\(prefix)…”") }
    for key in table.keys {
      guard let value = table[key] else { continue }
      if let inner = value.table {
        try add(inner, prefix: prefix + key + ".", depth: depth - 1)
      } else if prefix.isEmpty && Self.headNames.contains(key) {
        guard let text = value.string else {
          throw SettingError(origin: "\(file): \(key)", expected: "text", found: "\(value.type)")
        }
        heads[key] = text
      } else {
        settings.append(Setting(name: prefix + key, value: try text(of: value, prefix + key), origin: file))
      }
    }
  }

  private func text(of value: any TOMLValueConvertible, _ name: String) throws(SettingError) -> String {
    if let number = value.int { return "\(number)" }
    if let flag = value.bool { return "\(flag)" }
    if let text = value.string { return text }
    throw SettingError(origin: "\(file): \(name)", expected: "an integer, true, false or text", found: "\(value.type)")
  }
}
