// Where back ends are looked for.
import Glibc

/// Folders that may hold back ends, in order.
public struct SearchPath: Sendable, Equatable {
  /// Which files of a folder are taken for back ends.
  public enum Admission: Sendable {
    /// `libArch-*.so`: the folder holds other libraries as well.
    case backEndsByName
    /// `*.so`: the folder is for back ends.
    case everyLibrary
  }

  public struct Folder: Sendable, Equatable {
    public let path: String
    public let admits: Admission
    /// Named by the user, so its absence is worth a word.
    public let isNamed: Bool

    public init(_ path: String, admits: Admission, isNamed: Bool = false) {
      self.path = path
      self.admits = admits
      self.isNamed = isNamed
    }
  }

  public var folders: [Folder]

  public init(_ folders: [Folder]) { self.folders = folders }

  public static let none = SearchPath([])

  /// PAGINGKIT_PLUGIN_PATH (separated by colons), the program's folder, and `../lib/pagingkit` from there.
  public static var standard: SearchPath {
    var folders = folders(named: getenv("PAGINGKIT_PLUGIN_PATH").map { String(cString: $0) } ?? "")
    if let program = programFolder {
      folders.append(Folder(program, admits: .backEndsByName))
      folders.append(Folder(program + "/../lib/pagingkit", admits: .everyLibrary))
    }
    return SearchPath(folders)
  }

  static func folders(named list: String) -> [Folder] {
    list.split(separator: ":").map { Folder(String($0), admits: .everyLibrary, isNamed: true) }
  }

  /// The folder of the running program, links resolved.
  public static var programFolder: String? {
    guard let path = realpath("/proc/self/exe", nil) else { return nil }
    defer { free(path) }
    let text = String(cString: path)
    return text.lastIndex(of: "/").map { String(text[..<$0]) }
  }
}

extension SearchPath.Folder {
  /// The libraries of this folder in the order of their names, or the reason why it cannot be read.
  func libraries() -> Result<[String], FileRefusal> {
    guard let directory = opendir(path) else { return .failure(FileRefusal(String(cString: strerror(errno)))) }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if admits(name) { names.append(name) }
    }
    return .success(names.sorted().map { path.hasSuffix("/") ? path + $0 : "\(path)/\($0)" })
  }

  private func admits(_ name: String) -> Bool {
    guard name.hasSuffix(".so") else { return false }
    return admits == .everyLibrary || name.hasPrefix("libArch-")
  }
}
