import CPagingKit
import PagingKit
import Testing

@testable import Arch_Elbrus

private let address = Mapped.address
private let page = Mapped.page

@Suite struct `VALID and P of an Elbrus entry` {
  @Test(arguments: Shapes.all, 0...3)
  func `make a page miss where VALID is 1 and P is 0, for speculative loads too, at any level (10)`(_ shape: (Tables.Shape, Int), _ level: Int) throws {
    let m = try Mapped(shape.0, iset: shape.1)
    m.tables[address, level: level] &= ~Tables.present
    for answer in [try m.bench.read(address), try m.bench.write(address), try m.bench.speculate(address)] {
      #expect(answer.outcome == "page_miss" && answer.level == level && answer.faultType == 1 << 10)
    }
    #expect(try m.bench.fetch(address).outcome == "instr_page_miss")
  }

  @Test(arguments: Shapes.all, 0...3)
  func `make an illegal page where VALID is 0, and the diagnostic value of a speculative load (9)`(_ shape: (Tables.Shape, Int), _ level: Int) throws {
    let m = try Mapped(shape.0, iset: shape.1)
    m.tables[address, level: level] &= ~m.tables.valid
    #expect(try m.bench.speculate(address).outcome == "diagnostic")
    for answer in [try m.bench.read(address), try m.bench.write(address)] {
      #expect(answer.outcome == "illegal_page" && answer.level == level && answer.faultType == 1 << 8)
    }
    #expect(try m.bench.speculate(address).outcome == "diagnostic")
    #expect(try m.bench.fetch(address).outcome == "instr_page_miss")
  }

  @Test(arguments: Shapes.all)
  func `keep no TLB entry of a page miss: the page is there as soon as P is (10)`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    m.tables[address] &= ~Tables.present
    #expect(try m.bench.read(address).outcome == "page_miss")
    m.tables[address] |= Tables.present
    #expect(try m.bench.read(address).address == page)
  }

  @Test(arguments: Shapes.all)
  func `keep a negative TLB entry of an illegal page until it is flushed (11)`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    m.tables[address] &= ~m.tables.valid
    #expect(try m.bench.read(address).outcome == "illegal_page")
    m.tables[address] |= m.tables.valid
    #expect(try m.bench.read(address) == Answer(outcome: "illegal_page", address: address, reads: 0, faultType: 1 << 8))
    #expect(try m.bench.speculate(address).outcome == "diagnostic")
    try m.bench.flushPage(address)
    #expect(try m.bench.read(address).address == page)
  }

  @Test(arguments: Shapes.all)
  func `set illegal_page alone where VALID and P are both 0 (12)`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    m.tables[address] = m.tables.privileged
    #expect(try m.bench.write(address).faultType == 1 << 8)
    let other = try Mapped(shape, iset: iset, [("fault_order", "P-V-PV-W-NON_EX")])
    other.tables[address] = 0
    #expect(try other.bench.read(address).outcome == "page_miss")
  }

  @Test func `let only loads be speculative`() throws {
    let m = try Mapped(.v6, iset: 6)
    m.tables[address] &= ~m.tables.valid
    #expect(try m.bench.access(PGK_WRITE, address, speculative: true).outcome == "illegal_page")
  }
}

