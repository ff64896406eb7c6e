import CPagingKit
import Testing

@testable import PagingHost

/// Everything that a trace delivers, and its counts.
private func read(_ trace: LackeyTrace, batch: Int = 1024) throws -> [pgk_access_v1] {
  var result: [pgk_access_v1] = []
  let buffer = UnsafeMutableBufferPointer<pgk_access_v1>.allocate(capacity: batch)
  defer { buffer.deallocate() }
  while true {
    let count = try trace.next(into: buffer)
    if count == 0 { return result }
    result += buffer[..<count]
  }
}

private func accesses(_ text: String, stream: TraceStream = .unified) throws -> [pgk_access_v1] {
  try withFile(text) { try read(LackeyTrace(path: $0, stream: stream)) }
}

private func error(of text: String) -> InputError? {
  #expect(throws: InputError.self) { _ = try accesses(text) }
}

private func pages(_ access: pgk_access_v1) -> [UInt64] {
  let first = access.address >> 12
  let last = (access.address + 1 << UInt64(access.size_log2) - 1) >> 12
  return first == last ? [first] : [first, last]
}

@Suite struct `A lackey trace` {
  @Test func `gives each kind of line its access`() throws {
    let list = try accesses("I  0069c478,2\n L 1ffefff930,8\n S 4a3f0,1\n M DEADBEEF0,16\n")
    #expect(list.map(\.address) == [0x69c478, 0x1f_feff_f930, 0x4a3f0, 0xd_eadb_eef0])
    #expect(list.map(\.kind) == [PGK_FETCH, PGK_READ, PGK_WRITE, PGK_MODIFY].map(UInt8.init))
    #expect(list.map(\.size_log2) == [1, 3, 0, 4])
    #expect(list.map(\.tag) == [0, 1, 2, 3])
    #expect(list.allSatisfy { $0.flags == UInt8(PGK_TRANSLATE_ONLY) })
  }

  @Test func `passes over empty lines, messages of valgrind and carriage returns`() throws {
    let list = try accesses("==12== Lackey\r\n\r\n\nI  10,2\r\n--12-- warning\n**12** note\n L 20,4")
    #expect(list.map(\.address) == [0x10, 0x20])
  }

  @Test func `delivers one stream and counts both`() throws {
    let text = "I  1000,2\n L 2000,8\nI  1002,3\n S 3000,8\n M 2008,4\n"
    #expect(try accesses(text, stream: .instruction).map(\.address) == [0x1000, 0x1002])
    #expect(try accesses(text, stream: .data).map(\.address) == [0x2000, 0x3000, 0x2008])
    let trace = try withFile(text) { try LackeyTrace(path: $0, stream: .data) }
    _ = try read(trace)
    var expected = TraceStatistics()
    (expected.instructions, expected.loads, expected.stores, expected.modifies) = (2, 1, 1, 1)
    (expected.distinctPages, expected.distinctInstructionPages, expected.distinctDataPages) = (3, 1, 2)
    #expect(trace.statistics == expected)
  }

