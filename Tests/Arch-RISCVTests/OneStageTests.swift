// satp: the rules of one stage, by hand.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_RISCV

/// A hart with Sv39 on and one mapping under construction.
final class OneStageBench {
  let hart: Hart
  let root: UInt64
  let levels: Int
  let page: UInt64 = 0x8010_0000
  let address: UInt64 = 0x40_1234_5000 & 0x3f_ffff_ffff

  init(levels: Int = 3, xlen: Int = 64, menvcfg: UInt64 = 0, mstatus: UInt64 = 0, _ options: [(String, String)] = []) throws {
    hart = try Hart(xlen: xlen, options)
    self.levels = levels
    root = hart.frames()
    try hart.set([("satp", hart.translation(levels, root: root)), ("menvcfg", menvcfg), ("mstatus", mstatus)])
  }

  @discardableResult
  func map(_ bits: UInt64, level: Int = 0, page: UInt64? = nil, pointer: UInt64 = Bit.v) -> UInt64 {
    hart.put(Hart.leaf(page ?? self.page, bits), at: address, level: level, root: root, levels: levels, pointer: pointer)
  }
}

private let adue: UInt64 = 1 << 61
private let pbmte: UInt64 = 1 << 62
private let sum: UInt64 = 1 << 18
private let mxr: UInt64 = 1 << 19

@Suite struct `One stage of RISC-V` {
  @Test(arguments: [3, 4, 5])
  func `reads one entry for each level`(_ levels: Int) throws {
    let bench = try OneStageBench(levels: levels)
    bench.map(Bit.kernel)
    let answer = try bench.hart.load(bench.address + 0x123)
    #expect(answer == Answer(outcome: "finished", address: bench.page + 0x123, reads: UInt32(levels), pageShift: 12))
  }

  @Test(arguments: [3, 4, 5])
  func `refuses an address that is not sign-extended before the first table is read`(_ levels: Int) throws {
    let bench = try OneStageBench(levels: levels)
    let top = UInt64(12 + 9 * levels - 1)
    let addresses: [UInt64] = [1 << top, 1 << 63, ~((1 << (top + 2)) - 1) & ~(1 << 62)]
    for address in addresses {
      #expect(try bench.hart.load(address) == Answer(outcome: "loadPageFault", address: address))
    }
    #expect(try bench.hart.load(~((UInt64(1) << top) - 1)).reads == 1)
  }