@Suite struct `Rights of an Elbrus leaf` {
  @Test(arguments: Shapes.all)
  func `let nobody store where W is 0`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    m.tables[address] &= ~Tables.writable
    for who in [Bench.Who.user, .kernel] {
      let answer = try m.bench.write(address, who)
      #expect(answer.outcome == "nwrite_page" && answer.faultType == 1 << 9)
      #expect(try m.bench.read(address, who).outcome == "finished")
      #expect(try m.bench.fetch(address, who).outcome == "finished")
    }
    #expect(try m.bench.access(PGK_MODIFY, address).outcome == "nwrite_page")
  }

  @Test(arguments: Shapes.all)
  func `keep a privileged page from accesses without privilege, and let spill and fill through (14)`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    m.tables[address] |= m.tables.privileged
    let answer = try m.bench.read(address)
    #expect(answer.outcome == "priv_page" && answer.faultType == 1 << 7)
    #expect(try m.bench.write(address).outcome == "priv_page")
    #expect(try m.bench.fetch(address).outcome == "instr_page_prot")
    // Hardware spill and fill are privileged always.
    #expect(try m.bench.write(address, .kernel).outcome == "finished")
    #expect(try m.bench.fetch(address, .kernel).outcome == "finished")
  }

  @Test(arguments: Shapes.all)
  func `let nobody fetch where NON_EX is 1`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    m.tables[address] |= m.tables.nonExecutable
    #expect(try m.bench.fetch(address, .kernel).outcome == "instr_page_prot")
    #expect(try m.bench.read(address).outcome == "finished")
  }

  @Test(arguments: Shapes.all)
  func `are judged again on every hit`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    m.tables[address] = m.tables[address] & ~Tables.writable | m.tables.privileged | m.tables.nonExecutable
    #expect(try m.bench.read(address, .kernel).outcome == "finished")
    #expect(try m.bench.read(address, .user).outcome == "priv_page")
    #expect(try m.bench.write(address, .kernel).outcome == "nwrite_page")
    #expect(try m.bench.fetch(address, .kernel).outcome == "instr_page_prot")
  }

  @Test(arguments: Shapes.all)
  func `are checked PV before W, unless the policy turns it round`(_ shape: Tables.Shape, _ iset: Int) throws {
    for (order, outcome) in [("V-P-PV-W-NON_EX", "priv_page"), ("V-P-W-PV-NON_EX", "nwrite_page")] {
      let m = try Mapped(shape, iset: iset, [("fault_order", order)])
      m.tables[address] = m.tables[address] & ~Tables.writable | m.tables.privileged
      #expect(try m.bench.write(address).outcome == outcome)
    }
  }

  @Test(arguments: Shapes.all)
  func `refuse a wait lock where W is 0, and it sets D where W is 1 (13)`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    m.tables[address] &= ~Tables.dirty
    #expect(try m.bench.load(address, mas: 0).outcome == "finished")
    #expect(m.tables[address] & Tables.dirty == 0)
    #expect(try m.bench.load(address, mas: 7).outcome == "finished")
    #expect(m.tables[address] & Tables.dirty != 0)
    m.tables[address] &= ~Tables.writable
    try m.bench.flushPage(address)
    #expect(try m.bench.load(address, mas: 7).outcome == "nwrite_page")
    // On another channel, or speculative, the same MAS is no lock.
    #expect(try m.bench.load(address, mas: 7, channel: 2).outcome == "finished")
    #expect(try m.bench.load(address, mas: 7, speculative: true).outcome == "finished")
  }

  @Test(arguments: Shapes.all)
  func `refuse the 16-byte wait lock from v5 on`(_ shape: Tables.Shape, _ iset: Int) throws {
    let m = try Mapped(shape, iset: iset)
    m.tables[address] &= ~Tables.writable
    #expect(try m.bench.load(address, mas: 5, size: 4).outcome == (iset >= 5 ? "nwrite_page" : "finished"))
    #expect(try m.bench.load(address, mas: 5, size: 3).outcome == "finished")
  }

  @Test func `do not hold for a physical address, nor for an I/O address on the channels that have it`() throws {
    let m = try Mapped(.v6, iset: 6)
    #expect(try m.bench.load(0x77_0000_0010, mas: 1) == Answer(outcome: "finished", address: 0x77_0000_0010))
    #expect(try m.bench.load(0x77_0000_0010, mas: 6, channel: 1).address == 0x77_0000_0010)
    #expect(try m.bench.load(address, mas: 6, channel: 0).address == page)
    try m.bench.set([("mas", 1)])
    // A fetch has no MAS.
    #expect(try m.bench.fetch(address).address == page)
  }
}

@Suite struct `An Elbrus access that crosses a page` {
  @Test func `reports the second page with num_align, and moves no data before both are there`() throws {
    let m = try Mapped(.v6, iset: 6)
    m.tables[address + 0x1000] = m.tables.valid
    let crossing = address + 0xffc
    var access = pgk_access_v1(address: crossing, kind: UInt8(PGK_WRITE), size_log2: 3, privilege: 0, flags: UInt8(PGK_HAS_VALUE), tag: 9)
    var value = pgk_value_v1()
    value.low = .max
    var result = pgk_result_v1()
    #expect(try m.bench.unit.run(&access, values: &value, results: &result, count: 1) == 1)
    let listed = m.bench.unit.pending()[0]
    #expect(listed.fault_address == address + 0x1000)
    #expect(ConditionWord(bits: listed.words.4)[ConditionWord.num_align] == 1)
    #expect(ConditionWord(bits: listed.words.4)[ConditionWord.store] == 1)
    #expect(m.bench.memory.words[page + 0xff8] == nil)
    // Mapped and replayed, the store happens once, in both pages.
    m.tables.map(address + 0x1000, to: page + 0x8000)
    var replay = pgk_verdict_v1()
    replay.kind = UInt8(PGK_VERDICT_REPLAY)
    #expect(try m.bench.unit.resume([replay]).count == 1)
    #expect(m.bench.memory.words[page + 0xff8] == 0xffff_ffff_0000_0000)
    #expect(m.bench.memory.words[page + 0x8000] == 0xffff_ffff)
  }
}

