import PagingKit
import Testing

@testable import PagingHost

/// A macro that makes the fixture lie, and the beginning of what must be said about it.
struct Lie: Sendable, CustomTestStringConvertible {
  let macro: String
  let expected: String
  let found: String
  var testDescription: String { macro }

  init(_ macro: String, _ expected: String, _ found: String) {
    self.macro = macro
    self.expected = expected
    self.found = found
  }
}

let lies = [
  Lie("ROOT_SHIFT=21", "format “two”, level 1, shift: 22, the shift and index bits of level 0", "21"),
  Lie("INPUT_BITS=33", "format “two”, input_bits: 32, the end of its root level", "33"),
  Lie("TABLE_MASK=4", "format “two”, layout “entry that points to a table”, level_mask: some of 0x2", "0x4"),
  Lie("TABLE_MASK=3", "format “two”, layout “entry that points to a table”, level_mask: some of 0x2", "0x3"),
  Lie("FLAGS_HIGH=12", "format “two”, layout “entry that maps a page”, bit 12: one field", "“frame” and “flags”"),
  Lie("FLAGS_LOW=3", "format “two”, layout “entry that maps a page”, bit 1: a field", "none"),
  Lie("FLAGS_HIGH=32", "format “two”, layout “entry that maps a page”, field “flags”: bits within 31 to 0", "32 to 1"),
  Lie("FIRST_FORMAT=1", "regime “two”, first_format: an index below 1, or 255 for none", "1"),
  Lie("SECOND_FORMAT=0", "regime “two”, second_format: a format of stage 2", "one of stage 1"),
  Lie("SUPERVISOR=2", "regime “two”, supervisor: an index below 2", "2"),
  Lie("WRITABLE=0x1fffff000ull", "register “root”, writable: at most 32 bits", "0x1fffff000"),
  Lie(#"SECOND_REGISTER="root""#, "registers: every name once", "“root” twice"),
  Lie(#"SECOND_REGISTER="MODE""#, "register “MODE”: lower case", "“MODE”"),
  Lie(#"SECOND_REGISTER="a b""#, "register 1 “a b”: no blanks", "“a b”"),
  Lie("SECOND_REGISTER=0", "register 1: text", "null"),
  Lie(#"INTEGER_PRESET="5000""#, "option “tlb.l1.sets”, preset: 1 to 4096", "“5000”"),
  Lie(#"INTEGER_PRESET="many""#, "option “tlb.l1.sets”, preset: 1 to 4096", "“many”"),
  Lie(#"BOOLEAN_PRESET="yes""#, "option “large”, preset: true or false", "“yes”"),
  Lie(#"CHOICE_PRESET="fifo""#, "option “tlb.replacement”, preset: one of its choices", "“fifo”"),
  Lie(#"FIRST_OUTCOME="done""#, "outcome 0: “finished”, which is no fault", "“done”, fault 0"),
  Lie("OUTCOME_COUNT=0", "outcomes: 1 to 251", "0"),
  Lie("WORD_COUNT=9", "words: at most 8", "9"),
  Lie("REGISTER_COUNT=5000", "registers: at most 4096", "5000"),
  Lie("REGISTER_COUNT=(size_t)-1", "registers: at most 4096", "18446744073709551615"),
  Lie("COUNTERS=0", "counters: 1 of them", "null"),
  Lie("COUNTERS=(const pgk_name_v1*)64", "counters: 1 readable elements", "0x0000000000000040, which is not readable"),
  Lie("COUNTERS=(const pgk_name_v1*)65", "counters: an aligned address", "0x0000000000000041"),
  Lie("TITLE=(const char*)4096", "title: text", "0x0000000000001000, which is not readable"),
  Lie(#"TITLE="\xff""#, "title: UTF-8", "other bytes"),
  Lie(#"TITLE="\033[2J""#, "title: text without control characters", "one"),
  Lie(#"TITLE="""#, "title: a name", "empty text"),
  Lie("VENDOR=0", "vendor: text", "null"),
  Lie(#"NAME="Fixture""#, "name: lower case", "“Fixture”"),
  Lie("RUN=0", "run: a function", "null"),
  Lie("RUN=(void*)&levels", "run: a function", "0x"),
  Lie("READ_FAULTS=read_faults", "os.read_faults and os.decode_faults: both or neither", "one of them"),
  Lie("DECODE_FAULTS=(void*)&levels", "os.decode_faults: a function", "0x"),
  Lie(#"FLUSH_SIGNATURE="i32(ptr,u64,u32,ptr""#, "encoder 0, signature: result(arguments)", "“i32(ptr,u64,u32,ptr”"),
  Lie(#"FLUSH_SIGNATURE="i32(ptr,u64,u24,ptr,ptr)""#, "encoder 0, signature: one of void u8", "“u24”"),
  Lie(#"FLUSH_SIGNATURE="void(ptr,u64,u32,ptr,ptr)""#, "encoder 0, signature: i32(ptr,...,ptr,ptr)", "“void(ptr,u64,u32,ptr,ptr)”"),
  Lie(#"FLUSH_SIGNATURE="i32(u64,u64,u32,ptr,ptr)""#, "encoder 0, signature: i32(ptr,...,ptr,ptr)", "“i32(u64,u64,u32,ptr,ptr)”"),
  Lie("FLUSH_ARGUMENTS=1", "encoder 0, signature: 1 arguments between", "“i32(ptr,u64,u32,ptr,ptr)”"),
  Lie("FLUSH=0", "encoder 0, function: a function", "null"),
  Lie("VERDICTS=(1u<<PGK_VERDICT_REFLECT)", "verdicts: “replay” among them", "0x20"),
  Lie("VERDICTS=0xff", "verdicts: bits 0 to 6", "0xff"),
  Lie("CONTEXT_KEY=2", "context_key: an index below 2", "2"),
]

@Suite struct `A description that contradicts itself` {
  @Test(arguments: lies)
  func `is refused by what it says`(lie: Lie) throws {
    let file = try LibraryFolder().build("libArch-lie.so", lie.macro)
    let found = catalogue(file)
    #expect(found.architectures.isEmpty)
    let problem = try #require(found.problems.first)
    #expect(problem.file == file)
    #expect(problem.expected.hasPrefix(lie.expected), "\(problem)")
    #expect(problem.found.hasPrefix(lie.found), "\(problem)")
  }

  @Test func `may run off the end of its library without harm`() throws {
    // 4000 registers of 40 bytes are more than the two that are there, and soon nonsense.
    let found = catalogue(try LibraryFolder().build("libArch-long.so", "REGISTER_COUNT=4000"))
    #expect(found.architectures.isEmpty)
    #expect(!found.problems.isEmpty && found.problems.count <= 8)
  }

  @Test func `is told apart from a true one by the same check that tests use`() throws {
    #expect(try DescriptionCheck.problems(of: honestFixture()) == [])
  }
}