  @Test func `knows every cause by the kind of access`() throws {
    let bench = try OneStageBench()
    let outcomes = [
      PGK_READ: "loadPageFault", PGK_LOAD_LOCKED: "loadPageFault", PGK_FETCH: "instructionPageFault", PGK_WRITE: "storePageFault",
      PGK_MODIFY: "storePageFault", PGK_STORE_CONDITIONAL: "storePageFault",
    ]
    for (kind, outcome) in outcomes { #expect(try bench.hart.perform(kind, bench.address).outcome == outcome) }
  }

  @Test func `refuses a leaf with any of the reserved bits 60 to 54`() throws {
    let bench = try OneStageBench()
    for bit in 54...60 {
      bench.map(Bit.kernel | 1 << UInt64(bit))
      #expect(try bench.hart.load(bench.address).outcome == "loadPageFault")
    }
    bench.map(Bit.kernel | 3 << 8)
    #expect(try bench.hart.load(bench.address).outcome == "finished")
  }

  @Test func `refuses a pointer with A, D, U, N, PBMT or a reserved bit, and ignores G and RSW`() throws {
    for bit in [4, 6, 7, 54, 60, 61, 62, 63] as [UInt64] {
      let bench = try OneStageBench(menvcfg: pbmte)
      bench.map(Bit.kernel, pointer: Bit.v | 1 << bit)
      #expect(try bench.hart.load(bench.address).outcome == "loadPageFault")
    }
    let bench = try OneStageBench()
    bench.map(Bit.kernel, pointer: Bit.v | Bit.g | 3 << 8)
    #expect(try bench.hart.load(bench.address).outcome == "finished")
  }

  @Test func `refuses a pointer in the last table, W without R, and a misaligned superpage`() throws {
    let bench = try OneStageBench()
    for bits in [Bit.v, Bit.v | Bit.w | Bit.a | Bit.d, Bit.v | Bit.w | Bit.x | Bit.a | Bit.d] {
      bench.map(bits)
      #expect(try bench.hart.load(bench.address).outcome == "loadPageFault")
    }
    let superpage = try OneStageBench()
    superpage.map(Bit.kernel, level: 1, page: 0x8010_0000)
    #expect(try superpage.hart.load(superpage.address).outcome == "loadPageFault")
    superpage.map(Bit.kernel, level: 1, page: 0x8020_0000)
    let answer = try superpage.hart.load(superpage.address)
    #expect(answer.address == 0x8020_0000 | superpage.address & 0x1f_ffff && answer.pageShift == 21)
  }

  @Test func `takes memory types only where PBMTE is set, and never type 3`() throws {
    let bench = try OneStageBench()
    bench.map(Bit.kernel | Bit.pbmt(1))
    #expect(try bench.hart.load(bench.address).outcome == "loadPageFault")
    try bench.hart.set([("menvcfg", pbmte)])
    #expect(try bench.hart.load(bench.address).outcome == "finished")
    try bench.hart.unit.reset(PGK_RESET_CACHES)
    bench.map(Bit.kernel | Bit.pbmt(3))
    #expect(try bench.hart.load(bench.address).outcome == "loadPageFault")
  }

  @Test func `takes sixteen contiguous pages as one of 64 KiB`() throws {
    let bench = try OneStageBench()
    bench.map(Bit.kernel | Bit.n, page: 0x8010_8000)
    let answer = try bench.hart.load(bench.address + 8)
    #expect(answer.address == 0x8010_0000 | (bench.address + 8) & 0xffff && answer.pageShift == 16)
    for page in [0x8010_0000, 0x8010_1000, 0x8010_9000, 0x8010_c000] as [UInt64] {
      let other = try OneStageBench()
      other.map(Bit.kernel | Bit.n, page: page)
      #expect(try other.hart.load(other.address).outcome == "loadPageFault")
    }
    let large = try OneStageBench()
    large.map(Bit.kernel | Bit.n, level: 1, page: 0x8000_8000)
    #expect(try large.hart.load(large.address).outcome == "loadPageFault")
    let without = try OneStageBench([("svnapot", "false")])
    without.map(Bit.kernel | Bit.n, page: 0x8010_8000)
    #expect(try without.hart.load(without.address).outcome == "loadPageFault")
  }

  @Test func `lets the supervisor use user pages by SUM, but never fetch from them`() throws {
    let bench = try OneStageBench()
    bench.map(Bit.user)
    #expect(try bench.hart.load(bench.address).outcome == "loadPageFault")
    try bench.hart.set([("mstatus", sum)])
    #expect(try bench.hart.load(bench.address).outcome == "finished")
    #expect(try bench.hart.store(bench.address).outcome == "finished")
    #expect(try bench.hart.fetch(bench.address).outcome == "instructionPageFault")
    #expect(try bench.hart.fetch(bench.address, "U").outcome == "finished")
    let kernel = try OneStageBench(mstatus: sum)
    kernel.map(Bit.kernel)
    #expect(try kernel.hart.load(kernel.address, "U").outcome == "loadPageFault")
  }

  @Test func `makes executable pages readable by MXR, to loads only`() throws {
    let bench = try OneStageBench()
    bench.map(Bit.v | Bit.x | Bit.a | Bit.d)
    #expect(try bench.hart.load(bench.address).outcome == "loadPageFault")
    try bench.hart.set([("mstatus", mxr)])
    #expect(try bench.hart.load(bench.address).outcome == "finished")
    #expect(try bench.hart.perform(PGK_LOAD_LOCKED, bench.address).outcome == "finished")
    #expect(try bench.hart.perform(PGK_MODIFY, bench.address).outcome == "storePageFault")
  }

  @Test func `faults on a clear A or D without Svadu, and writes nothing`() throws {
    let bench = try OneStageBench()
    let slot = bench.map(Bit.v | Bit.r | Bit.w)
    #expect(try bench.hart.load(bench.address).outcome == "loadPageFault")
    let accessed = Hart.leaf(bench.page, Bit.v | Bit.r | Bit.w | Bit.a)
    bench.hart.memory.store(slot, 8, accessed)
    #expect(try bench.hart.load(bench.address).outcome == "finished")
    #expect(try bench.hart.store(bench.address).outcome == "storePageFault")
    #expect(bench.hart.entry(slot) == accessed)
  }

  @Test func `sets A for a load, and D too for a store, where ADUE is set`() throws {
    let bench = try OneStageBench(menvcfg: adue)
    let bits = Bit.v | Bit.r | Bit.w | 1 << 8
    let slot = bench.map(bits)
    #expect(try bench.hart.load(bench.address).outcome == "finished")
    #expect(bench.hart.entry(slot) == Hart.leaf(bench.page, bits | Bit.a))
    #expect(try bench.hart.store(bench.address).outcome == "finished")
    #expect(bench.hart.entry(slot) == Hart.leaf(bench.page, bits | Bit.a | Bit.d))
    #expect(bench.hart.counter("updates") == 2)
  }

  @Test func `does not set the accessed bit when the access faults`() throws {
    let bench = try OneStageBench(menvcfg: adue)
    let slot = bench.map(Bit.v | Bit.r)
    #expect(try bench.hart.store(bench.address).outcome == "storePageFault")
    #expect(try bench.hart.load(bench.address, "U").outcome == "loadPageFault")
    #expect(bench.hart.entry(slot) == Hart.leaf(bench.page, Bit.v | Bit.r))
  }

  @Test func `sets A before it finds that there is no memory, unless the policy says otherwise`() throws {
    for isUpdated in [true, false] {
      let bench = try OneStageBench(menvcfg: adue, [("update-then-fault", "\(isUpdated)")])
      let slot = bench.map(Bit.v | Bit.r, page: 0x1000)
      #expect(try bench.hart.load(bench.address) == Answer(outcome: "loadAccessFault", address: bench.address, reads: 3))
      #expect(bench.hart.entry(slot) == Hart.leaf(0x1000, Bit.v | Bit.r | (isUpdated ? Bit.a : 0)))
    }
  }

  @Test func `raises access faults of the original type where an entry has no memory`() throws {
    let bench = try OneStageBench()
    bench.hart.put(0x1000 >> 2 | Bit.v, at: bench.address, level: 2, root: bench.root, levels: 3)
    #expect(try bench.hart.load(bench.address) == Answer(outcome: "loadAccessFault", address: bench.address, reads: 2, level: 1))
    #expect(try bench.hart.store(bench.address).outcome == "storeAccessFault")
    #expect(try bench.hart.fetch(bench.address).outcome == "instructionAccessFault")
  }

  @Test func `takes physical addresses beyond its width for holes`() throws {
    let bench = try OneStageBench([("pa.bits", "33")])
    bench.map(Bit.kernel, page: TestMemory.high)
    #expect(try bench.hart.load(bench.address).outcome == "loadAccessFault")
    bench.hart.put(TestMemory.high >> 2 | Bit.v, at: bench.address, level: 2, root: bench.root, levels: 3)
    #expect(try bench.hart.load(bench.address).outcome == "loadAccessFault")
  }

  @Test func `does not keep a superpage that is only partly memory, so that its holes stay holes`() throws {
    let hart = try Hart(memory: TestMemory(lowSize: 32 << 20, highSize: 1 << 20))
    let root = hart.frames()
    try hart.set([("satp", hart.translation(3, root: root))])
    hart.put(Hart.leaf(TestMemory.high, Bit.kernel), at: 0, level: 1, root: root, levels: 3)
    #expect(try hart.load(0x1000).address == TestMemory.high + 0x1000)
    #expect(try hart.load(0x18_0000).outcome == "loadAccessFault")
  }

  @Test func `reports the first byte of the second page when an access crosses into it`() throws {
    let bench = try OneStageBench()
    bench.map(Bit.kernel)
    let start = bench.address + 0xffe
    // The walk of the second page begins where the first one's pointers are known.
    #expect(try bench.hart.perform(PGK_WRITE, start) == Answer(outcome: "storePageFault", address: bench.address + 0x1000, reads: 4))
    bench.hart.put(Hart.leaf(0x8030_0000, Bit.kernel), at: bench.address + 0x1000, root: bench.root, levels: 3)
    try bench.hart.unit.reset(PGK_RESET_CACHES)
    let answer = try bench.hart.perform(PGK_WRITE, start)
    #expect(answer == Answer(outcome: "finished", address: bench.page + 0xffe, reads: 4, pageShift: 12))
  }

  @Test func `moves the data of a crossing store to both pages, and of a failing one nowhere`() throws {
    let bench = try OneStageBench()
    bench.map(Bit.kernel)
    var value = pgk_value_v1()
    value.low = 0x1122_3344_5566_7788
    let store = Hart.access(PGK_WRITE, bench.address + 0xffc, "S", size: 8, flags: PGK_HAS_VALUE)
    #expect(try bench.hart.perform(store, value: value).outcome == "storePageFault")
    #expect(bench.hart.memory.load(bench.page + 0xff8, 8) == 0)
    bench.hart.put(Hart.leaf(0x8030_0000, Bit.kernel), at: bench.address + 0x1000, root: bench.root, levels: 3)
    #expect(try bench.hart.perform(store, value: value).outcome == "finished")
    #expect(bench.hart.memory.load(bench.page + 0xff8, 8) == 0x5566_7788_0000_0000)
    #expect(bench.hart.memory.load(0x8030_0000, 8) == 0x1122_3344)
  }

  @Test func `translates M-mode only by MPRV, as MPP, and never its fetches`() throws {
    let bench = try OneStageBench()
    bench.map(Bit.user)
    #expect(try bench.hart.load(bench.page, "M").address == bench.page)
    try bench.hart.set([("mstatus", 1 << 17)])
    #expect(try bench.hart.load(bench.address, "M").address == bench.page)
    #expect(try bench.hart.fetch(bench.page, "M").address == bench.page)
    try bench.hart.set([("mstatus", 1 << 17 | 1 << 11)])
    #expect(try bench.hart.load(bench.address, "M").outcome == "loadPageFault")
    try bench.hart.set([("mstatus", 1 << 17 | 3 << 11)])
    #expect(try bench.hart.load(bench.page, "M").address == bench.page)
  }

  @Test func `leaves addresses alone in Bare mode, where a hole is an access fault`() throws {
    let hart = try Hart()
    #expect(try hart.load(TestMemory.high + 8, "U") == Answer(outcome: "finished", address: TestMemory.high + 8, pageShift: 64))
    #expect(try hart.load(0x1000, "U") == Answer(outcome: "loadAccessFault", address: 0x1000))
    #expect(try hart.load(1 << 60, "S").outcome == "loadAccessFault")
  }

  @Test func `reaches 34-bit addresses from 32 bits with Sv32, in pages of 4 KiB and 4 MiB`() throws {
    let bench = try OneStageBench(levels: 2, xlen: 32)
    let address: UInt64 = 0xffff_e000
    bench.hart.put(Hart.leaf(TestMemory.high + 0x3000, Bit.kernel), at: address, root: bench.root, levels: 2)
    #expect(try bench.hart.load(address + 4) == Answer(outcome: "finished", address: TestMemory.high + 0x3004, reads: 2, pageShift: 12))
    bench.hart.put(Hart.leaf(0x8040_0000, Bit.kernel), at: 0, level: 1, root: bench.root, levels: 2)
    #expect(try bench.hart.load(0x12_3456) == Answer(outcome: "finished", address: 0x8052_3456, reads: 1, level: 1, pageShift: 22))
    // An access at the very end goes on at 0.
    #expect(try bench.hart.perform(PGK_READ, 0xffff_fffe, size: 4).outcome == "loadPageFault")
    #expect(try bench.hart.load(0xffff_f000).address == 0xffff_f000)
  }
}

@Suite struct `Extensions of one stage` {
  private let senvcfg: UInt64 = 8

