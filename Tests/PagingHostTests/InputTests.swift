import Testing

@testable import PagingHost

private let formats = ["gz", "xz", "zst"]
private let lines: [UInt8] = (0..<100_000).flatMap { Array("line \($0 % 100)\n".utf8) }
private func fixture(_ suffix: String) -> String { repositoryFile("Tests/Fixtures/input/lines.\(suffix)") }

@Suite struct `A byte source` {
  @Test(arguments: formats)
  func `reads every part of a compressed file, whatever the file is called`(_ suffix: String) throws {
    #expect(try content(of: fixture(suffix)) == lines)
    let renamed = TemporaryFile(storedBytes(of: fixture(suffix)))
    #expect(try content(of: renamed.path, chunk: 7777) == lines)
  }

  @Test func `reads a plain file, an empty one too`() throws {
    #expect(try withFile(lines) { try content(of: $0) } == lines)
    #expect(try withFile("") { try content(of: $0) } == [])
    #expect(try withFile("\u{1f}") { try content(of: $0) } == [0x1f])
  }

  @Test(arguments: formats)
  func `calls a compressed file that stops early truncated, wherever it stops`(_ suffix: String) throws {
    let whole = storedBytes(of: fixture(suffix))
    for length in [8, 13, whole.count / 3, whole.count / 2 + 9, whole.count - 1] {
      let cut = TemporaryFile(whole.prefix(length))
      let error = #expect(throws: InputError.self) { try content(of: cut.path) }
      #expect(error?.file == cut.path)
      #expect(error?.place == .byte(UInt64(length)))
      #expect(error?.found == "the end of the file")
    }
  }

  @Test(arguments: formats)
  func `names the place of damage`(_ suffix: String) throws {
    var bytes = storedBytes(of: fixture(suffix))
    for index in bytes.count / 4..<bytes.count / 4 + 16 { bytes[index] ^= 0x5a }
    let damaged = TemporaryFile(bytes)
    let error = #expect(throws: InputError.self) { try content(of: damaged.path) }
    #expect(error?.file == damaged.path)
    guard case .byte = error?.place else {
      Issue.record("no position in \(String(describing: error))")
      return
    }
  }

  @Test(arguments: formats)
  func `refuses what follows compressed data and is none`(_ suffix: String) throws {
    let file = TemporaryFile(storedBytes(of: fixture(suffix)) + Array("garbage".utf8))
    #expect(throws: InputError.self) { try content(of: file.path) }
  }

  @Test func `says why a file cannot be read`() throws {
    let absent = #expect(throws: InputError.self) { try ByteSource(path: "/nowhere/at/all") }
    #expect(absent?.description == "/nowhere/at/all: expected a file that can be read, found No such file or directory")
    let folder = #expect(throws: InputError.self) { try ByteSource(path: "/tmp") }
    #expect(folder?.found == "Is a directory")
  }
}

@Suite struct `Blocks of lines` {
  private func blocks(_ text: some Sequence<UInt8>) throws -> [[UInt8]] {
    let file = TemporaryFile(text)
    let reader = LineBlocks(try withExtendedLifetime(file) { try ByteSource(path: file.path) })
    var result: [[UInt8]] = []
    while let block = try reader.next(line: 1) { result.append(Array(block)) }
    return result
  }

  @Test func `join to the content and end at line feeds`() throws {
    let parts = try blocks(lines)
    #expect(parts.count > 1)
    #expect(parts.allSatisfy { $0.last == 0x0a })
    #expect(parts.flatMap { $0 } == lines)
  }

  @Test func `give a last line its line feed`() throws {
    #expect(try blocks("a\nb".utf8).flatMap { $0 } == Array("a\nb\n".utf8))
    #expect(try blocks("".utf8).isEmpty)
  }

  @Test func `hold lines longer than a block, up to a limit`() throws {
    let long = [UInt8](repeating: 0x61, count: 3 << 20) + [0x0a]
    #expect(try blocks(long).flatMap { $0 } == long)
    let endless = [UInt8](repeating: 0x61, count: LineBlocks.longestLine + 1)
    let error = #expect(throws: InputError.self) { try blocks(endless) }
    #expect(error?.place == .line(1))
  }
}
