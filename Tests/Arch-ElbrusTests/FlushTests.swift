import CPagingKit
import PagingKit
import Testing

@testable import Arch_Elbrus

private let address = Mapped.address
private let page = Mapped.page

@Suite struct `An Elbrus flush` {
  @Test(arguments: Shapes.all)
  func `of a page drops the page in its context, and not the neighbour`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    m.tables.map(address + 0x1000, to: page + 0x1000)
    try m.bench.set([("pid", 5)])
    _ = try (m.bench.read(address), m.bench.read(address + 0x1000))
    m.tables.map(address, to: page + 0x10_0000)
    m.tables.map(address + 0x1000, to: page + 0x20_0000)
    try m.bench.flushPage(address, 6)
    #expect(try m.bench.read(address).address == page)
    try m.bench.flushPage(address, 5)
    #expect(try m.bench.read(address).address == page + 0x10_0000)
    #expect(try m.bench.read(address + 0x1000).address == page + 0x1000)
  }

  @Test(arguments: Shapes.all)
  func `of a page keeps the links above it, so the old table is still walked (18)`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    _ = try m.bench.read(address)
    // Another last table, with another page.
    let other: UInt64 = 0x70_0000
    m.bench.memory.words[other + (address >> 12 & 511) * 8] = page + 0x10_0000 | m.tables.pageBits
    m.tables[address, level: 1] = other | m.tables.directoryBits
    try m.bench.flushPage(address)
    #expect(try m.bench.read(address) == Answer(outcome: "finished", address: page, reads: 1))
  }

  @Test(arguments: 1...3)
  func `of TLU caches drops the link of its level (v6) (18)`(_ level: Int) throws {
    let m = try Mapped(.v6, iset: 6)
    _ = try m.bench.read(address)
    let other = Tables(m.bench.memory, .v6, root: 0x100_0000)
    other.map(address, to: page + 0x10_0000)
    m.tables[address, level: level] = other[address, level: level]
    for wrong in 1...3 where wrong != level {
      try m.bench.flushPage(address)
      try m.bench.flushLinks(address, level: UInt64(wrong))
      #expect(try m.bench.read(address).address == page)
    }
    try m.bench.flushLinks(address, level: UInt64(level))
    #expect(try m.bench.read(address).address == page)
    try m.bench.flushPage(address)
    // Links below the dropped one still lead the old way.
    for lower in 1...3 where lower < level { try m.bench.flushLinks(address, level: UInt64(lower)) }
    #expect(try m.bench.read(address).address == page + 0x10_0000)
  }

  @Test(arguments: [address, 0x23_4567_8000])
  func `of TLU caches with level 0 drops every link on the way`(_ address: UInt64) throws {
    let m = try Mapped(.v6, iset: 6)
    m.tables.map(address, to: page)
    _ = try m.bench.read(address)
    let other = Tables(m.bench.memory, .v6, root: 0x100_0000)
    other.map(address, to: page + 0x10_0000)
    m.tables[address, level: 3] = other[address, level: 3]
    try m.bench.flushLinks(address, level: 0)
    try m.bench.flushPage(address)
    #expect(try m.bench.read(address).address == page + 0x10_0000)
  }

  @Test func `of TLU caches is none before v6`() throws {
    let m = try Mapped(.v3, iset: 5)
    #expect(throws: UnitError.self) { try m.bench.flushLinks(address, level: 1) }
  }

  @Test(arguments: 1...3)
  func `of the table's page in the window drops its link before v6 (18)`(_ level: Int) throws {
    let m = try Mapped(.v3, iset: 4)
    _ = try m.bench.read(address)
    let other = Tables(m.bench.memory, .v3, root: 0x100_0000)
    other.map(address, to: page + 0x10_0000)
    m.tables[address, level: level] = other[address, level: level]
    func flush(_ levels: Int) throws {
      try m.bench.flushPage(address)
      for below in 0..<levels { try m.bench.flushPage(Self.inWindow(address, below + 1)) }
    }
    try flush(level - 1)
    #expect(try m.bench.read(address).address == page)
    try flush(level)
    #expect(try m.bench.read(address).address == page + 0x10_0000)
  }

  /// Where the window shows the entry that an address has at a level (1: in the last table).
  private static func inWindow(_ address: UInt64, _ level: Int) -> UInt64 {
    (0..<level).reduce(address) { inner, _ in 0xff80_0000_0000 | (inner & 0xffff_ffff_f000) >> 9 }
  }

  @Test(arguments: Shapes.all)
  func `of everything drops TLBs, negative entries and links`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    m.tables[address + 0x1000] = 0
    _ = try (m.bench.read(address), m.bench.read(address + 0x1000))
    m.tables[address + 0x1000] = page | m.tables.pageBits
    try m.bench.flushAll()
    #expect(try m.bench.read(address).reads == 4)
    #expect(try m.bench.read(address + 0x1000).outcome == "finished")
  }

  @Test(arguments: Shapes.all)
  func `of a page reaches a large page through any of its addresses`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    let large: UInt64 = 0x2000_0020_0000
    m.tables.map(large, to: 0x4_0060_0000, level: 1)
    _ = try m.bench.read(large)
    m.tables.map(large, to: 0x4_0080_0000, level: 1)
    try m.bench.flushPage(large + 0x12_3000)
    #expect(try m.bench.read(large).address == 0x4_0080_0000)
  }
}