  @Test func `guard shadow-stack pages against ordinary stores and fetches by access faults`() throws {
    let bench = try OneStageBench(menvcfg: 8, [("zicfiss", "true")])
    try bench.hart.set([("senvcfg", 8)])
    bench.map(Bit.v | Bit.w | Bit.a | Bit.d)
    #expect(try bench.hart.store(bench.address).outcome == "storeAccessFault")
    #expect(try bench.hart.perform(PGK_MODIFY, bench.address).outcome == "storeAccessFault")
    #expect(try bench.hart.fetch(bench.address).outcome == "instructionAccessFault")
    #expect(try bench.hart.load(bench.address).outcome == "finished")
    #expect(try bench.hart.store(bench.address, "S.ss").outcome == "finished")
    #expect(try bench.hart.load(bench.address, "S.ss").outcome == "finished")
    // SSE takes effect at once, also on what is cached.
    try bench.hart.set([("menvcfg", 0)])
    #expect(try bench.hart.load(bench.address).outcome == "loadPageFault")
    #expect(try bench.hart.perform(PGK_MODIFY, bench.address, "S.ss").outcome == "illegalInstruction")
  }

  @Test func `let shadow-stack instructions use no other pages, with a page fault only for read-only ones`() throws {
    let bench = try OneStageBench(menvcfg: 8, [("zicfiss", "true")])
    for (bits, outcome) in [(Bit.r, "storePageFault"), (Bit.r | Bit.w, "storeAccessFault"), (Bit.x, "storeAccessFault"), (Bit.r | Bit.x, "storeAccessFault")] {
      bench.map(Bit.v | Bit.a | Bit.d | bits)
      try bench.hart.unit.reset(PGK_RESET_CACHES)
      #expect(try bench.hart.load(bench.address, "S.ss").outcome == outcome)
    }
    try bench.hart.set([("satp", 0)])
    #expect(try bench.hart.load(bench.page, "S.ss").outcome == "storeAccessFault")
  }

