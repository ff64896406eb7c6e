// Extensions where a guest meets them: pointer masking, shadow stacks, memory types and contiguous pages in two stages.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_RISCV

private let pbmte: UInt64 = 1 << 62
private let masksSeven: UInt64 = 2 << 32
private let masksSixteen: UInt64 = 3 << 32

@Suite struct `Pointer masking of a RISC-V guest` {
  private let tag: UInt64 = 0x55 << 57

  @Test func `is henvcfg's in VS-mode and senvcfg's in VU-mode`() throws {
    let bench = try TwoStageBench(3, 3, [("ssnpm", "true")], leaf: Bit.user, page: Bit.user)
    let tagged = bench.address | tag
    #expect(try bench.hart.load(tagged, "VU") == Answer(outcome: "loadPageFault", address: tagged))
    try bench.hart.set([("senvcfg", masksSeven)])
    #expect(try bench.hart.load(tagged, "VU").address == bench.hostPage)
    try bench.hart.set([("senvcfg", 0), ("henvcfg", masksSeven), ("vsstatus", 1 << 18)])
    #expect(try bench.hart.load(tagged, "VS").address == bench.hostPage)
    #expect(try bench.hart.load(tagged, "VU").outcome == "loadPageFault")
    #expect(try bench.hart.fetch(tagged, "VS").outcome == "instructionPageFault")
    // MXR of either status register turns it off.
    for register in ["vsstatus", "mstatus"] {
      try bench.hart.set([("vsstatus", 1 << 18), ("mstatus", 0)])
      try bench.hart.set([(register, 1 << 19 | 1 << 18)])
      #expect(try bench.hart.load(tagged, "VS").outcome == "loadPageFault")
    }
  }

  @Test func `is hstatus.HUPMM's for HLV and HSV in U-mode as VU-mode, and never HLVX's`() throws {
    let bench = try TwoStageBench(3, 3, [("ssnpm", "true")])
    let tagged = bench.address | tag
    try bench.hart.set([("hstatus", 1 << 9 | 2 << 48)])
    #expect(try bench.hart.load(tagged, "U.hlv").address == bench.hostPage)
    #expect(try bench.hart.store(tagged, "U.hsv").address == bench.hostPage)
    #expect(try bench.hart.load(tagged, "U.hlvx").outcome == "loadPageFault")
    // In HS-mode it is senvcfg's, and as VS-mode always henvcfg's.
    #expect(try bench.hart.load(tagged, "S.hlv").outcome == "loadPageFault")
    try bench.hart.set([("senvcfg", masksSeven)])
    #expect(try bench.hart.load(tagged, "S.hlv").address == bench.hostPage)
    try bench.hart.set([("senvcfg", 0), ("hstatus", 1 << 8 | 1 << 9), ("henvcfg", masksSeven), ("vsstatus", 1 << 18)])
    #expect(try bench.hart.load(tagged, "S.hlv").address == bench.hostPage)
    #expect(try bench.hart.load(tagged, "U.hlv").address == bench.hostPage)
  }

  @Test func `clears the upper bits of a guest physical address where vsatp is bare`() throws {
    let hart = try Hart([("ssnpm", "true")])
    let root = hart.frames(4)
    try hart.set([("hgatp", hart.translation(3, root: root)), ("henvcfg", masksSixteen)])
    hart.put(Hart.leaf(0x8123_4000, Bit.user), at: 0x5000, root: root, levels: 3, isSecond: true)
    #expect(try hart.load(0xffff_0000_0000_5008, "VS").address == 0x8123_4008)
    let fault = try hart.load(0xffff_0000_0000_6008, "VS")
    #expect(fault == Answer(outcome: "loadGuestPageFault", address: 0x6008, gpa: 0x6008, tinst: 0, reads: 3))
  }
}

@Suite struct `Shadow stacks of a RISC-V guest` {
  private func bench(page: UInt64 = Bit.user) throws -> TwoStageBench {
    let bench = try TwoStageBench(3, 3, [("zicfiss", "true")], leaf: Bit.v | Bit.w | Bit.a | Bit.d, page: page)
    try bench.hart.set([("menvcfg", 8), ("henvcfg", 8), ("senvcfg", 8)])
    return bench
  }

