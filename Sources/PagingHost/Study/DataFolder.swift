// Where the traces and profiles lie that come with the program.
import Glibc

public enum DataFolder: String, Sendable {
  case workloads = "Workloads"
  case profiles = "Profiles"

  /// PAGINGKIT_DATA_PATH, `../share/pagingkit` from the program's folder, and the folders above it: a build lies in its
  /// package.
  private static var roots: [String] {
    var roots = getenv("PAGINGKIT_DATA_PATH").map { String(cString: $0).split(separator: ":").map(String.init) } ?? []
    guard let program = SearchPath.programFolder else { return roots }
    roots.append(program + "/../share/pagingkit")
    var parts = program.split(separator: "/").map(String.init)
    while !parts.isEmpty {
      roots.append("/" + parts.joined(separator: "/"))
      parts.removeLast()
    }
    return roots
  }

  /// Paths of its files with one of the endings, from the first place that has any, in the order of their names.
  public func files(_ endings: [String]) -> [String] {
    for root in Self.roots {
      let found = Self.list(root + "/" + rawValue, endings)
      if !found.isEmpty { return found }
    }
    return []
  }

  private static func list(_ folder: String, _ endings: [String]) -> [String] {
    guard let directory = opendir(folder) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if endings.contains(where: name.hasSuffix) { names.append(name) }
    }
    return names.sorted().map { "\(folder)/\($0)" }
  }

  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }
}

/// The last part of a path without any of the endings, which follow each other: `name.lackey.xz` is `name`.
func baseName(_ path: String, without endings: [String]) -> String {
  var name = path.split(separator: "/").last.map(String.init) ?? path
  while let ending = endings.first(where: { name.hasSuffix($0) && name.count > $0.count }) {
    name.removeLast(ending.count)
  }
  return name
}

extension Profile {
  /// A file, or the name of a profile that comes with the program.
  public static func named(_ name: String) throws -> Profile {
    if DataFolder.exists(name) || name.contains("/") { return try Profile(file: name) }
    let files = DataFolder.profiles.files([".toml"])
    if let file = files.first(where: { baseName($0, without: [".toml"]) == name }) { return try Profile(file: file) }
    throw UnknownName(what: "profile", name: name, valid: files.map { baseName($0, without: [".toml"]) })
  }
}
