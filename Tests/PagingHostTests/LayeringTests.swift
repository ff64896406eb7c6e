// Who may import whom, and who may know an architecture's name. Imports are the layering rule.
import Foundation
import Testing

/// A source file with the part of every line that is code.
private struct SourceFile {
  let path: String
  let target: String
  let code: [String]

  init(_ path: String, target: String) throws {
    self.path = path
    self.target = target
    let text = try String(contentsOfFile: path, encoding: .utf8)
    code = text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
      line.firstRange(of: "//").map { String(line[..<$0.lowerBound]) } ?? String(line)
    }
  }

  var imports: [String] {
    code.compactMap { line in
      let words = line.split(separator: " ").filter { !["public", "internal", "package", "private", "fileprivate"].contains($0) && !$0.hasPrefix("@") }
      guard words.first == "import", words.count > 1 else { return nil }
      let isOfKind = ["struct", "class", "enum", "func", "protocol", "typealias", "var", "let"].contains(words[1])
      let module = isOfKind ? words[2].prefix { $0 != "." } : words[1][...]
      return String(module)
    }
  }
}

@Suite struct `The layers` {
  private static let sources: [SourceFile] = {
    let root = repositoryFile("Sources")
    let files = FileManager.default.enumerator(atPath: root)?.compactMap { $0 as? String } ?? []
    return files.filter { $0.hasSuffix(".swift") }.sorted().compactMap { file in
      try? SourceFile(root + "/" + file, target: String(file.split(separator: "/")[0]))
    }
  }()

  private func files(_ target: String) -> [SourceFile] { Self.sources.filter { $0.target == target } }
  private var backEnds: [String] { Set(Self.sources.map(\.target)).filter { $0.hasPrefix("Arch-") }.sorted() }

  @Test func `are all there`() {
    #expect(!files("PagingKit").isEmpty && !files("PagingHost").isEmpty && !files("plugin-host").isEmpty)
    #expect(backEnds.count >= 3)
  }

  private func expectImports(_ target: String, _ allowed: Set<String>) {
    for file in files(target) {
      let others = Set(file.imports).subtracting(allowed)
      #expect(others.isEmpty, "\(file.path) imports \(others.sorted().joined(separator: ", "))")
    }
  }

  @Test func `let the core import nothing but the C header`() { expectImports("PagingKit", ["CPagingKit"]) }

  @Test func `let a back end import the core and the C header, and no other back end`() {
    for backEnd in backEnds { expectImports(backEnd, ["PagingKit", "CPagingKit"]) }
  }

  @Test func `keep Foundation out of the host`() {
    let libraries: Set<String> = ["CLibFFI", "CZlib", "CLZMA", "CZstd", "CPagingFloor", "TOMLKit", "Synchronization", "Glibc", "FoundationEssentials"]
    expectImports("PagingHost", libraries.union(["PagingKit", "CPagingKit"]))
    expectImports("plugin-host", ["PagingHost", "PagingKit", "ArgumentParser", "Synchronization", "Glibc"])
  }

  @Test func `open dynamic libraries in the host library only`() {
    for file in Self.sources where file.target != "PagingHost" {
      #expect(!file.code.contains { $0.contains("dlopen") || $0.contains("dlsym") }, "\(file.path) opens libraries")
    }
  }

  /// Words that only one architecture has. Each is looked for as a whole word, whatever its case.
  private static let names = [
    "x86", "amd64", "intel", "riscv", "sv32", "sv39", "sv48", "sv57", "elbrus", "e2k", "cr0", "cr3", "cr4", "satp", "hgatp",
    "4level", "5level", "pae", "ept", "npt", "toy32",
  ]

  @Test(arguments: ["PagingKit", "PagingHost", "plugin-host"])
  func `name no architecture where code is generic`(_ target: String) {
    for file in files(target) {
      for (number, line) in file.code.enumerated() {
        let words = line.lowercased().split { !$0.isLetter && !$0.isNumber }.map(String.init)
        let known = words.filter(Self.names.contains)
        #expect(known.isEmpty, "\(file.path):\(number + 1) names \(known.joined(separator: ", "))")
      }
    }
  }
}