  @Test func `need R and W of the second stage, which has no such pages itself`() throws {
    let good = try bench()
    for kind in [PGK_READ, PGK_WRITE, PGK_MODIFY] { #expect(try good.hart.perform(kind, good.address, "VS.ss").address == good.hostPage) }
    let readOnly = try bench(page: Bit.user & ~Bit.w)
    for kind in [PGK_READ, PGK_WRITE, PGK_MODIFY] {
      #expect(try readOnly.hart.perform(kind, readOnly.address, "VS.ss").outcome == "storeGuestPageFault")
    }
    let writeOnly = try bench(page: Bit.user & ~Bit.r & ~Bit.x)
    #expect(try writeOnly.hart.load(writeOnly.address, "VS.ss").outcome == "storeGuestPageFault")
    // Ordinary loads may read them; stores and fetches find them protected.
    #expect(try good.hart.load(good.address, "VS").address == good.hostPage)
    #expect(try good.hart.store(good.address, "VS").outcome == "storeAccessFault")
    #expect(try good.hart.fetch(good.address, "VS").outcome == "instructionAccessFault")
  }

  @Test func `end with henvcfg.SSE: the pages are reserved encodings, and SSAMOSWAP is a virtual instruction`() throws {
    let bench = try bench()
    #expect(try bench.hart.load(bench.address, "VS").outcome == "finished")
    try bench.hart.set([("henvcfg", 0)])
    #expect(try bench.hart.load(bench.address, "VS").outcome == "loadPageFault")
    for mode in ["VS.ss", "VU.ss"] { #expect(try bench.hart.perform(PGK_MODIFY, bench.address, mode).outcome == "virtualInstruction") }
    // menvcfg withholds it from the host as well.
    try bench.hart.set([("menvcfg", 0)])
    for mode in ["VS.ss", "VU.ss", "S.ss", "U.ss"] { #expect(try bench.hart.perform(PGK_MODIFY, bench.address, mode).outcome == "illegalInstruction") }
    // And senvcfg from user modes.
    try bench.hart.set([("menvcfg", 8), ("henvcfg", 8), ("senvcfg", 0)])
    #expect(try bench.hart.perform(PGK_MODIFY, bench.address, "VU.ss").outcome == "virtualInstruction")
    #expect(try bench.hart.perform(PGK_MODIFY, bench.address, "U.ss").outcome == "illegalInstruction")
    #expect(try bench.hart.perform(PGK_MODIFY, bench.address, "VS.ss").outcome == "finished")
  }

  @Test func `push and pop nothing where they are off, so that there is no access to ask about`() throws {
    let hart = try Hart([("zicfiss", "true")])
    for kind in [PGK_READ, PGK_WRITE] {
      #expect { try hart.perform(kind, 0x8000_0000, "S.ss") } throws: { "\($0)".contains("S.ss makes no access of kind") }
    }
  }

  @Test func `do not exist without a first stage`() throws {
    let hart = try Hart([("zicfiss", "true")])
    let root = hart.frames(4)
    try hart.set([("hgatp", hart.translation(3, root: root)), ("menvcfg", 8), ("henvcfg", 8)])
    hart.put(Hart.leaf(0x8123_4000, Bit.user), at: 0x5000, root: root, levels: 3, isSecond: true)
    #expect(try hart.load(0x5000, "VS").outcome == "finished")
    #expect(try hart.store(0x5000, "VS.ss").outcome == "storeAccessFault")
  }
}

@Suite struct `Entries of two RISC-V stages` {
  @Test func `take memory types by henvcfg in the first stage and by menvcfg in the second`() throws {
    let bench = try TwoStageBench(leaf: Bit.user | Bit.pbmt(1))
    #expect(try bench.hart.load(bench.address, "VU").outcome == "loadPageFault")
    // henvcfg has no PBMTE that menvcfg lacks.
    try bench.hart.set([("henvcfg", pbmte)])
    #expect(try bench.hart.load(bench.address, "VU").outcome == "loadPageFault")
    try bench.hart.set([("menvcfg", pbmte)])
    #expect(try bench.hart.load(bench.address, "VU").outcome == "finished")
    let second = try TwoStageBench(page: Bit.user | Bit.pbmt(2))
    #expect(try second.hart.load(second.address, "VU").outcome == "loadGuestPageFault")
    try second.hart.set([("menvcfg", pbmte)])
    #expect(try second.hart.load(second.address, "VU").outcome == "finished")
    try second.hart.unit.reset(PGK_RESET_CACHES)
    second.mapSecond(second.guestPage, second.hostPage, Bit.user | Bit.pbmt(3))
    #expect(try second.hart.load(second.address, "VU").outcome == "loadGuestPageFault")
  }

  @Test func `take sixteen contiguous pages in either stage`() throws {
    let first = try TwoStageBench()
    first.hart.memory.store(first.slots[2], 8, Hart.leaf(0x5678_8000, Bit.user | Bit.n))
    let guestPage = 0x5678_0000 | first.address & 0xffff
    first.mapSecond(guestPage, first.hostPage, Bit.user)
    #expect(try first.hart.load(first.address + 8, "VU") == Answer(outcome: "finished", address: first.hostPage + 8, reads: 15, pageShift: 12))
    let second = try TwoStageBench()
    second.mapSecond(second.guestPage, 0x8123_8000, Bit.user | Bit.n)
    #expect(try second.hart.load(second.address + 8, "VU").address == 0x8123_0000 | second.guestPage & 0xffff | 8)
    second.mapSecond(second.guestPage, 0x8123_4000, Bit.user | Bit.n)
    try second.hart.unit.reset(PGK_RESET_CACHES)
    #expect(try second.hart.load(second.address + 8, "VU").outcome == "loadGuestPageFault")
  }

  @Test func `are refused in either stage with reserved bits`() throws {
    for bit in 54...60 as ClosedRange<UInt64> {
      #expect(try TwoStageBench(leaf: Bit.user | 1 << bit).hart.load(0x12_3456_7000, "VU").outcome == "loadPageFault")
      #expect(try TwoStageBench(page: Bit.user | 1 << bit).hart.load(0x12_3456_7000, "VU").outcome == "loadGuestPageFault")
      let table = try TwoStageBench(table: Bit.user | 1 << bit).hart.load(0x12_3456_7000, "VU")
      #expect(table.outcome == "loadGuestPageFault" && table.tinst == 0x3000)
    }
  }
}
