// Page tables of a script: entries that the back end encodes, in frames that nobody else names.
import CPagingKit
import PagingKit

/// Tables by root. A line `page FORMAT ROOT INPUT OUTPUT [ro]` adds what it takes to map one page.
struct ScriptTables {
  private let unit: Unit
  private var nextFrames: [UInt64: UInt64] = [:]

  init(_ unit: Unit) { self.unit = unit }

  /// The words of memory that map a page, given what memory holds now.
  mutating func words(
    format name: String, root: UInt64, input: UInt64, output: UInt64, isReadOnly: Bool, isAbsent: Bool,
    _ load: (UInt64) -> UInt64
  ) throws(CaseProblem) -> [(address: UInt64, word: UInt64)] {
    guard let format = unit.architecture.formatIndex(named: name) else { throw .unsupported("a format \"\(name)\"") }
    let description = unit.architecture.formats[format]
    let levels = UnsafeBufferPointer(start: description.levels, count: description.level_count)
    var words: [(address: UInt64, word: UInt64)] = []
    var table = root
    for level in levels.indices.reversed() {
      let index = input >> UInt64(levels[level].shift) & ((1 << UInt64(levels[level].index_bits)) &- 1)
      let slot = try place(table, index &* UInt64(description.entry_bytes))
      if level == 0 {
        words.append((slot, try entry(format, 0, isAbsent ? PGK_ENTRY_ABSENT : PGK_ENTRY_LEAF, output, isReadOnly)))
        break
      }
      let found = load(slot)
      if found != 0, let next = try? unit.decode(format: format, level: level, found), next.kind == UInt8(PGK_ENTRY_TABLE) {
        table = next.output
        continue
      }
      // Frames behind the root are the tables' own.
      let frame = if let next = nextFrames[root] { next } else { try place(root, Self.frameBytes) }
      nextFrames[root] = try place(frame, Self.frameBytes)
      words.append((slot, try entry(format, level, PGK_ENTRY_TABLE, frame, false)))
      table = frame
    }
    return words
  }

  private static let frameBytes: UInt64 = 0x1000

  private func place(_ table: UInt64, _ offset: UInt64) throws(CaseProblem) -> UInt64 {
    let (sum, isBeyond) = table.addingReportingOverflow(offset)
    if isBeyond { throw .malformed(expected: "a root with room for the tables behind it", found: hex(table)) }
    return sum
  }

  private func entry(_ format: Int, _ level: Int, _ kind: UInt32, _ output: UInt64, _ isReadOnly: Bool) throws(CaseProblem) -> UInt64 {
    var entry = pgk_entry_v1()
    entry.kind = UInt8(kind)
    entry.output = output
    entry.attributes = PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_EXECUTE | PGK_ATTRIBUTE_USER
      | PGK_ATTRIBUTE_ACCESSED | PGK_ATTRIBUTE_DIRTY
    if isReadOnly { entry.attributes &= ~(PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_DIRTY) }
    do { return try unit.encode(format: format, level: level, entry).bits } catch {
      throw .malformed(expected: "a page that the format can map", found: error.message)
    }
  }
}