  @Test func `keeps exactly the pages of a line of any size`() throws {
    for size in 1...64 as ClosedRange<UInt64> {
      for offset in 0xfb0...0xfff as ClosedRange<UInt64> {
        let address = 0x7000 + offset
        let access = try #require(
          try accesses(" L \(String(address, radix: 16)),\(size)").first)
        let crosses = offset + size > 0x1000
        #expect(pages(access) == (crosses ? [7, 8] : [7]))
        // And never names a byte that is not of the line.
        #expect(access.address >= address && access.address + 1 << UInt64(access.size_log2) <= address + size)
      }
    }
  }

  @Test func `refuses a malformed line by its number, with what was expected and found`() {
    let form = "\"I  ADDRESS,SIZE\", \" L ADDRESS,SIZE\", \" S ADDRESS,SIZE\" or \" M ADDRESS,SIZE\""
    let bad: [(String, String)] = [
      ("X  10,2", form), (" L10,2", form), ("I 10,2", form), ("I", form), (" ", form), ("=1= x", form), ("==x== y", form),
      (" L ,2", "an address of 1 to 16 hexadecimal digits"),
      (" L 11112222333344445,2", "an address of 1 to 16 hexadecimal digits"),
      (" L 10", "a comma behind the address"), (" L 0x10,2", "a comma behind the address"),
      (" L 10,", "a size from 1 to 4096 bytes"), (" L 10,0", "a size from 1 to 4096 bytes"),
      (" L 10,4097", "a size from 1 to 4096 bytes"), (" L 10,99999999999999999999", "a size from 1 to 4096 bytes"),
      (" L 10,2 ", "the end of the line behind the size"), (" L 10,2\rx", "the end of the line behind the size"),
      (" L ffffffffffffffff,2", "an access that ends below 2^64"),
    ]
    for (line, expected) in bad {
      let error = error(of: "I  1000,2\n\n\(line)\nI  1000,2\n")
      #expect(error?.place == .line(3), "\(line)")
      #expect(error?.expected == expected, "\(line)")
    }
    #expect(error(of: " L 10,2\n L 1\u{1}\"0,2\n")?.found == "\" L 1\\x01\\\"0,2\"")
  }

  @Test func `delivers and counts what stands before a bad line, and nothing of it`() throws {
    let trace = try withFile("I  1000,2\n L 2000,8\n L 3000,9x\n") { try LackeyTrace(path: $0) }
    let buffer = UnsafeMutableBufferPointer<pgk_access_v1>.allocate(capacity: 8)
    defer { buffer.deallocate() }
    #expect(try trace.next(into: buffer) == 2)
    #expect(throws: InputError.self) { try trace.next(into: buffer) }
    #expect(trace.statistics.loads == 1 && trace.statistics.distinctPages == 2)
  }

  @Test func `accepts the highest address and the largest size`() throws {
    #expect(try accesses(" L ffffffffffffffff,1\n L 1000,4096\n").map(\.size_log2) == [0, 4])
  }

  @Test func `counts the distinct pages of a large address space`() throws {
    var text = ""
    for page in 0..<5000 { text += "I  \(String(page << 12, radix: 16)),2\n L \(String((page * 977 + 2500) << 12, radix: 16)),8\n" }
    let trace = try withFile(text) { try LackeyTrace(path: $0) }
    #expect(try read(trace).count == 10_000)
    let data = Set((0..<5000).map { $0 * 977 + 2500 })
    #expect(trace.statistics.distinctInstructionPages == 5000)
    #expect(trace.statistics.distinctDataPages == UInt64(data.count))
    #expect(trace.statistics.distinctPages == UInt64(data.union(0..<5000).count))
  }

  @Test(arguments: ["gcc-cc1", "python-dicts", "sqlite-random"])
  func `of a real program has the counts that were made without this reader`(_ name: String) throws {
    let trace = try LackeyTrace(path: repositoryFile("Workloads/\(name).lackey.xz"), stream: .data)
    let truth = String(decoding: storedBytes(of: repositoryFile("Workloads/\(name).stats.json")), as: UTF8.self)
    func number(_ key: String) throws -> UInt64 {
      let start = try #require(truth.split(separator: "\"\(key)\": ", maxSplits: 1).last)
      return try #require(UInt64(start.prefix { $0.isNumber }))
    }
    let data = try read(trace)
    let counts = trace.statistics
    #expect(counts.instructions == (try number("instructions")))
    #expect(counts.loads == (try number("loads")))
    #expect(counts.stores == (try number("stores")))
    #expect(counts.modifies == (try number("modifies")))
    #expect(counts.pageStraddling == (try number("page_straddling")))
    #expect(counts.distinctPages == (try number("distinct_4k")))
    #expect(counts.distinctInstructionPages == (try number("distinct_4k_instruction")))
    #expect(counts.distinctDataPages == (try number("distinct_4k_data")))
    // A straddling access is one reference to each of its pages.
    let section = try #require(truth.split(separator: "\"data_4k\": {\n  \"references\": ", maxSplits: 1).last)
    #expect(data.reduce(0) { $0 + pages($1).count } == Int(section.prefix { $0.isNumber }))
  }

  @Test func `cut short in its compressed form is an error of the file`() throws {
    let whole = storedBytes(of: repositoryFile("Workloads/sqlite-random.lackey.xz"))
    let cut = TemporaryFile(whole.prefix(whole.count / 2))
    let error = #expect(throws: InputError.self) { try read(LackeyTrace(path: cut.path)) }
    #expect(error?.place == .byte(UInt64(whole.count / 2)))
  }
}
