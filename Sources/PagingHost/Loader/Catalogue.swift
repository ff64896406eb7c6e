// All back ends that were found, and why others were not taken.
import PagingKit
import Glibc

/// The architectures at hand, checked and ready to open units.
public struct Catalogue: Sendable {
  /// In the order they were found; names are unique.
  public private(set) var architectures: [LoadedArchitecture] = []
  public private(set) var problems: [PluginProblem] = []
  private var visited: Set<FileIdentity> = []

  public init() {}

  /// Loads `paths` (libraries, or folders of them) and then what the search path holds.
  ///
  /// A problem never hides the other back ends. Libraries stay loaded until the process ends.
  public static func load(paths: [String] = [], searchPath: SearchPath = .standard) -> Catalogue {
    var catalogue = Catalogue()
    for path in paths {
      if isFolder(path) {
        catalogue.add(.init(path, admits: .everyLibrary, isNamed: true), wasAskedFor: true)
      } else {
        catalogue.add(file: path, wasAskedFor: true)
      }
    }
    for folder in searchPath.folders {
      if folder.isNamed && isFile(folder.path) {
        catalogue.add(file: folder.path, wasAskedFor: false)
      } else {
        catalogue.add(folder, wasAskedFor: false)
      }
    }
    return catalogue
  }

  public var names: [String] { architectures.map(\.name) }

  public func architecture(named name: String) throws(UnknownName) -> LoadedArchitecture {
    guard let found = architectures.first(where: { $0.name == name }) else {
      throw UnknownName(
        what: "architecture", name: name, valid: names,
        hint: names.isEmpty ? "no back end was found: set PAGINGKIT_PLUGIN_PATH to a folder that has one" : nil)
    }
    return found
  }

  private mutating func add(_ folder: SearchPath.Folder, wasAskedFor: Bool) {
    switch folder.libraries() {
    case .success(let files):
      for file in files { add(file: file, wasAskedFor: wasAskedFor) }
    case .failure(let refusal) where folder.isNamed:
      problems.append(
        PluginProblem(
          file: folder.path, kind: .missing, expected: "a folder of back ends", found: refusal.reason,
          remedy: "correct the path", wasAskedFor: wasAskedFor))
    case .failure:
      break
    }
  }

  private mutating func add(file: String, wasAskedFor: Bool) {
    guard let identity = FileIdentity(file) else {
      problems.append(
        PluginProblem(
          file: file, kind: .missing, expected: "a library", found: String(cString: strerror(errno)),
          remedy: "correct the path", wasAskedFor: wasAskedFor))
      return
    }
    // The same file by two ways is no second back end.
    guard visited.insert(identity).inserted else { return }
    let loaded = PluginLoader.load(file: file)
    problems += loaded.problems.map { $0.askedFor(wasAskedFor) }
    for architecture in loaded.architectures { add(architecture, wasAskedFor: wasAskedFor) }
  }

  private mutating func add(_ loaded: LoadedArchitecture, wasAskedFor: Bool) {
    guard let first = architectures.first(where: { $0.name == loaded.name }) else {
      architectures.append(loaded)
      return
    }
    problems.append(
      PluginProblem(
        file: loaded.file, kind: .duplicate, expected: "an architecture of a new name",
        found: "“\(loaded.name)”, which \(first.file) has already", remedy: "remove one of the two; the first is used",
        wasAskedFor: wasAskedFor))
  }
}

/// A file, whatever path leads to it.
private struct FileIdentity: Hashable {
  let device: dev_t
  let number: ino_t

  init?(_ path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    device = status.st_dev
    number = status.st_ino
  }
}

private func mode(of path: String) -> mode_t {
  var status = stat()
  return stat(path, &status) == 0 ? status.st_mode & S_IFMT : 0
}

private func isFolder(_ path: String) -> Bool { mode(of: path) == S_IFDIR }
private func isFile(_ path: String) -> Bool { mode(of: path) == S_IFREG }