@Suite struct `Contexts of an Elbrus TLB` {
  @Test(arguments: Shapes.all)
  func `keep spaces apart, and share global pages`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    m.tables.map(address + 0x1000, to: page + 0x1000, m.tables.pageBits | Tables.global)
    try m.bench.set([("pid", 1)])
    _ = try (m.bench.read(address), m.bench.read(address + 0x1000))
    try m.bench.set([("pid", 2)])
    #expect(try m.bench.read(address).reads > 0)
    #expect(try m.bench.read(address + 0x1000).reads == 0)
    // A page flush drops a global page whatever the context.
    m.tables.map(address + 0x1000, to: page + 0x5000)
    try m.bench.flushPage(address + 0x1000, 99)
    #expect(try m.bench.read(address + 0x1000).address == page + 0x5000)
  }

  @Test func `keep machines apart, global pages included`() throws {
    let m = try Mapped(.v6, iset: 6)
    m.tables.map(address, to: page, m.tables.pageBits | Tables.global)
    _ = try m.bench.read(address)
    // A guest without GP tables, on the same tables.
    try m.bench.set([("gid", 3), ("sh_core_mode", 0x20), ("sh_mmu_cr", 0x821)])
    #expect(try m.bench.read(address) == Answer(outcome: "finished", address: page, reads: 4))
    try m.bench.set([("gid", 0)])
    #expect(try m.bench.read(address).reads == 0)
  }

  /// The TLB knows spaces by 8191 numbers of its own. Here the last of them is the space of a machine whose global pages
  /// then want one more, and all of them are given anew until the last one is somebody else's.
  @Test func `keep spaces apart when the numbers for them run out amid a load of registers`() throws {
    let m = try Mapped(.v6, iset: 6, [("tlb.l1.sets", "1"), ("tlb.l1.ways", "64")])
    let other = Tables(m.bench.memory, .v6, root: 0x90_0000)
    other.map(address, to: page + 0x7000)
    try m.bench.set([("sh_core_mode", 0x20), ("sh_mmu_cr", 0x821)])
    // A space of the first machine, its global pages and its second stage were the first three numbers.
    for pid in 1...4095 as ClosedRange<UInt64> { try m.bench.set([("pid", pid)]) }
    for pid in 0...4089 as ClosedRange<UInt64> { try m.bench.set([("gid", 1), ("sh_pid", pid)]) }
    try m.bench.set([("gid", 2), ("u_pptb", m.tables.root)])
    #expect(try m.bench.read(address).address == page)
    try m.bench.set([("u_pptb", other.root)])
    for pid in 0...4095 as ClosedRange<UInt64> { try m.bench.set([("gid", 0), ("pid", pid)]) }
    for pid in 0...4095 as ClosedRange<UInt64> {
      try m.bench.set([("gid", 1), ("sh_pid", pid)])
      if pid > 4070 { #expect(try m.bench.read(address).address == page + 0x7000) }
    }
  }
}

@Suite struct `An Elbrus probe` {
  private func entry(_ bench: Bench, _ address: UInt64) throws -> UInt64 {
    try bench.perform([ElbrusUnit.request(.probeEntry, address: address)])
  }
  private func physical(_ bench: Bench, _ address: UInt64) throws -> UInt64 {
    try bench.perform([ElbrusUnit.request(.probeAddress, address: address)])
  }

  @Test(arguments: Shapes.all)
  func `gives the byte's physical address and never faults (19)`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    #expect(try physical(m.bench, address + 0xabc) == page + 0xabc)
    m.tables[address + 0x1000] = 0
    m.tables[address + 0x2000] = m.tables.valid
    #expect(try physical(m.bench, address + 0x1000) == 1 << 62)
    #expect(try physical(m.bench, address + 0x2000) == 1 << 61)
    #expect(m.bench.unit.pending().isEmpty)
  }

  @Test func `of a V6 entry gives attributes in their places (19)`() throws {
    let m = try Mapped(.v6, iset: 6)
    m.tables.map(address, to: page, m.tables.pageBits | 1 << 2 | 1 << 4 | 1 << 8 | 1 << 9 | 4 << 60)
    #expect(try entry(m.bench, address) == page | 0b1111_1110 | 4 << 8 | 4 << 48 | 1 << 51)
    m.tables.map(address + 0x1000, to: page, 1 << 63 | 1 << 3 | 1)
    #expect(try entry(m.bench, address + 0x1000) == page | 1 << 3)
  }

  @Test func `of a V3 entry gives attributes, and the level of a miss`() throws {
    let m = try Mapped(.v3, iset: 3)
    m.tables.map(address, to: page, m.tables.pageBits | 1 << 41 | 1 << 42 | 1 << 43 | 1 << 8 | 1 << 10 | 1 << 3 | 1 << 4 | 1 << 9)
    #expect(try entry(m.bench, address) == page | 0b111_0101_1110 | 1 << 40 | 1 << 41 | 1 << 42)
    for level in 0...2 {
      m.tables[address, level: level] = m.tables.valid
      try m.bench.flushAll()
      #expect(try entry(m.bench, address) == 1 << 61 | UInt64(level) << 59)
    }
  }

  @Test func `sees a negative TLB entry that the tables no longer explain`() throws {
    let m = try Mapped(.v6, iset: 6)
    m.tables[address] &= ~m.tables.valid
    _ = try m.bench.read(address)
    m.tables[address] |= m.tables.valid
    #expect(try entry(m.bench, address) == 1 << 62)
    try m.bench.flushPage(address)
    #expect(try entry(m.bench, address) & ProbeError.mask == 0)
  }

  @Test func `outside of physical memory says so`() throws {
    let memory = SparseMemory()
    memory.end = 0x1000_0000
    let bench = try Bench(memory: memory)
    let tables = Tables(memory, .v6, root: 0x10_0000)
    tables.map(address, to: 0x2000_0000)
    try bench.turnOn(.v6, root: tables.root)
    #expect(try entry(bench, address) == 1 << 63)
  }
}

