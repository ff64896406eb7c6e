import Foundation
import Glibc
import PagingKit
import Testing

@testable import PagingHost

@Suite struct `The loader` {
  let folder: LibraryFolder
  init() throws { folder = try LibraryFolder() }

  /// The one problem of a file, while a good back end beside it still loads.
  private func onlyProblem(of bad: String) throws -> PluginProblem {
    let good = try folder.build("libArch-good.so", #"NAME="good""#)
    let found = catalogue(bad, good)
    #expect(found.names == ["good"])
    #expect(found.problems.count == 1)
    let problem = try #require(found.problems.first)
    #expect(problem.file == bad)
    #expect(problem.wasAskedFor)
    return problem
  }

  @Test func `opens a back end that keeps its promises`() throws {
    let file = try folder.build()
    let found = catalogue(file)
    #expect(found.problems.isEmpty)
    let loaded = try found.architecture(named: "fixture")
    #expect(loaded.file == file)
    #expect(loaded.vendor == "tests")
    #expect(loaded.licence == "Apache-2.0")
    #expect(loaded.architecture.title == "Fixture")
    #expect(DescriptionCheck.problems(of: loaded.architecture) == [])
  }

  @Test func `refuses a text file`() throws {
    let problem = try onlyProblem(of: folder.write("INPUT(-lm)\n".utf8, to: "libArch-text.so"))
    #expect(problem.kind == .notALibrary)
    #expect(problem.found == "a file that is not ELF")
  }

  @Test func `refuses an empty file`() throws {
    let problem = try onlyProblem(of: folder.write([], to: "libArch-empty.so"))
    #expect(problem.found == "an empty file")
  }

  @Test func `refuses a folder and a pipe in place of a file`() throws {
    let pipe = folder.file("libArch-pipe.so")
    #expect(mkfifo(pipe, 0o600) == 0)
    let problem = try onlyProblem(of: pipe)
    #expect(problem.found == "not a regular file")
  }

  @Test(arguments: [3, 10, 63, 100, 2000, 9000])
  func `refuses a library that was cut off`(byteCount: Int) throws {
    let whole = try Data(contentsOf: URL(fileURLWithPath: folder.build("whole.so")))
    #expect(whole.count > byteCount)
    let problem = try onlyProblem(of: folder.write(whole.prefix(byteCount), to: "libArch-short.so"))
    #expect(problem.kind == .notALibrary)
    #expect(problem.found == (byteCount < 4 ? "a file that is not ELF" : "a library cut off after \(byteCount) bytes"))
  }

  @Test func `refuses a library of another machine`() throws {
    var bytes = try Data(contentsOf: URL(fileURLWithPath: folder.build("whole.so")))
    bytes[18] ^= 0x55
    let problem = try onlyProblem(of: folder.write(bytes, to: "libArch-foreign.so"))
    #expect(problem.found.hasPrefix("a library for another machine"))
  }

  @Test func `refuses a program in place of a library`() throws {
    var bytes = try Data(contentsOf: URL(fileURLWithPath: folder.build("whole.so")))
    bytes[16] = 2
    let problem = try onlyProblem(of: folder.write(bytes, to: "libArch-program.so"))
    #expect(problem.found == "ELF of type 2, not a library")
  }

  @Test func `does not run another kind of library`() throws {
    let mark = folder.file("was-run")
    let source = """
      #include <stdio.h>
      __attribute__((constructor)) static void start(void) { FILE *f = fopen("\(mark)", "w"); if (f) fclose(f); }
      int other(void) { return 1; }
      """
    let problem = try onlyProblem(of: folder.build("libArch-other.so", source: source))
    #expect(problem.kind == .anotherLibrary)
    #expect(problem.expected == "the exported symbol pgk_plugin_entry")
    #expect(!FileManager.default.fileExists(atPath: mark))
  }

  @Test func `finds the entry symbol by the older kind of hash table`() throws {
    let found = catalogue(try folder.build("libArch-old.so", options: ["-Wl,--hash-style=sysv"]))
    #expect(found.names == ["fixture"])
  }

  @Test func `refuses a library whose entry symbol has another name`() throws {
    let problem = try onlyProblem(of: folder.build("libArch-renamed.so", "ENTRY=pgk_plugin_entry_v9"))
    #expect(problem.kind == .anotherLibrary)
  }

  @Test func `refuses a library whose entry symbol is no function`() throws {
    let problem = try onlyProblem(of: folder.build("libArch-data.so", source: "int pgk_plugin_entry = 7;"))
    #expect(problem.kind == .anotherLibrary)
  }

  @Test func `refuses a library that needs a missing function`() throws {
    let source = "int absent_function(void); int pgk_plugin_entry(void) { return absent_function(); }"
    let problem = try onlyProblem(of: folder.build("libArch-needy.so", source: source))
    #expect(problem.kind == .notALibrary)
    #expect(problem.found.contains("absent_function"))
  }

  @Test func `reports a back end that does not serve this version`() throws {
    let problem = try onlyProblem(of: folder.build("libArch-null.so", "PLUGIN=(const pgk_plugin_v1*)0"))
    #expect(problem.kind == .refused)
    #expect(problem.expected == "a back end for version 0.1")
  }

  @Test func `names expected and found version`() throws {
    let problem = try onlyProblem(of: folder.build("libArch-later.so", "PLUGIN_ABI=0x00010007u"))
    #expect(problem.kind == .wrongVersion)
    #expect(problem.expected == "pgk_plugin_v1: version 0.1")
    #expect(problem.found == "version 1.7")
    #expect(problem.description.hasPrefix(problem.file))
  }

  @Test(arguments: [
    ("PLUGIN_SIZE=8", "pgk_plugin_v1"), ("ARCH_SIZE=sizeof(pgk_arch_v1)+8", "pgk_arch_v1"),
    ("OS_SIZE=16", "pgk_os_v1"), ("DESCRIPTION_SIZE=0", "pgk_description_v1"),
  ])
  func `checks the size of every descriptor`(macro: String, structure: String) throws {
    let problem = try onlyProblem(of: folder.build("libArch-size.so", macro))
    #expect(problem.kind == .wrongSize)
    #expect(problem.expected.hasPrefix("\(structure): a size of"))
  }

  @Test func `takes the first of two back ends of one name`() throws {
    let first = try folder.build("libArch-a.so"), second = try folder.build("libArch-b.so")
    let found = catalogue(first, second)
    #expect(found.architectures.map(\.file) == [first])
    #expect(found.problems.map(\.kind) == [.duplicate])
    #expect(found.problems.first?.file == second)
    #expect(found.problems.first?.found.contains(first) == true)
  }

  @Test func `keeps two libraries with the same C names apart`() throws {
    let one = try folder.build("libArch-one.so", #"NAME="one""#), two = try folder.build("libArch-two.so", #"NAME="two""#)
    #expect(catalogue(one, two).names == ["one", "two"])
  }

  @Test func `keeps the good one of two architectures in a library`() throws {
    let both = try folder.build("libArch-both.so", "ARCHS={&arch,0}")
    let found = catalogue(both)
    #expect(found.names == ["fixture"])
    #expect(found.problems.map(\.expected) == ["pgk_arch_v1: a structure"])
  }

  @Test func `reads a file once however often it is found`() throws {
    let file = try folder.build()
    let found = catalogue(file, folder.path + "/./libArch-fixture.so", folder.path)
    #expect(found.names == ["fixture"])
    #expect(found.problems.isEmpty)
  }

  @Test func `names a file that is not there`() {
    let found = catalogue("/nowhere/libArch-none.so")
    #expect(found.problems.map(\.kind) == [.missing])
    #expect(found.problems.first?.wasAskedFor == true)
  }

  @Test func `lists the valid names for an unknown architecture`() throws {
    let found = catalogue(try folder.build())
    let error = #expect(throws: UnknownName.self) { try found.architecture(named: "fixtur") }
    #expect(error?.description == "unknown architecture “fixtur”: expected one of fixture")
    #expect(throws: UnknownName.self) { try Catalogue().architecture(named: "any") }
  }
}

@Suite struct `The search path` {
  let folder: LibraryFolder
  init() throws { folder = try LibraryFolder() }

  private func load(_ admits: SearchPath.Admission) -> Catalogue {
    Catalogue.load(searchPath: SearchPath([.init(folder.path, admits: admits, isNamed: true)]))
  }

  @Test func `takes only named back ends from a folder that holds other libraries`() throws {
    _ = try folder.build("libArch-found.so")
    _ = try folder.build("libOther.so", source: "int other(void) { return 1; }")
    let found = load(.backEndsByName)
    #expect(found.names == ["fixture"])
    #expect(found.problems.isEmpty)
  }

  @Test func `reports what is no back end in a folder for back ends, as a warning`() throws {
    _ = try folder.build("found.so")
    let other = try folder.build("libOther.so", source: "int other(void) { return 1; }")
    let found = load(.everyLibrary)
    #expect(found.names == ["fixture"])
    #expect(found.problems.map(\.file) == [other])
    #expect(found.problems.map(\.wasAskedFor) == [false])
  }

  @Test func `warns of a named folder that is not there, and not of a usual one`() {
    let named = SearchPath([.init("/nowhere/at/all", admits: .everyLibrary, isNamed: true)])
    #expect(Catalogue.load(searchPath: named).problems.map(\.kind) == [.missing])
    let usual = SearchPath([.init("/nowhere/at/all", admits: .everyLibrary)])
    #expect(Catalogue.load(searchPath: usual).problems.isEmpty)
  }

  @Test func `takes the folders of PAGINGKIT_PLUGIN_PATH in order`() {
    let folders = SearchPath.folders(named: "/one::/two/three")
    #expect(folders.map(\.path) == ["/one", "/two/three"])
    #expect(folders.allSatisfy { $0.admits == .everyLibrary && $0.isNamed })
  }

  @Test func `ends with the program's folder and the installed one`() throws {
    let program = try #require(SearchPath.programFolder)
    let last = SearchPath.standard.folders.suffix(2)
    #expect(last.map(\.path) == [program, program + "/../lib/pagingkit"])
    #expect(last.map(\.admits) == [.backEndsByName, .everyLibrary])
  }
}

@Suite struct `Reading a library before it is loaded` {
  /// A library with random bytes changed in its headers, symbols and hash tables must be an answer, never a trap.
  @Test func `survives damaged headers`() throws {
    let folder = try LibraryFolder()
    let whole = try [UInt8](Data(contentsOf: URL(fileURLWithPath: folder.build("whole.so"))))
    var random = SeededDamage(state: 0x5eed)
    for _ in 0..<120 {
      var bytes = whole
      for _ in 0..<8 { bytes[random.index(below: 0x800)] = UInt8(truncatingIfNeeded: random.next()) }
      // The dynamic section lies near the end of the file, before the section headers.
      for _ in 0..<8 { bytes[random.index(below: bytes.count)] = [0, 0x7f, 0x80, 0xff][random.index(below: 4)] }
      let file = try folder.write(bytes, to: "damaged.so")
      if let elf = try? ElfFile(path: file) { _ = elf.exports("pgk_plugin_entry") }
    }
    #expect(try ElfFile(path: folder.file("whole.so")).exports("pgk_plugin_entry"))
    #expect(try !ElfFile(path: folder.file("whole.so")).exports("pgk_plugin_entr"))
  }
}

/// SplitMix64: the same damage on every run.
struct SeededDamage: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = (state ^ state >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }

  mutating func index(below count: Int) -> Int { Int(next() % UInt64(count)) }
}
