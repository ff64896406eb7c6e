import CPagingKit
import PagingKit
import Testing

@testable import Arch_Elbrus

@Suite struct `An Elbrus page-table entry` {
  @Test(arguments: elbrus.formats.indices)
  func `has a name for every bit, exactly once, at every level`(_ index: Int) {
    let format = elbrus.formats[index]
    for layout in UnsafeBufferPointer(start: format.layouts, count: format.layout_count) {
      var seen: UInt64 = 0
      for field in UnsafeBufferPointer(start: layout.fields, count: layout.field_count) {
        let mask = (UInt64.max >> UInt64(63 - field.high + field.low)) << UInt64(field.low)
        #expect(seen & mask == 0, "\(String(cString: field.name)) of \(String(cString: layout.name)) overlaps")
        seen |= mask
      }
      #expect(seen == .max, "\(String(cString: layout.name))")
    }
  }

  @Test func `has the bits of the kernel headers`() {
    #expect([FormatV3.P, FormatV3.W, FormatV3.PWT, FormatV3.CD1, FormatV3.A, FormatV3.D, FormatV3.HUGE, FormatV3.G, FormatV3.CD2, FormatV3.NWA].map(\.low) == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10])
    #expect([FormatV3.VALID, FormatV3.PV, FormatV3.INT_PR, FormatV3.NON_EX, FormatV3.INTL_PR, FormatV3.INTL_WP].map(\.low) == [40, 41, 42, 43, 46, 47])
    #expect([FormatV6.P, FormatV6.W, FormatV6.PV, FormatV6.VALID, FormatV6.INT_PR, FormatV6.A, FormatV6.D, FormatV6.HUGE, FormatV6.G, FormatV6.NWA].map(\.low) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    #expect(FormatV6.NON_EX.low == 63 && FormatV6.MT.mask == 0x7000_0000_0000_0000)
    #expect(FormatGP.MTCR.mask == 0x300)
    #expect(FormatV3.frameMask == 0xff_ffff_f000 && FormatV6.frameMask == 0xffff_ffff_f000)
  }

  @Test func `has a condition word whose fields tile 64 bits`() {
    var seen: UInt64 = 0
    for field in ConditionWord.fields {
      #expect(seen & field.mask == 0, "\(field.name) overlaps")
      seen |= field.mask
    }
    #expect(seen == .max)
  }

  @Test(arguments: elbrus.formats.indices)
  func `comes back from neutral attributes as it was, but for what it cannot express`(_ format: Int) throws {
    let bench = try Bench()
    let outputs: [UInt64] = [0, 0x12_4000_0000, 0xff_c000_0000]
    for level in 0..<3 {
      for attributes in 0..<UInt32(128) {
        for type in 0..<UInt8(5) {
          var entry = pgk_entry_v1()
          entry.kind = UInt8(PGK_ENTRY_LEAF)
          entry.level = UInt8(level)
          entry.output = outputs[Int(attributes % 3)]
          entry.attributes = attributes
          entry.memory_type = type
          let encoded = try bench.unit.encode(format: format, level: level, entry)
          let decoded = try bench.unit.decode(format: format, level: level, encoded.bits)
          #expect(decoded.kind == entry.kind && decoded.output == entry.output)
          #expect((decoded.attributes ^ attributes) & ~encoded.unexpressed == 0)
          #expect(decoded.memory_type == type || encoded.unexpressed & PGK_ATTRIBUTE_MEMORY_TYPE != 0)
        }
      }
    }
  }

  @Test func `that maps nothing is valid but not present, so that no TLB keeps it`() throws {
    let bench = try Bench()
    let absent = pgk_entry_v1()
    #expect(try bench.unit.encode(format: ElbrusFormats.v6.rawValue, level: 0, absent).bits == 1 << 3)
    #expect(try bench.unit.encode(format: ElbrusFormats.v3.rawValue, level: 0, absent).bits == 1 << 40)
    #expect(try bench.unit.encode(format: ElbrusFormats.gp.rawValue, level: 0, absent).bits == 0)
    for format in elbrus.formats.indices {
      #expect(try bench.unit.decode(format: format, level: 0, 0).kind == UInt8(PGK_ENTRY_ABSENT))
    }
    // Present without VALID is refused, not absent.
    #expect(try bench.unit.decode(format: ElbrusFormats.v6.rawValue, level: 0, 1).kind == UInt8(PGK_ENTRY_INVALID))
  }

  @Test func `of a directory takes no right away`() throws {
    let bench = try Bench()
    for format in elbrus.formats.indices {
      var entry = pgk_entry_v1()
      entry.kind = UInt8(PGK_ENTRY_TABLE)
      entry.level = 1
      entry.output = 0x7000
      entry.attributes = PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_EXECUTE | PGK_ATTRIBUTE_USER
      let encoded = try bench.unit.encode(format: format, level: 1, entry)
      let decoded = try bench.unit.decode(format: format, level: 1, encoded.bits)
      #expect(encoded.unexpressed == 0 && decoded.kind == entry.kind && decoded.output == 0x7000 && decoded.attributes == entry.attributes)
    }
  }

  @Test func `is refused where its page or table cannot be`() throws {
    let old = try Bench(iset: 4)
    var leaf = pgk_entry_v1()
    leaf.kind = UInt8(PGK_ENTRY_LEAF)
    let v3 = ElbrusFormats.v3.rawValue
    // 1 GiB before v5, a page at the root, a misaligned page, an address wider than the format.
    #expect(throws: UnitError.self) { try old.unit.encode(format: v3, level: 2, leaf) }
    #expect(throws: UnitError.self) { try old.unit.encode(format: v3, level: 3, leaf) }
    leaf.output = 0x1000
    #expect(throws: UnitError.self) { try old.unit.encode(format: v3, level: 1, leaf) }
    leaf.output = 1 << 40
    #expect(throws: UnitError.self) { try old.unit.encode(format: v3, level: 0, leaf) }
    #expect(try old.unit.encode(format: ElbrusFormats.v6.rawValue, level: 0, leaf).bits & 1 << 40 != 0)
  }
}
