// Formats as data, and single entries.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_x86

@Suite struct `Every x86 format` {
  @Test(arguments: 0..<x86.formats.count)
  func `names every bit of an entry exactly once`(_ index: Int) {
    let format = x86.formats[index]
    for layout in UnsafeBufferPointer(start: format.layouts, count: format.layout_count) {
      var seen: UInt64 = 0
      for field in UnsafeBufferPointer(start: layout.fields, count: layout.field_count) {
        let mask = Field("", field.high, field.low).mask
        #expect(seen & mask == 0, "\(String(cString: layout.name)): \(String(cString: field.name)) overlaps")
        seen |= mask
      }
      #expect(seen == (format.entry_bytes == 4 ? 0xffff_ffff : .max), "\(String(cString: layout.name))")
    }
  }

  @Test(arguments: 0..<x86.formats.count)
  func `has a layout for each kind of entry that each level can hold`(_ index: Int) {
    let format = x86.formats[index]
    for level in 0..<format.level_count {
      for kind in [PGK_ENTRY_TABLE, PGK_ENTRY_LEAF] {
        let expected = kind == PGK_ENTRY_TABLE ? level > 0 : format.levels[level].leaf == 1
        let found = UnsafeBufferPointer(start: format.layouts, count: format.layout_count).count { $0.kind == kind && $0.level_mask >> UInt32(level) & 1 == 1 }
        #expect(found == (expected ? 1 : 0), "level \(level), kind \(kind)")
      }
    }
  }

  /// A unit in whose registers every format has all its features.
  private func unit(of format: pgk_format_v1) throws -> Unit {
    let name = String(cString: format.name)
    if name.hasPrefix("ept") { return try Desk(.fourLevel, under: name == "ept5" ? .ept5 : .ept4, [("maxphyaddr", "52")]).processor.unit }
    let kinds: [String: TableKind] = ["2level": .twoLevel, "pae": .pae, "4level": .fourLevel, "5level": .fiveLevel]
    if name.hasPrefix("npt-") { return try Desk(.fourLevel, under: kinds[String(name.dropFirst(4))]!, [("maxphyaddr", "52")]).processor.unit }
    return try Desk(kinds[name]!, [("maxphyaddr", "52")], cr4: CR.PSE | CR.PGE).processor.unit
  }

  @Test(arguments: 0..<x86.formats.count)
  func `decodes what it encodes`(_ index: Int) throws {
    let format = x86.formats[index]
    let unit = try unit(of: format)
    var random = SplitMix64(seed: 7)
    var count = 0
    for level in 0..<Int(format.level_count) {
      for kind in [PGK_ENTRY_TABLE, PGK_ENTRY_LEAF] where kind == PGK_ENTRY_TABLE ? level > 0 : format.levels[level].leaf == 1 {
        for _ in 0..<300 {
          var entry = pgk_entry_v1()
          entry.kind = UInt8(kind)
          entry.level = UInt8(level)
          entry.attributes = UInt32(truncatingIfNeeded: random.next()) & format.attributes & 0x7f
          if kind == PGK_ENTRY_TABLE { entry.attributes &= ~(PGK_ATTRIBUTE_GLOBAL | PGK_ATTRIBUTE_DIRTY) }
          let isPointer = kind == PGK_ENTRY_TABLE && String(cString: format.name).hasSuffix("pae") && level == 2
          if isPointer { entry.attributes = PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_EXECUTE | PGK_ATTRIBUTE_USER }
          // What every entry of the format has.
          if String(cString: format.name).hasPrefix("ept") { entry.attributes |= PGK_ATTRIBUTE_USER }
          if format.entry_bytes == 4 { entry.attributes |= PGK_ATTRIBUTE_EXECUTE }
          if kind == PGK_ENTRY_LEAF {
            entry.memory_type = UInt8(random.next(below: 5))
            if format.attributes & PGK_ATTRIBUTE_KEY != 0 { entry.key = UInt8(random.next(below: 16)) }
          }
          let isNarrow = format.entry_bytes == 4 && (kind == PGK_ENTRY_TABLE || level == 0)
          let shift = kind == PGK_ENTRY_LEAF ? UInt64(format.levels[level].shift) : 12
          entry.output = random.next() & (1 << UInt64(isNarrow ? 32 : format.output_bits) - 1) & ~(1 << shift - 1)
          let encoded = try unit.encode(format: index, level: level, entry)
          if encoded.unexpressed != 0 { continue }
          count += 1
          let decoded = try unit.decode(format: index, level: level, encoded.bits)
          #expect(decoded.kind == entry.kind && decoded.output == entry.output && decoded.attributes == entry.attributes, "\(entry) as \(hex(encoded.bits)) is \(decoded)")
          #expect(decoded.memory_type == entry.memory_type && decoded.key == entry.key, "\(entry) is \(decoded)")
        }
      }
    }
    #expect(count > 100)
  }

