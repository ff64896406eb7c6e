// Builds small back ends at test time, some of which lie.
import Foundation
import Glibc
import PagingKit
import Testing

@testable import PagingHost

/// A folder of libraries that lives until the tests end.
///
/// Nothing in it is removed earlier: the dynamic linker takes a new file with the number of a removed one for the old.
struct LibraryFolder {
  let path: String

  init() throws {
    path = try makeFolder(in: Self.root)
  }

  private static let root: String = {
    atexit { try? FileManager.default.removeItem(atPath: LibraryFolder.root) }
    let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    return (try? makeFolder(in: base)) ?? base
  }()

  func file(_ name: String) -> String { "\(path)/\(name)" }

  /// Builds the fixture with macros such as `PLUGIN_ABI=7`.
  func build(_ name: String = "libArch-fixture.so", _ macros: String..., options: [String] = []) throws -> String {
    let fixtures = packageFolder + "/Tests/Fixtures/BackEnd/back_end.c"
    return try compile(fixtures, to: name, macros.map { "-D\($0)" } + options)
  }

  /// Builds a library from C text.
  func build(_ name: String, source: String) throws -> String {
    let text = file(name + ".c")
    try source.write(toFile: text, atomically: false, encoding: .utf8)
    return try compile(text, to: name, [])
  }

  private func compile(_ source: String, to name: String, _ options: [String]) throws -> String {
    let output = file(name)
    let arguments = ["cc", "-std=c11", "-shared", "-fPIC", "-I", packageFolder + "/Sources/CPagingKit/include"]
    try run(arguments + options + [source, "-o", output])
    return output
  }

  func write(_ bytes: some Sequence<UInt8>, to name: String) throws -> String {
    let path = file(name)
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    return path
  }
}

let packageFolder = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")

struct ToolFailure: Error { let message: String }

private func makeFolder(in base: String) throws -> String {
  var template = Array("\(base)/pagingkit-tests-XXXXXX".utf8CString)
  guard mkdtemp(&template) != nil else { throw ToolFailure(message: String(cString: strerror(errno))) }
  return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

private func run(_ arguments: [String]) throws {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = arguments
  try process.run()
  process.waitUntilExit()
  guard process.terminationStatus == 0 else {
    throw ToolFailure(message: "\(arguments.joined(separator: " ")) ended with \(process.terminationStatus)")
  }
}

/// The catalogue of these files alone.
func catalogue(_ files: String...) -> Catalogue { Catalogue.load(paths: files, searchPath: .none) }

/// The fixture without a lie.
func honestFixture() throws -> Architecture {
  let loaded = catalogue(try LibraryFolder().build())
  return try loaded.architecture(named: "fixture").architecture
}
