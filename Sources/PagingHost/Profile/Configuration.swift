// Settings checked against one architecture: what a unit is opened with, and what a report says about it.
public import PagingKit

/// The options of one unit.
public struct Configuration: Sendable {
  /// What becomes of a setting that the architecture does not declare.
  public enum Undeclared: Sendable {
    case refused
    /// For one list of settings over several architectures.
    case skipped
  }

  public let declared: [DeclaredOption]
  /// What was said, in the declared order: the argument of `Unit.init`.
  public let options: [(name: String, value: String)]
  /// Settings that this architecture has nothing for.
  public let skipped: [Setting]

  /// Later settings override earlier ones, and all override the profile.
  public init(
    _ architecture: Architecture, profile: Profile? = nil, settings: [Setting] = [], undeclared: Undeclared = .refused
  ) throws(SettingError) {
    if let profile, let wanted = profile.architecture, wanted != architecture.name {
      throw SettingError(
        origin: profile.file, expected: "a profile for “\(architecture.name)”", found: "one for “\(wanted)”")
    }
    declared = DeclaredOption.all(of: architecture)
    var check = Check(declared: declared, owner: architecture.name)
    let isGeneral = profile?.architecture == nil
    try check.add(profile?.settings ?? [], isGeneral ? .skipped : .refused)
    try check.add(settings, undeclared)
    options = declared.compactMap { option in check.values[option.name].map { (option.name, $0) } }
    skipped = check.skipped
  }

  /// Every declared option with the value that holds.
  public var complete: [(name: String, value: String)] {
    let said = Dictionary(uniqueKeysWithValues: options.map { ($0.name, $0.value) })
    return declared.map { ($0.name, said[$0.name] ?? $0.preset) }
  }

  /// `complete` for a report: integers and truth values as such.
  public var json: JSON {
    let values = zip(declared, complete).map { option, pair -> (String, JSON) in
      switch option.values {
      case .boolean: (pair.name, .bool(pair.value == "true"))
      case .integer: (pair.name, Int64(pair.value).map { JSON($0) } ?? .text(pair.value))
      case .choice: (pair.name, .text(pair.value))
      }
    }
    return .object(JSONObject(values))
  }

  /// Throws for a name that none of the architectures declares, which is then misspelt.
  public static func requireKnown(_ settings: [Setting], by architectures: [Architecture]) throws(SettingError) {
    let names = Set(architectures.flatMap { DeclaredOption.all(of: $0).map(\.name) })
    for setting in settings where !names.contains(setting.name) {
      throw unknown(setting, valid: names.sorted(), owner: "any of \(architectures.map(\.name).joined(separator: ", "))")
    }
  }

  fileprivate static func unknown(_ setting: Setting, valid: [String], owner: String) -> SettingError {
    let near = nearestNames(to: setting.name, among: valid)
    let choice =
      near.isEmpty ? "one of \(valid.joined(separator: ", "))" : "an option of \(owner), perhaps \(near.joined(separator: " or "))"
    return SettingError(
      origin: setting.origin, expected: valid.isEmpty ? "no options: \(owner) has none" : choice,
      found: "“\(setting.name)”")
  }
}

/// Settings as they are checked one after the other.
private struct Check {
  let options: [String: DeclaredOption]
  let names: [String]
  let owner: String
  var values: [String: String] = [:]
  var skipped: [Setting] = []

  init(declared: [DeclaredOption], owner: String) {
    options = Dictionary(declared.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    names = declared.map(\.name)
    self.owner = owner
  }

  mutating func add(_ settings: [Setting], _ undeclared: Configuration.Undeclared) throws(SettingError) {
    for setting in settings {
      guard let option = options[setting.name] else {
        if undeclared == .refused { throw Configuration.unknown(setting, valid: names, owner: owner) }
        skipped.append(setting)
        continue
      }
      guard let value = option.accepted(setting.value) else {
        throw SettingError(
          origin: "\(setting.origin): \(setting.name)", expected: option.allowed, found: "“\(setting.value)”")
      }
      values[setting.name] = value
    }
  }
}
