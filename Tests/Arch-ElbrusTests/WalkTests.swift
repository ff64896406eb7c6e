import CPagingKit
import PagingKit
import Testing

@testable import Arch_Elbrus

private let address = Mapped.address
private let page = Mapped.page

@Suite struct `An Elbrus walk` {
  @Test(arguments: Shapes.all)
  func `reads four entries and gives the byte's address`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    #expect(try m.bench.read(address + 0x123) == Answer(outcome: "finished", address: page + 0x123, reads: 4))
    #expect(try m.bench.read(address + 0x128) == Answer(outcome: "finished", address: page + 0x128, reads: 0))
  }

  @Test(arguments: Shapes.all)
  func `ends at a 2 MiB page from v3 on`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    m.tables.map(0x2000_0020_0000, to: 0x4_0060_0000, level: 1)
    #expect(try m.bench.read(0x2000_003a_bcd0) == Answer(outcome: "finished", address: 0x4_007a_bcd0, reads: 3, level: 1))
  }

  @Test(arguments: Shapes.all)
  func `ends at a 1 GiB page from v5 on, and ignores HUGE there before`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    let big: UInt64 = 0x3000_4000_0000
    m.tables.map(big, to: 0x8_4000_0000, level: 2)
    let answer = try m.bench.read(big + 0x1234_5678)
    if iset >= 5 {
      #expect(answer == Answer(outcome: "finished", address: 0x8_5234_5678, reads: 2, level: 2))
    } else {
      // The frame is taken for a table of zeros.
      #expect(answer.outcome == "illegal_page" && answer.level == 1)
    }
  }

  @Test(arguments: Shapes.all)
  func `ignores HUGE in the root and frame bits below a large page`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    m.tables[address, level: 3] |= Tables.huge
    #expect(try m.bench.read(address).address == page)
    m.tables.map(0x2000_0020_0000, to: 0x4_0060_3000, level: 1)
    #expect(try m.bench.read(0x2000_0020_0010).address == 0x4_0060_0010)
  }

  @Test(arguments: Shapes.all)
  func `takes rights from the leaf alone`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    for level in 1...3 { m.tables[address, level: level] &= ~Tables.writable }
    #expect(try m.bench.write(address).outcome == "finished")
    #expect(try m.bench.fetch(address).outcome == "finished")
  }

  @Test(arguments: Shapes.all)
  func `drops bits above 47 of an address, unless the policy makes them illegal`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    #expect(try m.bench.read(address | 0xabcd << 48).address == page)
    let strict = try Mapped(shape, iset: iset, [("canonical", "illegal")])
    #expect(try strict.bench.read(address | 1 << 48).outcome == "illegal_page")
    #expect(try strict.bench.speculate(address | 1 << 48).outcome == "diagnostic")
    #expect(try strict.bench.read(address).address == page)
  }

  @Test func `takes 40 bits of frame from V3 tables and 48 from V6`() throws {
    let old = try Mapped(.v3, iset: 3)
    old.tables[address] |= 0xff << 48
    #expect(try old.bench.read(address).address == page)
    let new = try Mapped(.v6, iset: 6)
    new.tables.map(address, to: 0x8765_5555_5000)
    #expect(try new.bench.read(address).address == 0x8765_5555_5000)
  }

  @Test func `is left out while MMU_CR.tlb_en is 0: addresses are physical, of the model's width`() throws {
    let old = try Mapped(.v3, iset: 5)
    try old.bench.set([("mmu_cr", 0x820)])
    #expect(try old.bench.read(0x1234_5678_9abc) == Answer(outcome: "finished", address: 0x34_5678_9abc))
    let new = try Mapped(.v6, iset: 6)
    try new.bench.set([("mmu_cr", 0x820)])
    #expect(try new.bench.read(0xf234_5678_9abc).address == 0xf234_5678_9abc)
    #expect(new.bench.unit.regime == elbrus.regimeIndex(named: "bare"))
  }

  @Test func `reports a page outside of physical memory, and a table outside`() throws {
    let memory = SparseMemory()
    memory.end = 0x1000_0000
    let bench = try Bench(memory: memory)
    let tables = Tables(memory, .v6, root: 0x10_0000)
    tables.map(address, to: 0x2000_0000)
    try bench.turnOn(.v6, root: tables.root)
    #expect(try bench.read(address).faultType == 1 << 11)
    tables[address, level: 1] = 0x2000_0000 | tables.directoryBits
    #expect(try bench.read(address).outcome == "ph_bound")
    try bench.set([("mmu_cr", 0)])
    #expect(try bench.read(0x2000_0000).outcome == "ph_bound")
  }

  @Test func `through a table that points to itself ends after four entries`() throws {
    let bench = try Bench()
    let root: UInt64 = 0x10_0000
    for index in 0..<512 as Range<UInt64> { bench.memory.words[root + 8 * index] = root | Tables(bench.memory, .v6, root: root).pageBits }
    try bench.turnOn(.v6, root: root)
    #expect(try bench.read(0x7fff_1234_5678) == Answer(outcome: "finished", address: root + 0x678, reads: 4))
  }
}

@Suite struct `Marks of an Elbrus walk` {
  @Test(arguments: Shapes.all)
  func `are A in every entry read, and D in the leaf of a store`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    for level in 0...3 { m.tables[address, level: level] &= ~(Tables.accessed | Tables.dirty) }
    #expect(try m.bench.read(address).outcome == "finished")
    for level in 0...3 { #expect(m.tables[address, level: level] & 0x60 == Tables.accessed) }
    #expect(try m.bench.write(address) == Answer(outcome: "finished", address: page, reads: 1))
    for level in 1...3 { #expect(m.tables[address, level: level] & 0x60 == Tables.accessed) }
    #expect(m.tables[address] & 0x60 == Tables.accessed | Tables.dirty)
  }

  @Test(arguments: Shapes.all)
  func `are not made when something refuses the access`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    for level in 0...3 { m.tables[address, level: level] &= ~(Tables.accessed | Tables.dirty) }
    m.tables[address] &= ~Tables.writable
    let before = m.bench.memory.words
    #expect(try m.bench.write(address).outcome == "nwrite_page")
    #expect(m.bench.memory.words == before)
  }

  @Test(arguments: Shapes.all)
  func `are left to software by the policy`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset, [("ad_policy", "ignore")])
    for level in 0...3 { m.tables[address, level: level] &= ~(Tables.accessed | Tables.dirty) }
    let before = m.bench.memory.words
    #expect(try m.bench.write(address).outcome == "finished")
    #expect(try m.bench.write(address) == Answer(outcome: "finished", address: page, reads: 0))
    #expect(m.bench.memory.words == before)
  }

  @Test func `by a store through a clean TLB entry need the leaf once more`() throws {
    let m = try Mapped(.v6, iset: 6)
    m.tables[address] &= ~Tables.dirty
    #expect(try m.bench.read(address).reads == 4)
    #expect(try m.bench.read(address).reads == 0)
    #expect(try m.bench.write(address).reads == 1)
    #expect(try m.bench.write(address).reads == 0)
  }
}