  @Test func `says what it cannot express`() throws {
    let legacy = try unit(of: x86.formats[0])
    var entry = pgk_entry_v1()
    entry.kind = UInt8(PGK_ENTRY_LEAF)
    entry.key = 3
    let two = try legacy.encode(format: 0, level: 0, entry)
    #expect(two.bits == 1 && two.unexpressed == PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_EXECUTE | PGK_ATTRIBUTE_KEY)
    let index = x86.formatIndex(named: "ept4")!
    let ept = try unit(of: x86.formats[index])
    entry.key = 0
    entry.attributes = PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_USER
    let writable = try ept.encode(format: index, level: 0, entry)
    #expect(writable.unexpressed == PGK_ATTRIBUTE_READ && writable.bits & 7 == 3)
  }

  @Test func `refuses what does not fit`() throws {
    let index = x86.formatIndex(named: "4level")!
    let unit = try Desk(.fourLevel).processor.unit
    var entry = pgk_entry_v1()
    entry.kind = UInt8(PGK_ENTRY_LEAF)
    entry.attributes = PGK_ATTRIBUTE_READ
    entry.output = 0x1000
    #expect(throws: UnitError.self) { try unit.encode(format: index, level: 1, entry) }
    entry.output = 1 << 40
    #expect(throws: UnitError.self) { try unit.encode(format: index, level: 0, entry) }
    entry.output = 0
    #expect(throws: UnitError.self) { try unit.encode(format: index, level: 3, entry) }
    entry.kind = UInt8(PGK_ENTRY_TABLE)
    #expect(throws: UnitError.self) { try unit.encode(format: index, level: 0, entry) }
  }

  @Test func `has no large pages where the feature, or its control bit, is off`() throws {
    var entry = pgk_entry_v1()
    entry.kind = UInt8(PGK_ENTRY_LEAF)
    entry.attributes = PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_EXECUTE
    func refuses(_ format: String, _ level: Int, _ unit: Unit) -> Bool { (try? unit.encode(format: x86.formatIndex(named: format)!, level: level, entry)) == nil }
    #expect(try refuses("2level", 1, Desk(.twoLevel).processor.unit) && !refuses("2level", 1, Desk(.twoLevel, cr4: CR.PSE).processor.unit))
    let small = try Desk(.fourLevel, [("page1gb", "false")]).processor.unit
    #expect(refuses("4level", 2, small) && !refuses("4level", 1, small))
    let ept = try Desk(.fourLevel, under: .ept4, [("ept.page_2m", "false"), ("ept.page_1g", "false")]).processor.unit
    #expect(refuses("ept4", 1, ept) && refuses("ept4", 2, ept) && !refuses("ept4", 0, ept) && !refuses("4level", 1, ept))
  }

  @Test func `decodes an entry with a reserved bit as invalid, and one that is not present as absent`() throws {
    let index = x86.formatIndex(named: "4level")!
    let unit = try Desk(.fourLevel).processor.unit
    #expect(try unit.decode(format: index, level: 0, ~1).kind == UInt8(PGK_ENTRY_ABSENT))
    #expect(try unit.decode(format: index, level: 0, 1 << 40 | 1).kind == UInt8(PGK_ENTRY_INVALID))
    #expect(try unit.decode(format: index, level: 3, 0x81).kind == UInt8(PGK_ENTRY_INVALID))
  }
}