@Suite struct `Elbrus encoders` {
  private typealias One = @convention(c) (UnsafeMutableRawPointer?, UInt64, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) -> Int32
  private typealias Links = @convention(c) (UnsafeMutableRawPointer?, UInt64, UInt32, UInt32, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) -> Int32

  @Test func `write one special access and perform nothing`() throws {
    let bench = try Bench()
    var access = pgk_access_v1()
    var value = pgk_value_v1()
    let encoder = elbrus.encoders[elbrus.encoderIndex(named: "mmu_reg_read")!]
    let read = unsafeBitCast(encoder.function, to: One.self)
    #expect(read(UnsafeMutableRawPointer(bench.unit.handle), 4, &access, &value) == PGK_OK)
    #expect(access.kind == UInt8(PGK_SPECIAL) && access.address == 0x47 && value.high == 0x40)
    #expect(read(UnsafeMutableRawPointer(bench.unit.handle), 0x7f, &access, &value) == PGK_E_ARGUMENT)
  }

  @Test func `pack a TLU flush as the kernel does`() throws {
    let bench = try Bench()
    var access = pgk_access_v1()
    var value = pgk_value_v1()
    let encoder = elbrus.encoders[elbrus.encoderIndex(named: "tlu_page_flush")!]
    let flush = unsafeBitCast(encoder.function, to: Links.self)
    let unit = UnsafeMutableRawPointer(bench.unit.handle)
    #expect(flush(unit, 0x1234_5678_9abc, 0x123, 2, &access, &value) == PGK_OK)
    #expect(access.address == 0x117 && value.high == 3)
    #expect(value.low == (0x1234_5678_9abc >> 30) << 21 | 0x123 << 50 | 2)
    #expect(flush(unit, 0, 0x1000, 2, &access, &value) == PGK_E_ARGUMENT)
    #expect(flush(unit, 0, 0, 4, &access, &value) == PGK_E_ARGUMENT)
  }
}

@Suite struct `A directory without VALID before v6` {
  @Test(arguments: 1...3)
  func `leaves a negative entry in the window, which a flush of the page alone does not reach`(_ level: Int) throws {
    let m = try Mapped(.v3, iset: 5)
    let good = m.tables[address, level: level]
    m.tables[address, level: level] = good & ~m.tables.valid
    #expect(try m.bench.speculate(address).outcome == "diagnostic")
    m.tables[address, level: level] = good
    try m.bench.flushPage(address)
    let answer = try m.bench.read(address)
    #expect(answer.outcome == "illegal_page" && answer.level == level && answer.reads == 0)
    // Another page below the same directory meets the same entry.
    #expect(try m.bench.read(address ^ 0x4000).outcome == "illegal_page")
    let window = (0..<level).reduce(address) { inner, _ in 0xff80_0000_0000 | (inner & 0xffff_ffff_f000) >> 9 }
    try m.bench.flushPage(window)
    #expect(try m.bench.read(address).address == page)
  }

  @Test func `leaves none from v6 on`() throws {
    let m = try Mapped(.v6, iset: 6)
    let good = m.tables[address, level: 1]
    m.tables[address, level: 1] = good & ~m.tables.valid
    #expect(try m.bench.read(address).outcome == "illegal_page")
    m.tables[address, level: 1] = good
    #expect(try m.bench.read(address).outcome == "illegal_page")
    try m.bench.flushPage(address)
    #expect(try m.bench.read(address).address == page)
  }

  @Test func `is remembered by a saved state`() throws {
    let m = try Mapped(.v3, iset: 5)
    let good = m.tables[address, level: 1]
    m.tables[address, level: 1] = 0
    #expect(try m.bench.read(address).outcome == "illegal_page")
    m.tables[address, level: 1] = good
    let saved = try m.bench.unit.save(PGK_SAVE_CACHES)
    let other = try Bench(iset: 5, memory: m.bench.memory)
    try other.unit.restore(saved)
    #expect(try other.read(address).outcome == "illegal_page")
  }
}
