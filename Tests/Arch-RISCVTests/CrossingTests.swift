// Accesses that cross a page, and atomics: one access, one outcome.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_RISCV

@Suite struct `An access that crosses a RISC-V page` {
  private static let kinds: [(UInt32, String)] = [
    (PGK_READ, "loadPageFault"), (PGK_WRITE, "storePageFault"), (PGK_FETCH, "instructionPageFault"), (PGK_LOAD_LOCKED, "loadPageFault"),
    (PGK_MODIFY, "storePageFault"), (PGK_STORE_CONDITIONAL, "storePageFault"),
  ]

  @Test(arguments: [2, 4, 8, 16] as [UInt64], kinds)
  func `reports in stval the first byte on the page that faults`(_ size: UInt64, _ kind: (UInt32, String)) throws {
    for before in 1..<size {
      let bench = try OneStageBench()
      let start = bench.address + 0x1000 - before
      // Both pages are missing: the first byte counts.
      #expect(try bench.hart.perform(kind.0, start, size: size) == Answer(outcome: kind.1, address: start, reads: 1, level: 2))
      bench.map(Bit.kernel)
      let second = try bench.hart.perform(kind.0, start, size: size)
      #expect(second.outcome == kind.1 && second.address == bench.address + 0x1000)
      bench.hart.put(Hart.leaf(0x8030_0000, Bit.kernel), at: bench.address + 0x1000, root: bench.root, levels: 3)
      let references = bench.hart.counter("references")
      let both = try bench.hart.perform(kind.0, start, size: size)
      #expect(both.outcome == "finished" && both.address == bench.page + 0x1000 - before)
      #expect(bench.hart.counter("references") == references + 2)
    }
  }

  @Test func `reports the page's first byte after masking, and where sign extension ends`() throws {
    let bench = try OneStageBench(mstatus: 0, [("ssnpm", "true")])
    try bench.hart.set([("senvcfg", 2 << 32)])
    bench.map(Bit.user)
    let tagged = (bench.address + 0xffc) | 0x2a << 57
    #expect(try bench.hart.perform(PGK_READ, tagged, "U", size: 8) == Answer(outcome: "loadPageFault", address: bench.address + 0x1000, reads: 4))
    // The last page of the lower half is followed by an address that is none.
    bench.hart.put(Hart.leaf(bench.page, Bit.user), at: 0x3f_ffff_f000, root: bench.root, levels: 3)
    let last = try bench.hart.perform(PGK_WRITE, 0x3f_ffff_fffe, "U", size: 4)
    #expect(last.outcome == "storePageFault" && last.address == 0x40_0000_0000)
  }

  @Test func `meets holes part by part`() throws {
    let bench = try OneStageBench()
    bench.map(Bit.kernel)
    bench.hart.put(Hart.leaf(0x1000, Bit.kernel), at: bench.address + 0x1000, root: bench.root, levels: 3)
    let answer = try bench.hart.perform(PGK_FETCH, bench.address + 0xffe, size: 4)
    #expect(answer.outcome == "instructionAccessFault" && answer.address == bench.address + 0x1000)
    bench.map(Bit.kernel, page: 0x2000)
    try bench.hart.unit.reset(PGK_RESET_CACHES)
    #expect(try bench.hart.perform(PGK_READ, bench.address + 0xffe, size: 16).address == bench.address + 0xffe)
  }

  @Test func `reports the guest page of the part that faulted in two stages`() throws {
    let bench = try TwoStageBench()
    // The next page of the guest is mapped to a page that the second stage does not know.
    bench.hart.memory.store(bench.slots[2] + 8, 8, Hart.leaf(0x7000_0000, Bit.user))
    let answer = try bench.hart.perform(PGK_WRITE, bench.address + 0xffd, "VU", size: 8)
    #expect(answer.outcome == "storeGuestPageFault" && answer.address == bench.address + 0x1000 && answer.gpa == 0x7000_0000)
  }
}

