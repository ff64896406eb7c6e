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
    ("arch elbrus\nreg gid five", "a number in “reg NAME VALUE”"), ("arch elbrus\nedit 3 delete", "an item from 0"),
    ("arch elbrus\ngroup\n  r va=0x1000 sise=8", "what elbrus declares"), ("arch elbrus\nnonsense 1", "what elbrus declares"),
    ("arch elbrus\npage v9 0 0 0", "what elbrus declares"),
  ])
  func `says where a script is wrong`(_ text: String, _ expected: String) throws {
    let error = #expect(throws: InputError.self) { try withFile(text + "\n") { try story($0) } }
    #expect(error?.expected.contains(expected) == true, "\(error.map { "\($0)" } ?? "")")
  }
}
