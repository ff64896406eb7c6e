import CPagingKit
import PagingKit
import Testing

@testable import PagingHost

private func profile(_ text: String) throws(SettingError) -> Profile { try Profile(text: text, file: "p.toml") }

private func settings(_ assignments: String...) throws -> [Setting] {
  try assignments.map { try Setting(assignment: $0) }
}

private func spelled(_ options: [(name: String, value: String)]) -> [String] { options.map { "\($0.name)=\($0.value)" } }

@Suite struct `A profile` {
  @Test func `spells option names by its tables`() throws {
    let read = try profile(
      """
      title = "Fixture"
      architecture = "fixture"
      source = "assumed"
      large = true
      "tlb.replacement" = "random"
      [tlb.l1]
      sets = 0x80
      ways = 1_2
      """)
    #expect(read.title == "Fixture")
    #expect(read.architecture == "fixture")
    #expect(read.source == "assumed")
    let found = read.settings.map { "\($0.name)=\($0.value)" }
    #expect(found == ["large=true", "tlb.l1.sets=128", "tlb.l1.ways=12", "tlb.replacement=random"])
  }

  @Test(arguments: [
    ("sets = ", "p.toml, line 1"), ("[a\nb = 1", "p.toml, line 1"), ("a = 1\na = 2", "p.toml, line 2"),
    ("title = 3", "p.toml: title: expected text, found integer"),
    ("a = 1.5", "p.toml: a: expected an integer, true, false or text, found floating-point number"),
    ("[a]\nb = [1, 2]", "p.toml: a.b: expected an integer, true, false or text, found array"),
    ("\"a.b\" = 1\n[a]\nb = 2", "p.toml: expected “a.b” once, found it twice"),
  ])
  func `that is malformed says where`(text: String, message: String) {
    let error = #expect(throws: SettingError.self) { try profile(text) }
    #expect(error?.description.hasPrefix(message) == true, "\(String(describing: error))")
  }

  @Test func `with endless nesting is refused`() {
    let deep = [String](repeating: "a", count: 100).joined(separator: ".") + " = 1"
    #expect(throws: SettingError.self) { try profile(deep) }
    #expect(throws: SettingError.self) { try profile("a = " + String(repeating: "[", count: 100_000)) }
  }

  @Test func `is a text file that is there`() throws {
    let folder = try LibraryFolder()
    #expect(throws: SettingError.self) { try Profile(file: folder.file("absent.toml")) }
    #expect(throws: SettingError.self) { try Profile(file: folder.path) }
    let bytes = try folder.write([0x61, 0x3d, 0x22, 0xff, 0x22], to: "bytes.toml")
    let error = #expect(throws: SettingError.self) { try Profile(file: bytes) }
    #expect(error?.found == "bytes that are not UTF-8 text")
    #expect(try Profile(file: folder.write([], to: "empty.toml")).settings.isEmpty)
  }

  @Test func `that comes with PagingKit can be read`() throws {
    let generic = try Profile(file: packageFolder + "/Profiles/generic.toml")
    #expect(generic.architecture == nil)
    #expect(generic.source == "assumed")
    let configuration = try Configuration(honestFixture(), profile: generic)
    #expect(spelled(configuration.options) == ["tlb.l1.sets=16", "tlb.l1.ways=4", "tlb.replacement=lru"])
    #expect(configuration.skipped.map(\.name).contains("tlb.l2.ways"))
  }
}

@Suite struct `A configuration` {
  let architecture: Architecture
  init() throws { architecture = try honestFixture() }

  @Test func `lets a setting override the profile, and a later one an earlier`() throws {
    let file = try profile("[tlb.l1]\nsets = 32\nways = 8")
    let configuration = try Configuration(
      architecture, profile: file, settings: settings("tlb.l1.ways=12", "tlb.l1.ways=0x10", "large=true"))
    #expect(spelled(configuration.options) == ["tlb.l1.sets=32", "tlb.l1.ways=16", "large=true"])
    #expect(
      spelled(configuration.complete) == ["tlb.l1.sets=32", "tlb.l1.ways=16", "large=true", "tlb.replacement=lru"])
    #expect(
      configuration.json.compact == #"{"tlb.l1.sets":32,"tlb.l1.ways":16,"large":true,"tlb.replacement":"lru"}"#)
  }

  @Test func `opens a unit`() throws {
    let configuration = try Configuration(architecture, settings: settings("tlb.l1.sets=1"))
    _ = try Unit(architecture, map: PhysicalMapDescriptor([]), options: configuration.options)
  }

  @Test(arguments: [
    ("tlb.l1.sets=0", "--set: tlb.l1.sets: expected 1 to 4096, found “0”"),
    ("tlb.l1.sets=4097", "--set: tlb.l1.sets: expected 1 to 4096, found “4097”"),
    ("tlb.l1.sets=many", "--set: tlb.l1.sets: expected 1 to 4096, found “many”"),
    ("tlb.l1.sets=", "--set: tlb.l1.sets: expected 1 to 4096, found “”"),
    ("large=yes", "--set: large: expected true or false, found “yes”"),
    ("tlb.replacement=fifo", "--set: tlb.replacement: expected one of lru, random, found “fifo”"),
    ("tlb.l1.set=1", "--set: expected an option of fixture, perhaps tlb.l1.sets, found “tlb.l1.set”"),
    (
      "no.such.thing=1",
      "--set: expected one of tlb.l1.sets, tlb.l1.ways, large, tlb.replacement, found “no.such.thing”"
    ),
  ])
  func `says what is allowed`(assignment: String, message: String) throws {
    let wrong = try settings(assignment)
    let error = #expect(throws: SettingError.self) { try Configuration(architecture, settings: wrong) }
    #expect(error?.description == message)
  }

  @Test(arguments: ["tlb.l1.sets", "=1", ""])
  func `wants a name and a value`(assignment: String) {
    let error = #expect(throws: SettingError.self) { try Setting(assignment: assignment) }
    #expect(error?.description == "--set: expected NAME=VALUE, found “\(assignment)”")
  }

  @Test func `refuses a profile for another architecture`() throws {
    let other = try profile("architecture = \"other\"")
    let error = #expect(throws: SettingError.self) { try Configuration(architecture, profile: other) }
    #expect(error?.description == "p.toml: expected a profile for “fixture”, found one for “other”")
  }

  @Test func `refuses an unknown name in a profile made for it, and skips it in a general one`() throws {
    let own = try profile("architecture = \"fixture\"\n[tlb.l9]\nsets = 1")
    #expect(throws: SettingError.self) { try Configuration(architecture, profile: own) }
    let general = try Configuration(architecture, profile: profile("[tlb.l9]\nsets = 1"))
    #expect(general.skipped.map(\.name) == ["tlb.l9.sets"])
  }

  @Test func `skips for one architecture what another has, but not what none has`() throws {
    let wanted = try settings("tlb.l1.sets=2", "tlb.l9.sets=1")
    let configuration = try Configuration(architecture, settings: wanted, undeclared: .skipped)
    #expect(spelled(configuration.options) == ["tlb.l1.sets=2"])
    #expect(configuration.skipped == [wanted[1]])
    #expect(throws: SettingError.self) { try Configuration.requireKnown(wanted, by: [architecture]) }
    #expect(throws: Never.self) { try Configuration.requireKnown([wanted[0]], by: [architecture]) }
  }
}