@Suite struct `An atomic of RISC-V` {
  @Test func `has one outcome, and the cause of a store unless it is LR`() throws {
    let causes: [(UInt32, String)] = [(PGK_MODIFY, "store"), (PGK_STORE_CONDITIONAL, "store"), (PGK_LOAD_LOCKED, "load")]
    for (kind, word) in causes {
      #expect(try TwoStageBench(leaf: 0).hart.perform(kind, 0x12_3456_7000, "VU").outcome == word + "PageFault")
      let final = try TwoStageBench(page: 0)
      #expect(try final.hart.perform(kind, final.address + 8, "VU") == Answer(outcome: word + "GuestPageFault", address: final.address + 8, gpa: final.guestPage + 8, tinst: 0, reads: 15))
      let table = try TwoStageBench(table: 0)
      #expect(try table.hart.perform(kind, table.address, "VU").outcome == word + "GuestPageFault")
      let hole = try TwoStageBench()
      hole.mapSecond(hole.guestPage, 0x1000, Bit.user)
      #expect(try hole.hart.perform(kind, hole.address, "VU").outcome == word + "AccessFault")
    }
  }

  @Test func `needs W for AMO and SC in both stages, R for LR, and sets D as a store`() throws {
    let readOnly = Bit.user & ~Bit.w & ~Bit.x
    for kind in [PGK_MODIFY, PGK_STORE_CONDITIONAL] {
      #expect(try TwoStageBench(leaf: readOnly).hart.perform(kind, 0x12_3456_7000, "VU").outcome == "storePageFault")
      #expect(try TwoStageBench(page: readOnly).hart.perform(kind, 0x12_3456_7000, "VU").outcome == "storeGuestPageFault")
      let bench = try OneStageBench(menvcfg: 1 << 61)
      let slot = bench.map(Bit.v | Bit.r | Bit.w)
      #expect(try bench.hart.perform(kind, bench.address).outcome == "finished")
      #expect(bench.hart.entry(slot) & (Bit.a | Bit.d) == Bit.a | Bit.d)
    }
    #expect(try TwoStageBench(leaf: readOnly, page: readOnly).hart.perform(PGK_LOAD_LOCKED, 0x12_3456_7000, "VU").outcome == "finished")
    let bench = try OneStageBench(menvcfg: 1 << 61)
    let slot = bench.map(Bit.v | Bit.r | Bit.w)
    #expect(try bench.hart.perform(PGK_LOAD_LOCKED, bench.address).outcome == "finished")
    #expect(bench.hart.entry(slot) & (Bit.a | Bit.d) == Bit.a)
  }

  /// Moves eight bytes at an address.
  private func move(_ bench: OneStageBench, _ kind: UInt32, _ low: UInt64 = 0, at offset: UInt64 = 0) throws -> UInt64 {
    var access = Hart.access(kind, bench.address + offset, "S", size: 8, flags: PGK_HAS_VALUE)
    var value = pgk_value_v1()
    value.low = low
    var result = pgk_result_v1()
    #expect(try bench.hart.unit.run(&access, values: &value, results: &result, count: 1) == 1)
    #expect(UInt32(result.outcome) == PGK_OUTCOME_FINISHED)
    return value.low
  }

  @Test func `stores by SC only what LR has reserved and nobody has stored to since`() throws {
    let bench = try OneStageBench()
    bench.map(Bit.kernel, page: 0x8070_0000)
    #expect(try move(bench, PGK_MODIFY, 7) == 0)
    #expect(try move(bench, PGK_STORE_CONDITIONAL, 8) == 1)
    #expect(try move(bench, PGK_LOAD_LOCKED) == 7)
    #expect(try move(bench, PGK_STORE_CONDITIONAL, 8) == 0)
    #expect(try move(bench, PGK_STORE_CONDITIONAL, 9) == 1)
    #expect(try move(bench, PGK_LOAD_LOCKED) == 8)
    _ = try move(bench, PGK_WRITE, 10)
    #expect(try move(bench, PGK_STORE_CONDITIONAL, 11) == 1)
    #expect(try move(bench, PGK_READ) == 10)
  }
}