@Suite struct `Separate roots of an Elbrus memory unit` {
  private func separated(_ base: UInt64) throws -> (Bench, user: Tables, os: Tables) {
    let bench = try Bench()
    let user = Tables(bench.memory, .v6, root: 0x10_0000)
    let os = Tables(bench.memory, .v6, root: 0x20_0000)
    try bench.set([
      ("core_mode", 0x24), ("u_pptb", user.root), ("os_pptb", os.root), ("os_vab", base), ("mmu_cr", 0x821),
    ])
    return (bench, user, os)
  }

  @Test func `split at OS_VAB: just below from U_PPTB, at it from OS_PPTB (16)`() throws {
    let (bench, user, os) = try separated(0xd000_0000_0000)
    for tables in [user, os] {
      tables.map(0xcfff_ffff_f000, to: tables.root << 8 | 0x1000)
      tables.map(0xd000_0000_0000, to: tables.root << 8 | 0x2000)
    }
    #expect(try bench.read(0xcfff_ffff_fff8).address == user.root << 8 | 0x1ff8)
    #expect(try bench.read(0xd000_0000_0000).address == os.root << 8 | 0x2000)
    #expect(bench.unit.regime == elbrus.regimeIndex(named: "v6-separate"))
  }

  @Test func `keep bits 47:44 of OS_VAB (17)`() throws {
    let (bench, user, os) = try separated(0xd765_4321_0fff)
    #expect(try bench.register("os_vab") == 0xd000_0000_0000)
    user.map(0xd000_0000_0000, to: 0x1000)
    os.map(0xd000_0000_0000, to: 0x2000)
    #expect(try bench.read(0xd000_0000_0000).address == 0x2000)
  }

  @Test func `give everything to the OS while OS_VAB is 0`() throws {
    let (bench, _, os) = try separated(0)
    os.map(0, to: 0x7000)
    #expect(try bench.read(8).address == 0x7008)
  }
}

@Suite struct `Registers of an Elbrus memory unit` {
  @Test func `keep the bits that they have`() throws {
    let new = try Bench(iset: 6)
    try new.set([("u_pptb", 0xffff_1234_5678_9abc), ("pid", 0xf123), ("trap_point", 0x12_3456_7fff), ("trap_count", 0xff), ("core_mode", 0xff)])
    #expect(try new.register("u_pptb") == 0x1234_5678_9000)
    #expect(try new.register("pid") == 0x123)
    #expect(try new.register("trap_point") == 0x12_3456_7c00)
    #expect(try new.register("trap_count") == 0x3f)
    #expect(try new.register("core_mode") == 0x7e)
    let old = try Bench(iset: 3)
    try old.set([("u_pptb", 0x1234_5678_9abc), ("trap_point", 0x12_3456_7fff)])
    #expect(try old.register("u_pptb") == 0x34_5678_9000)
    #expect(try old.register("trap_point") == 0x12_3456_7e00)
  }

  @Test func `of later revisions are refused by earlier ones`() throws {
    let old = try Bench(iset: 5)
    #expect(throws: UnitError.self) { try old.set([("os_vab", 0x1000_0000_0000)]) }
    #expect(throws: UnitError.self) { try old.set([("core_mode", 0x20)]) }
    #expect(throws: UnitError.self) { try old.set([("gid", 1)]) }
    #expect(throws: UnitError.self) { try old.perform([ElbrusUnit.write(RegisterIndex.osRoot, 0x1000)]) }
  }

  @Test func `are read and written by number, which is their address over 16`() throws {
    let bench = try Bench()
    try bench.perform([ElbrusUnit.request(.writeRegister, data: 0x5fff, address: 0x4 << 4)])
    #expect(try bench.register("u_pptb") == 0x5000)
    #expect(try bench.perform([ElbrusUnit.request(.readRegister, address: 0x4 << 4)]) == 0x5000)
    #expect(throws: UnitError.self) { try bench.perform([ElbrusUnit.request(.readRegister, address: 0x7f << 4)]) }
  }

  @Test func `of a guest stand in for MMU_CR, PID, CORE_MODE and the OS root`() throws {
    let bench = try Bench()
    try bench.set([("gid", 5)])
    try bench.perform([
      ElbrusUnit.write(RegisterIndex.pid, 7), ElbrusUnit.write(RegisterIndex.osRoot, 0x9000), ElbrusUnit.write(RegisterIndex.coreMode, 0x24),
    ])
    #expect(try bench.register("sh_pid") == 7 && bench.register("pid") == 0)
    #expect(try bench.register("sh_os_pptb") == 0x9000 && bench.register("os_pptb") == 0)
    #expect(try bench.register("sh_core_mode") == 0x24 && bench.register("core_mode") == 0)
    #expect(try bench.perform([ElbrusUnit.request(.readRegister, address: 1 << 4)]) == 7)
  }
}
