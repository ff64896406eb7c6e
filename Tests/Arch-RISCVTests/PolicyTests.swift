// What the manual leaves open: the order of stages, and flags set for an access that then fails.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_RISCV

private let adue: UInt64 = 1 << 61
private let without: [(String, String)] = [("pwc.level1.ways", "0"), ("pwc.level2.ways", "0"), ("pwc.level3.ways", "0"), ("tlb.l1.ways", "0"), ("tlb.l2.ways", "0")]

@Suite struct `Policies of RISC-V` {
  @Test func `check the first-stage leaf before the second stage is asked for the address, or after, by policy`() throws {
    for (order, outcome) in [("after", "loadPageFault"), ("before", "loadGuestPageFault")] {
      let bench = try TwoStageBench(3, 3, [("stage-order", order)], leaf: Bit.kernel, page: 0)
      #expect(try bench.hart.load(bench.address, "VU").outcome == outcome)
    }
  }

  @Test func `keep first-stage flags that were set before the second stage refused, by policy`() throws {
    for isUpdated in [true, false] {
      let clean = Bit.v | Bit.r | Bit.w | Bit.u
      let bench = try TwoStageBench(
        3, 3, [("update-then-fault", "\(isUpdated)")], registers: [("menvcfg", adue), ("henvcfg", adue)], leaf: clean, page: 0)
      #expect(try bench.hart.store(bench.address, "VU").outcome == "storeGuestPageFault")
      #expect(bench.hart.entry(bench.slots[2]) & (Bit.a | Bit.d) == (isUpdated ? Bit.a | Bit.d : 0))
    }
  }

  @Test(arguments: ["after", "before"], [true, false])
  func `ask the second stage once for each address, whatever the policies`(_ order: String, _ updates: Bool) throws {
    let policies = [("stage-order", order), ("update-then-fault", "\(updates)")]
    let plain = try TwoStageBench(3, 3, without + policies)
    #expect(try plain.hart.load(plain.address, "VU") == Answer(outcome: "finished", address: plain.hostPage, reads: 15, pageShift: 12))
    // A flag to be set in the first stage asks once more, for writing its entry.
    let clean = Bit.v | Bit.r | Bit.w | Bit.u
    let bench = try TwoStageBench(3, 3, without + policies, registers: [("menvcfg", adue), ("henvcfg", adue)], leaf: clean, table: clean, page: clean)
    #expect(try bench.hart.store(bench.address, "VU").reads == 18)
    #expect(bench.hart.counter("entryReads") == 18 && bench.hart.counter("secondStageReads") == 15)
    // Three pages of tables are read, one of them written; the entry; the page itself.
    #expect(bench.hart.counter("updates") == 6)
    #expect(bench.hart.entry(bench.slots[2]) == Hart.leaf(bench.guestPage, clean | Bit.a | Bit.d))
  }

  @Test(arguments: ["after", "before"])
  func `set nothing for an access that finds no memory where flags wait for its success, but A of the tables it read`(_ order: String) throws {
    let clean = Bit.v | Bit.r | Bit.w | Bit.u
    let bench = try TwoStageBench(
      3, 3, without + [("stage-order", order), ("update-then-fault", "false")], registers: [("menvcfg", adue), ("henvcfg", adue)], leaf: clean, table: clean)
    let tables = (0..<3).map { bench.mapSecond(bench.guestSlots[$0] & ~0xfff, bench.slots[$0] & ~0xfff, clean) }
    let page = bench.mapSecond(bench.guestPage, 0x1000, clean)
    #expect(try bench.hart.store(bench.address, "VU") == Answer(outcome: "storeAccessFault", address: bench.address, reads: 18))
    #expect(tables.map { bench.hart.entry($0) & (Bit.a | Bit.d) } == [Bit.a, Bit.a, Bit.a])
    #expect(bench.hart.entry(page) & (Bit.a | Bit.d) == 0 && bench.hart.entry(bench.slots[2]) & (Bit.a | Bit.d) == 0)
  }

  @Test(arguments: ["after", "before"])
  func `set flags that waited in one second-stage leaf that maps both the table and the page`(_ order: String) throws {
    let clean = Bit.v | Bit.r | Bit.w | Bit.u
    let hart = try Hart([("stage-order", order), ("update-then-fault", "false")])
    let (root, table) = (hart.frames(4), hart.frames(512))
    let second = hart.put(Hart.leaf(table, clean), at: 0x4000_0000, level: 1, root: root, levels: 3, isSecond: true)
    hart.memory.store(table, 8, Hart.leaf(0x4000_1000, Bit.v))
    hart.memory.store(table + 0x1000, 8, Hart.leaf(0x4000_2000, Bit.v))
    hart.memory.store(table + 0x2000, 8, Hart.leaf(0x4000_3000, clean))
    try hart.set([
      ("vsatp", hart.translation(3, root: 0x4000_0000)), ("hgatp", hart.translation(3, root: root)), ("menvcfg", adue), ("henvcfg", adue),
    ])
    #expect(try hart.store(8, "VU").address == table + 0x3008)
    #expect(hart.entry(second) == Hart.leaf(table, clean | Bit.a | Bit.d))
    #expect(hart.entry(table + 0x2000) == Hart.leaf(0x4000_3000, clean | Bit.a | Bit.d))
  }

  @Test func `set a waiting flag later, if the access that asked first was refused and a nested TLB could know the page`() throws {
    let clean = Bit.v | Bit.r | Bit.w | Bit.u
    func bench(_ order: String, leaf: UInt64, page: UInt64) throws -> TwoStageBench {
      try TwoStageBench(
        3, 3, [("stage-order", order), ("update-then-fault", "false"), ("tlb.nested.ways", "16")],
        registers: [("menvcfg", adue), ("henvcfg", adue)], leaf: leaf, table: clean, page: page)
    }
    // The second stage is asked first, and then the first one refuses the supervisor.
    let before = try bench("before", leaf: Bit.user, page: clean)
    let page = before.mapSecond(before.guestPage, before.hostPage, clean)
    #expect(try before.hart.store(before.address, "VS").outcome == "storePageFault")
    #expect(before.hart.entry(page) & (Bit.a | Bit.d) == 0)
    #expect(try before.hart.store(before.address, "VU").outcome == "finished")
    #expect(before.hart.entry(page) & (Bit.a | Bit.d) == Bit.a | Bit.d)
    // The page of the entry is asked for the update, and then the second stage refuses the access itself.
    let after = try bench("after", leaf: clean, page: Bit.user & ~Bit.x)
    let table = after.mapSecond(after.guestSlots[2] & ~0xfff, after.slots[2] & ~0xfff, clean)
    #expect(try after.hart.fetch(after.address, "VU").outcome == "instructionPageFault")
    after.setLeaf(clean | Bit.x)
    #expect(try after.hart.fetch(after.address, "VU").outcome == "instructionGuestPageFault")
    #expect(after.hart.entry(table) & (Bit.a | Bit.d) == Bit.a)
    #expect(try after.hart.load(after.address, "VU").outcome == "finished")
    #expect(after.hart.entry(table) & (Bit.a | Bit.d) == Bit.a | Bit.d)
  }
}
