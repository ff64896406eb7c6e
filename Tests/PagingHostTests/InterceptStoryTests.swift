import Testing

@testable import PagingHost

private let catalogue = Catalogue.load()

private func story(_ file: String) throws -> InterceptStory {
  try InterceptStory(file: file) { try catalogue.architecture(named: $0).architecture }
}

private func text(of path: String) -> String { String(decoding: storedBytes(of: path), as: UTF8.self) }

@Suite struct `A story of an intercept` {
  @Test(arguments: ["device-load", "table-store"])
  func `is told in the documentation as the program tells it`(_ name: String) throws {
    let script = repositoryFile("Tests/Fixtures/scripts/\(name).txt")
    let page = text(of: repositoryFile("Sources/PagingHost/PagingHost.docc/InterceptsStepByStep.md"))
    #expect(page.contains(text(of: script)))
    #expect(page.contains(try story(script).text))
  }

  @Test func `has the value of the device in its destination, and the neighbour behind it`() throws {
    let chapters = try story(repositoryFile("Tests/Fixtures/scripts/device-load.txt")).chapters
    #expect(chapters.count == 3)
    #expect(chapters[0].lines.contains { $0.hasPrefix("item 0: code GPA_DATA") })
    #expect(chapters[2].lines.suffix(2) == ["destination 1 = 0x77", "destination 2 = 0x2a"])
  }

  @Test(arguments: [
    ("reg gid 5", "a line “arch NAME”"), ("arch elbrus\nr va=1", "a line “group” before operations"),
    ("arch elbrus\nreg gid five", "a number in “reg NAME VALUE”"), ("arch elbrus\nedit 3 delete", "no item"),
    ("arch elbrus\ngroup\n  r va=0x1000 sise=8", "what elbrus declares"), ("arch elbrus\nnonsense 1", "what elbrus declares"),
    ("arch elbrus\npage v9 0 0 0", "what elbrus declares"),
  ])
  func `says where a script is wrong`(_ text: String, _ expected: String) throws {
    let error = #expect(throws: InputError.self) { try withFile(text + "\n") { try story($0) } }
    #expect(error?.expected.contains(expected) == true, "\(error.map { "\($0)" } ?? "")")
  }

  private static let group = "arch elbrus\ngroup\n  "

  @Test(arguments: [
    ("edit 0 zork", "edit ITEM"), ("edit 0", "edit ITEM"), ("edit 0 delete code=READ_MU", "edit ITEM"), ("edit 0 delete delete", "edit ITEM"),
    ("group zork", "group"), ("glaunch zork", "glaunch"), ("glaunch a=1", "glaunch"), ("reexec 0 1", "reexec RECORD"), ("reexec -1", "no record"),
    ("start zork", "start native"), ("start", "start native"), ("start guest now", "start native"), ("arch elbrus elbrus", "arch NAME"),
    ("mem 0x1 0x2", "the address of an 8-byte word"), ("mem 0xfffffffffffffff8 1", "the address of an 8-byte word"), ("mem 8 1 2", "mem ADDRESS WORD"),
    ("dst 65536 1", "a number from 0 to 65535"), ("dst 0xffffffffffffffff 1", "a number from 0 to 65535"), ("reg gid 5 6", "reg NAME VALUE"),
    ("page v6 0xfffffffffffff000 0x10000 0x5000", "a root with room"), ("page v6 0xffffffffffffffff 0xffffffffffffffff 0", "a root with room"),
    ("page v6 0x100001 0x10000 0x5000", "a page that the format can map"), ("page v6 0x100000 0x10000 0x5000 rw", "page FORMAT"),
    ("page v6 0x100000 0x10000 0x5000 ro ro", "page FORMAT"), ("page v6", "page FORMAT"), ("flush page page va=0x10000", "KEY KIND"),
    ("flush va=0x10000 page", "KEY KIND"), ("flush page vaa=0x10000", "what elbrus declares"), ("probe 0x1000 0x2000", "KEY KIND"),
    ("info_write -1", "no item"), ("info_write 0xffffffffffffffff", "no item"), ("info_write", "info_write ITEM"), ("write 0x10 1 2", "write ADDRESS WORD"),
  ])
  func `is not told where a line has a word too many, too few or misspelt`(_ line: String, _ expected: String) throws {
    let error = #expect(throws: InputError.self) { try withFile("arch elbrus\n\(line)\n") { try story($0) } }
    #expect(error?.place == .line(2) && error?.expected.contains(expected) == true, "\(error.map { "\($0)" } ?? "")")
  }

  @Test(arguments: [
    ("r va=0x10000 size=8 chan=1 priv=kernel va=0x20000", "“va=” once"), ("r va=0x10000 size=8 chan=1 priv=kernel zork", "NAME=VALUE"),
    ("w va=0x10000 =5", "NAME=VALUE"), ("x va=0x10000 priv=", "NAME=VALUE"), ("r op=w va=0x10000", "NAME=VALUE"),
    ("r va=0x10000 size=8 chan=1 priv=kernel dst=0xffffffffffffffff", "at \"dst\""), ("r va=0x10000 size=8 chan=0x100000001 priv=kernel", "at \"chan\""),
    ("x va=0x10000 size=3 priv=kernel", "at \"size\""), ("x va=0x10000 sise=8 priv=kernel", "what elbrus declares"),
  ])
  func `is not told where an operation is misspelt`(_ line: String, _ expected: String) throws {
    let error = #expect(throws: InputError.self) { try withFile(Self.group + line + "\n") { try story($0) } }
    #expect(error?.expected.contains(expected) == true, "\(error.map { "\($0)" } ?? "")")
  }

  @Test(arguments: ["code=ZORK", "zork=1", "chan=1", "code=READ_MU data=1 chan=1", "code=FORCED chan=9", "ignore_wr_rights=2", "ignore_wr_rights=1 chan=1"])
  func `is not told where an edit sets what no verdict has`(_ edit: String) throws {
    let script = text(of: repositoryFile("Tests/Fixtures/scripts/device-load.txt"))
    let changed = script.replacing("edit 0 code=READ_MU data=0x77", with: "edit 0 \(edit)")
    #expect(changed != script)
    #expect(throws: InputError.self) { try withFile(changed) { try story($0) } }
  }

  @Test(arguments: ["native", "guest"])
  func `says who gets what is raised`(_ home: String) throws {
    let script = """
      arch elbrus
      set iset 6
      start \(home)
      reg u_pptb 0x100000
      reg core_mode 0x20
      reg mmu_cr 0x821
      reg trap_point 0x80000
      group
        r va=0x10000 size=8 chan=1 priv=kernel dst=1

      """
    let lines = try withFile(script) { try story($0) }.chapters[0].lines
    #expect(lines.contains { $0.hasPrefix("raised: ") && $0.hasSuffix(", to \(home)") }, "\(lines)")
  }
}
