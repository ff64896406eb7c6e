// A name that nothing answers to, with the names that would have done.

/// An architecture, register, option or operation that does not exist.
public struct UnknownName: Error, Hashable, Sendable, CustomStringConvertible {
  public let what: String
  public let name: String
  public let valid: [String]
  public let hint: String?

  public init(what: String, name: String, valid: [String], hint: String? = nil) {
    self.what = what
    self.name = name
    self.valid = valid
    self.hint = hint
  }

  public var description: String {
    if let hint { return "unknown \(what) “\(name)”: \(hint)" }
    return "unknown \(what) “\(name)”: expected \(choice)"
  }

  /// Long lists are cut to what was probably meant.
  private var choice: String {
    if valid.count <= 16 { return "one of \(valid.joined(separator: ", "))" }
    let near = nearestNames(to: name, among: valid)
    if near.isEmpty { return "one of \(valid.prefix(16).joined(separator: ", ")) and \(valid.count - 16) more" }
    return "one of \(valid.count), perhaps \(near.joined(separator: ", "))"
  }
}

/// The names closest to a misspelt one, best first; none if nothing is close.
public func nearestNames(to name: String, among valid: [String], limit: Int = 4) -> [String] {
  let reach = max(2, name.count / 3)
  let ranked = valid.map { candidate in
    (candidate, candidate.contains(name) && !name.isEmpty ? 1 : editDistance(name, candidate))
  }
  return ranked.filter { $0.1 <= reach }.sorted { ($0.1, $0.0) < ($1.1, $1.0) }.prefix(limit).map(\.0)
}

/// Insertions, deletions and substitutions between two words.
private func editDistance(_ left: String, _ right: String) -> Int {
  // A name is short; a long text is a mistake of another kind.
  let left = Array(left.utf8.prefix(64)), right = Array(right.utf8.prefix(64))
  var previous = Array(0...right.count)
  for (row, byte) in left.enumerated() {
    var current = [row + 1]
    for (column, other) in right.enumerated() {
      current.append(min(previous[column] + (byte == other ? 0 : 1), previous[column + 1] + 1, current[column] + 1))
    }
    previous = current
  }
  return previous[right.count]
}
