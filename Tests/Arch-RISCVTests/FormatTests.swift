// Formats as data, and single entries.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_RISCV

@Suite struct `Every RISC-V format` {
  @Test(arguments: 0..<riscv.formats.count)
  func `names every bit of an entry exactly once`(_ index: Int) {
    let format = riscv.formats[index]
    for layout in UnsafeBufferPointer(start: format.layouts, count: format.layout_count) {
      var seen: UInt64 = 0
      for field in UnsafeBufferPointer(start: layout.fields, count: layout.field_count) {
        let mask = Field("", field.high, field.low).mask
        #expect(seen & mask == 0, "\(String(cString: field.name)) overlaps")
        seen |= mask
      }
      #expect(seen == (format.entry_bytes == 4 ? 0xffff_ffff : .max))
    }
  }

  @Test(arguments: 0..<riscv.formats.count)
  func `decodes what it encodes`(_ index: Int) throws {
    let hart = try Hart()
    try hart.set([("menvcfg", 1 << 62)])
    let format = riscv.formats[index]
    var random = SplitMix64(seed: 7)
    for level in 0..<format.level_count {
      for _ in 0..<200 {
        var entry = pgk_entry_v1()
        entry.kind = UInt8(PGK_ENTRY_LEAF)
        entry.level = UInt8(level)
        entry.attributes = UInt32(truncatingIfNeeded: random.next()) & format.attributes & 0x7f
        if format.stage == 2 { entry.attributes |= PGK_ATTRIBUTE_USER }
        if format.entry_bytes == 8 { entry.memory_type = UInt8(random.next(below: 3)) }
        let shift = UInt64(format.levels[level].shift)
        entry.output = random.next() & ((1 << UInt64(format.output_bits)) - 1) & ~((1 << shift) - 1)
        let encoded = try hart.unit.encode(format: index, level: level, entry)
        if encoded.unexpressed & ~PGK_ATTRIBUTE_MEMORY_TYPE != 0 || format.entry_bytes == 8 && encoded.unexpressed != 0 { continue }
        let decoded = try hart.unit.decode(format: index, level: level, encoded.bits)
        #expect(decoded.kind == entry.kind && decoded.output == entry.output && decoded.attributes == entry.attributes)
        #expect(decoded.memory_type == entry.memory_type)
      }
    }
  }

  @Test func `cannot write a page that is writable but not readable, nor one without rights`() throws {
    let hart = try Hart()
    var entry = pgk_entry_v1()
    entry.kind = UInt8(PGK_ENTRY_LEAF)
    entry.attributes = PGK_ATTRIBUTE_WRITE
    let writable = try hart.unit.encode(format: 0, level: 0, entry)
    #expect(writable.bits == Bit.v | Bit.r | Bit.w && writable.unexpressed == PGK_ATTRIBUTE_READ)
    entry.attributes = PGK_ATTRIBUTE_USER
    entry.output = 0x1000
    let none = try hart.unit.encode(format: 0, level: 0, entry)
    #expect(none.bits == 0x400 | Bit.u && none.unexpressed == PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_EXECUTE)
    #expect(try hart.unit.decode(format: 0, level: 0, none.bits).kind == UInt8(PGK_ENTRY_ABSENT))
  }

  @Test func `has memory types only where PBMTE is set`() throws {
    let hart = try Hart()
    var entry = pgk_entry_v1()
    entry.kind = UInt8(PGK_ENTRY_LEAF)
    entry.attributes = PGK_ATTRIBUTE_READ
    entry.memory_type = UInt8(PGK_MEMORY_DEVICE)
    #expect(try hart.unit.encode(format: 0, level: 0, entry).unexpressed == PGK_ATTRIBUTE_MEMORY_TYPE)
    try hart.set([("menvcfg", 1 << 62)])
    #expect(try hart.unit.encode(format: 0, level: 0, entry) == (Bit.v | Bit.r | Bit.pbmt(2), 0))
  }

  @Test func `refuses an output that is misaligned or too wide`() throws {
    let hart = try Hart()
    var entry = pgk_entry_v1()
    entry.kind = UInt8(PGK_ENTRY_LEAF)
    entry.output = 0x1000
    #expect(throws: UnitError.self) { try hart.unit.encode(format: 0, level: 1, entry) }
    entry.output = 1 << 56
    #expect(throws: UnitError.self) { try hart.unit.encode(format: 0, level: 0, entry) }
    entry.kind = UInt8(PGK_ENTRY_TABLE)
    entry.output = 0
    #expect(throws: UnitError.self) { try hart.unit.encode(format: 0, level: 0, entry) }
  }

  @Test func `takes a plain entry for what it is in full`() {
    var random = SplitMix64(seed: 39)
    func check<Format: RISCVFormat>(_ format: Format.Type, _ controls: EntryControls) {
      for _ in 0..<4000 {
        var bits = random.next() & (Format.radix.entryBytes == 4 ? 0xffff_ffff : .max)
        // Mostly entries that could be met: few upper bits, V set, flags set.
        if random.next(below: 4) != 0 { bits &= Format.PPN.mask | 0x3ff }
        if random.next(below: 4) != 0 { bits |= Bit.v }
        if random.next(below: 3) == 0 { bits &= ~(Bit.r | Bit.w | Bit.x | Bit.u | Bit.a | Bit.d) }
        if random.next(below: 3) == 0 { bits |= Bit.r | Bit.a | Bit.d }
        if random.next(below: 2) == 0 { bits &= ~(0x3ffff << 10) }
        let level = Int(random.next(below: UInt64(Format.radix.levelCount)))
        for isWritten in [false, true] {
          let plain = Format.plainStep(Entry(bits), at: level, isWritten: isWritten, controls)
          let full = Format.markedStep(Entry(bits), at: level, isWritten: isWritten, controls)
          #expect("\(plain)" == "\(full)", "0x\(String(bits, radix: 16)) at level \(level)")
        }
      }
    }
    for choice in 0..<16 {
      func has(_ bit: Int) -> Bool { choice >> bit & 1 != 0 }
      let wide = EntryControls.rv64(hasPBMT: has(0), hasNAPOT: has(1), hasShadowStack: has(2), updates: true, addressBits: has(3) ? 56 : 40)
      for format in [Sv39.self, Sv57.self, Sv39x4.self] as [any RISCVFormat.Type] { check(format, wide) }
      check(Sv32.self, .rv32(hasShadowStack: has(2), updates: true, addressBits: has(3) ? 64 : 33))
    }
  }
}