  @Test func `mask pointers by the mode's PMM, for data only, and report the masked address`() throws {
    let bench = try OneStageBench([("ssnpm", "true"), ("smnpm", "true")])
    bench.map(Bit.user)
    try bench.hart.set([("senvcfg", 2 << 32)])
    let tagged = bench.address | 0x54 << 57
    #expect(try bench.hart.load(tagged, "U").address == bench.page)
    #expect(try bench.hart.fetch(tagged, "U").outcome == "instructionPageFault")
    #expect(try bench.hart.load(tagged | 1 << 50, "U").outcome == "loadPageFault")
    try bench.hart.set([("senvcfg", 3 << 32)])
    #expect(try bench.hart.load(tagged | 1 << 50, "U").address == bench.page)
    // Bit 47 is copied up.
    #expect(try bench.hart.load(1 << 47, "U") == Answer(outcome: "loadPageFault", address: 0xffff_8000_0000_0000))
    #expect(try bench.hart.load(tagged, "S") == Answer(outcome: "loadPageFault", address: tagged))
    // MXR turns it off.
    try bench.hart.set([("mstatus", mxr)])
    #expect(try bench.hart.load(tagged, "U").outcome == "loadPageFault")
    // Without translation the masked bits are zeros.
    try bench.hart.set([("mstatus", 0), ("satp", 0)])
    #expect(try bench.hart.load(0xffff << 48 | bench.page, "U").address == bench.page)
  }
}
