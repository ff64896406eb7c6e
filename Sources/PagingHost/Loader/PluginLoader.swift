// From a file to checked tables. The only place that opens dynamic libraries.
public import PagingKit
import CPagingKit
import Glibc

/// One architecture of a loaded library.
public struct LoadedArchitecture: Sendable {
  public let architecture: Architecture
  /// The library it came from.
  public let file: String
  public let vendor: String
  public let licence: String

  public var name: String { architecture.name }
}

enum PluginLoader {
  static let entrySymbol = "pgk_plugin_entry"
  private static let rebuild = "build the library for this machine, or remove it"

  /// Loads a library and checks everything it describes; nothing of an architecture with a finding is kept.
  static func load(file: String) -> (architectures: [LoadedArchitecture], problems: [PluginProblem]) {
    do {
      try checkFile(file)
      let entry = try open(file)
      return try architectures(of: entry(PGK_ABI), file)
    } catch {
      return ([], [error])
    }
  }

  private static func checkFile(_ file: String) throws(PluginProblem) {
    let elf: ElfFile
    do {
      elf = try ElfFile(path: file)
    } catch {
      throw PluginProblem(
        file: file, kind: .notALibrary, expected: "a dynamic library", found: error.reason, remedy: rebuild)
    }
    guard elf.exports(entrySymbol) else { throw anotherLibrary(file) }
  }

  private static func anotherLibrary(_ file: String) -> PluginProblem {
    PluginProblem(
      file: file, kind: .anotherLibrary, expected: "the exported symbol \(entrySymbol)", found: "a library without it",
      remedy: "name a back end, or export the symbol if this is one")
  }

  /// RTLD_LOCAL: two back ends may define the same C names. RTLD_NODELETE: the Swift runtime keeps pointers into an image.
  private static func open(_ file: String) throws(PluginProblem) -> @convention(c) (UInt32) -> UnsafePointer<pgk_plugin_v1>? {
    // A path without a slash would be looked for elsewhere.
    let path = file.contains("/") ? file : "./" + file
    guard let library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) else {
      throw PluginProblem(
        file: file, kind: .notALibrary, expected: "a library that can be loaded",
        found: dlerror().map { String(cString: $0) } ?? "a failure without a reason",
        remedy: "install what it depends on, or rebuild it")
    }
    guard let symbol = dlsym(library, entrySymbol) else { throw anotherLibrary(file) }
    // SAFETY: the name belongs to paging_plugin.h, which gives it this type.
    return unsafeBitCast(symbol, to: (@convention(c) (UInt32) -> UnsafePointer<pgk_plugin_v1>?).self)
  }

  private static func architectures(
    of plugin: UnsafePointer<pgk_plugin_v1>?, _ file: String
  ) throws(PluginProblem) -> ([LoadedArchitecture], [PluginProblem]) {
    guard let plugin else {
      throw PluginProblem(
        file: file, kind: .refused, expected: "a back end for version \(versionText(PGK_ABI))",
        found: "null from \(entrySymbol): it does not serve this version",
        remedy: "rebuild it against this paging_plugin.h")
    }
    var memory = LentMemory()
    let prefix = memory.descriptor(plugin, "pgk_plugin_v1", size: \.size, abi: \.abi)
    guard let prefix else { return ([], problems(memory.findings, file)) }
    let vendor = memory.text(prefix.vendor, "vendor") ?? ""
    let licence = memory.text(prefix.licence, "licence") ?? ""
    let tables = memory.list(prefix.archs, count: prefix.arch_count, "archs", atLeast: 1, atMost: 256)
    guard memory.findings.isEmpty, let tables else { return ([], problems(memory.findings, file)) }

    var loaded: [LoadedArchitecture] = []
    var found: [PluginProblem] = []
    for table in tables {
      let findings = DescriptionCheck.findings(of: table)
      found += problems(findings, file)
      if findings.isEmpty, let table {
        loaded.append(
          LoadedArchitecture(architecture: Architecture(table: table), file: file, vendor: vendor, licence: licence))
      }
    }
    return (loaded, found)
  }

  /// The first few tell enough: a wrong structure makes every following line wrong as well.
  private static let findingLimit = 8

  private static func problems(_ findings: [Finding], _ file: String) -> [PluginProblem] {
    findings.prefix(findingLimit).enumerated().map { index, finding in
      let more = findings.count - findingLimit
      let rest = index == findingLimit - 1 && more > 0 ? " (and \(more) more findings)" : ""
      return PluginProblem(
        file: file, kind: finding.kind, expected: "\(finding.item): \(finding.expected)", found: finding.found + rest,
        remedy: remedy(for: finding.kind))
    }
  }

  private static func remedy(for kind: PluginProblem.Kind) -> String {
    switch kind {
    case .wrongVersion, .wrongSize: "rebuild it against this paging_plugin.h"
    default: "correct the back end's description"
    }
  }
}
