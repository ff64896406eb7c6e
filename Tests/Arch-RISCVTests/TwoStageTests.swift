// vsatp over hgatp: the rules of two stages, by hand.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_RISCV

/// A guest: its tables lie at guest physical addresses that the second stage moves by a constant.
final class TwoStageBench {
  let hart: Hart
  let first: Int
  let second: Int
  let secondRoot: UInt64
  /// Root of the guest's tables: guest physical, and where it is.
  let guestRoot: UInt64 = 0x4000_0000
  let hostRoot: UInt64
  let address: UInt64 = 0x12_3456_7000
  /// Where the address leads.
  let guestPage: UInt64 = 0x5678_9000
  let hostPage: UInt64 = 0x8123_4000
  /// Guest physical tables of the first stage from the root down, and the slots of the address in host memory.
  private(set) var slots: [UInt64] = []
  private(set) var guestSlots: [UInt64] = []

  init(
    _ first: Int = 3, _ second: Int = 3, _ options: [(String, String)] = [], registers: [(String, UInt64)] = [], leaf: UInt64 = Bit.user,
    table: UInt64 = Bit.user, page: UInt64 = Bit.user
  ) throws {
    hart = try Hart(xlen: first == 2 ? 32 : 64, options)
    (self.first, self.second) = (first, second)
    secondRoot = hart.frames(4)
    hostRoot = hart.frames()
    try hart.set([
      ("vsatp", hart.translation(first, root: guestRoot)), ("hgatp", hart.translation(second, root: secondRoot)),
    ] + registers)
    mapTables(leaf, table)
    mapSecond(guestPage, hostPage, page)
  }

  var input: UInt64 { first == 2 ? 0x1234_5000 : address }

  /// The way of the address through the first stage, each table in a guest page of its own.
  private func mapTables(_ leaf: UInt64, _ table: UInt64) {
    let (bits, size): (Int, UInt64) = first == 2 ? (10, 4) : (9, 8)
    var host = hostRoot
    for level in stride(from: first - 1, through: 0, by: -1) {
      let guest = guestRoot + UInt64(first - 1 - level) * 0x1000
      mapSecond(guest, host, table)
      let offset = ((input >> UInt64(12 + level * bits)) & ((1 << UInt64(bits)) - 1)) * size
      slots.append(host + offset)
      guestSlots.append(guest + offset)
      let next = level == 0 ? 0 : hart.frames()
      hart.memory.store(host + offset, Int(size), level == 0 ? Hart.leaf(guestPage, leaf) : Hart.leaf(guest + 0x1000, Bit.v))
      host = next
    }
  }

  @discardableResult
  func mapSecond(_ guest: UInt64, _ host: UInt64, _ bits: UInt64, level: Int = 0) -> UInt64 {
    hart.put(Hart.leaf(host, bits), at: guest, level: level, root: secondRoot, levels: second, isSecond: true)
  }

  func setLeaf(_ bits: UInt64) {
    hart.memory.store(slots[first - 1], first == 2 ? 4 : 8, Hart.leaf(guestPage, bits))
    try? hart.unit.reset(PGK_RESET_CACHES)
  }
}

private let adue: UInt64 = 1 << 61
private let mxr: UInt64 = 1 << 19
private let sum: UInt64 = 1 << 18
private let none: [(String, String)] = [("pwc.level1.ways", "0"), ("pwc.level2.ways", "0"), ("pwc.level3.ways", "0"), ("tlb.l1.ways", "0"), ("tlb.l2.ways", "0")]

@Suite struct `Two stages of RISC-V` {
  @Test(arguments: [(3, 3, 15), (4, 4, 24), (5, 5, 35), (3, 5, 23), (5, 3, 23), (2, 2, 8)])
  func `read (g+1)(h+1)-1 entries when nothing is cached`(_ first: Int, _ second: Int, _ reads: UInt32) throws {
    let bench = try TwoStageBench(first, second, none)
    #expect(try bench.hart.load(bench.input + 0x18, "VU") == Answer(outcome: "finished", address: bench.hostPage + 0x18, reads: reads, pageShift: 12))
  }

  @Test func `read entries in the manual's order: the second stage for every table, then for the address itself`() throws {
    let bench = try TwoStageBench(3, 3, none)
    final class Steps { var list: [String] = [] }
    let steps = Steps()
    var observer = pgk_observer_v1()
    observer.size = UInt32(MemoryLayout<pgk_observer_v1>.size)
    observer.abi = PGK_ABI
    observer.context = Unmanaged.passUnretained(steps).toOpaque()
    observer.step = { context, _, step in
      let step = step!.pointee
      let steps = Unmanaged<Steps>.fromOpaque(context!).takeUnretainedValue()
      if UInt32(step.kind) == PGK_STEP_TABLE || UInt32(step.kind) == PGK_STEP_LEAF { steps.list.append("\(step.stage).\(step.level)") }
      if UInt32(step.kind) == PGK_STEP_TRANSLATED { steps.list.append("\(step.stage)=\(String(step.output, radix: 16))") }
    }
    try bench.hart.unit.observe(observer)
    _ = try bench.hart.load(bench.address, "VU")
    try bench.hart.unit.observe(nil)
    let second = ["2.2", "2.1", "2.0"]
    #expect(steps.list == second + ["1.2"] + second + ["1.1"] + second + ["1.0", "1=56789000"] + second + ["2=81234000"])
  }

  /// The ends of translations that an observer of one load is told, as stage, input and output.
  private func ends(_ hart: Hart, _ address: UInt64) throws -> [[UInt64]] {
    final class Ends { var list: [[UInt64]] = [] }
    let ends = Ends()
    var observer = pgk_observer_v1()
    observer.size = UInt32(MemoryLayout<pgk_observer_v1>.size)
    observer.abi = PGK_ABI
    observer.context = Unmanaged.passUnretained(ends).toOpaque()
    observer.step = { context, _, step in
      guard let step = step?.pointee, UInt32(step.kind) == PGK_STEP_TRANSLATED, let context else { return }
      Unmanaged<Ends>.fromOpaque(context).takeUnretainedValue().list.append([UInt64(step.stage), step.input, step.output])
    }
    try hart.unit.observe(observer)
    _ = try hart.load(address, "VU")
    try hart.unit.observe(nil)
    return ends.list
  }

  @Test(arguments: ["after", "before"], ["true", "false"])
  func `show the end of each stage with the access's address, in any order of asking`(_ order: String, _ updates: String) throws {
    let bench = try TwoStageBench(3, 3, [("stage-order", order), ("update-then-fault", updates)])
    let address = bench.address + 8
    #expect(try ends(bench.hart, address) == [[1, address, bench.guestPage + 8], [2, address, bench.hostPage + 8]])
  }

  @Test func `show the end of a bare first stage as well`() throws {
    let hart = try Hart()
    let root = hart.frames(4)
    try hart.set([("hgatp", hart.translation(3, root: root))])
    hart.put(Hart.leaf(0x8123_4000, Bit.user), at: 0x5000, root: root, levels: 3, isSecond: true)
    #expect(try ends(hart, 0x5008) == [[1, 0x5008, 0x5008], [2, 0x5008, 0x8123_4008]])
  }

  @Test func `report an implicit fault as the original access, with the entry's address and a pseudoinstruction`() throws {
    let bench = try TwoStageBench(3, 3, none)
    bench.mapSecond(bench.guestSlots[1] & ~0xfff, 0, 0)
    let kinds = [(PGK_READ, "loadGuestPageFault"), (PGK_WRITE, "storeGuestPageFault"), (PGK_FETCH, "instructionGuestPageFault")]
    for (kind, outcome) in kinds {
      let answer = try bench.hart.perform(kind, bench.address + 4, "VS")
      #expect(answer == Answer(outcome: outcome, address: bench.address + 4, gpa: bench.guestSlots[1], tinst: 0x3000, reads: 7))
    }
  }

  @Test func `report a fault of the final address with its guest physical address, two low bits clear`() throws {
    let bench = try TwoStageBench(page: 0)
    let answer = try bench.hart.perform(PGK_WRITE, bench.address + 0x123, "VU", size: 1)
    #expect(answer.outcome == "storeGuestPageFault" && answer.gpa == bench.guestPage + 0x120 && answer.tinst == 0)
    let fault = try bench.hart.fetch(bench.address, "VU")
    #expect(fault.outcome == "instructionGuestPageFault" && fault.gpa == bench.guestPage)
  }

  @Test func `use pseudoinstructions of 32 bits with Sv32`() throws {
    let bench = try TwoStageBench(2, 2, registers: [("menvcfg", adue), ("henvcfg", adue)], leaf: Bit.v | Bit.r | Bit.w | Bit.u)
    bench.mapSecond(bench.guestSlots[1] & ~0xfff, bench.slots[1] & ~0xfff, Bit.v | Bit.r | Bit.u | Bit.a | Bit.d)
    let write = try bench.hart.load(bench.input, "VU")
    #expect(write.outcome == "loadGuestPageFault" && write.gpa == bench.guestSlots[1] && write.tinst == 0x2020)
    bench.mapSecond(bench.guestSlots[0] & ~0xfff, 0, 0)
    try bench.hart.unit.reset(PGK_RESET_CACHES)
    let read = try bench.hart.load(bench.input, "VU")
    #expect(read.gpa == bench.guestSlots[0] && read.tinst == 0x2000)
  }

  @Test func `dirty the second-stage leaf of a table page when a first-stage flag is set in it`() throws {
    let clean = Bit.v | Bit.r | Bit.w | Bit.u
    let bench = try TwoStageBench(registers: [("menvcfg", adue), ("henvcfg", adue)], leaf: clean, table: clean, page: clean)
    var second = (0..<3).map { bench.mapSecond(bench.guestSlots[$0] & ~0xfff, bench.slots[$0] & ~0xfff, clean) }
    second.append(bench.mapSecond(bench.guestPage, bench.hostPage, clean))
    #expect(try bench.hart.load(bench.address, "VU").outcome == "finished")
    #expect(bench.hart.entry(bench.slots[2]) == Hart.leaf(bench.guestPage, clean | Bit.a))
    let flags = second.map { bench.hart.entry($0) & (Bit.a | Bit.d) }
    // Only the page whose entry was written is dirty.
    #expect(flags == [Bit.a, Bit.a, Bit.a | Bit.d, Bit.a])
  }

  @Test func `ask the second stage for W before a first-stage flag is set, and report a write`() throws {
    let bench = try TwoStageBench(registers: [("menvcfg", adue), ("henvcfg", adue)], leaf: Bit.v | Bit.r | Bit.w | Bit.u, table: Bit.v | Bit.r | Bit.u | Bit.a)
    let answer = try bench.hart.load(bench.address, "VU")
    #expect(answer.outcome == "loadGuestPageFault" && answer.gpa == bench.guestSlots[2] && answer.tinst == 0x3020)
    #expect(bench.hart.entry(bench.slots[2]) & Bit.a == 0)
  }

  @Test func `raise access faults of the original type where tables have no memory, without a guest address`() throws {
    let bench = try TwoStageBench()
    bench.mapSecond(bench.guestSlots[0] & ~0xfff, 0x1000, Bit.user)
    #expect(try bench.hart.store(bench.address, "VS") == Answer(outcome: "storeAccessFault", address: bench.address, reads: 4, level: 2))
    let other = try TwoStageBench()
    other.hart.put(0x2000 >> 2 | Bit.v, at: other.guestPage, level: 2, root: other.secondRoot, levels: 3, isSecond: true)
    let answer = try other.hart.fetch(other.address, "VS")
    #expect(answer.outcome == "instructionAccessFault" && answer.gpa == nil)
  }

  @Test func `take a bare second stage for the identity, and report its faults as those of one stage`() throws {
    let hart = try Hart()
    let root = hart.frames()
    try hart.set([("vsatp", hart.translation(4, root: root))])
    hart.put(Hart.leaf(0x8123_4000, Bit.user), at: 0x1000, root: root, levels: 4)
    #expect(try hart.load(0x1010, "VU") == Answer(outcome: "finished", address: 0x8123_4010, reads: 4, pageShift: 12))
    let fault = try hart.store(0x2000, "VS")
    #expect(fault.outcome == "storePageFault" && fault.gpa == nil)
    #expect(hart.unit.regime.map { String(cString: riscv.regimes[$0].name) } == "sv48/bare")
  }

  @Test func `take a bare first stage for the identity, with the second stage's width`() throws {
    let hart = try Hart()
    let root = hart.frames(4)
    try hart.set([("hgatp", hart.translation(3, root: root))])
    hart.put(Hart.leaf(0x8123_4000, Bit.user), at: 0x1ff_ffff_f000, root: root, levels: 3, isSecond: true)
    #expect(try hart.load(0x1ff_ffff_f008, "VS") == Answer(outcome: "finished", address: 0x8123_4008, reads: 3, pageShift: 12))
    let wide = try hart.load(0x200_0000_0008, "VS")
    #expect(wide == Answer(outcome: "loadGuestPageFault", address: 0x200_0000_0008, gpa: 0x200_0000_0008, tinst: 0))
    let signed = try hart.store(0xffff_ffff_ffff_f003, "VU")
    #expect(signed.outcome == "storeGuestPageFault" && signed.gpa == 0xffff_ffff_ffff_f000)
  }

  @Test(arguments: [3, 4, 5])
  func `index a root of four pages by two more bits`(_ levels: Int) throws {
    let hart = try Hart()
    let root = hart.frames(4)
    try hart.set([("hgatp", hart.translation(levels, root: root))])
    for quarter in 0..<4 as Range<UInt64> {
      let guest = quarter << UInt64(12 + 9 * levels) | 0x3000
      let slot = hart.put(Hart.leaf(0x8100_0000 + quarter << 12, Bit.user), at: guest, level: levels - 1, root: root, levels: levels, isSecond: true)
      #expect(slot == root + quarter << 12)
      hart.memory.store(slot, 8, 0)
      hart.put(Hart.leaf(0x8100_0000 + quarter << 12, Bit.user), at: guest, root: root, levels: levels, isSecond: true)
      #expect(try hart.load(guest, "VS").address == 0x8100_0000 + quarter << 12)
    }
  }

  @Test func `refuse a guest physical address that is too wide before any second-stage read`() throws {
    let bench = try TwoStageBench(3, 3, none)
    bench.hart.memory.store(bench.slots[2], 8, Hart.leaf(1 << 41, Bit.user))
    let answer = try bench.hart.load(bench.address + 8, "VU")
    #expect(answer == Answer(outcome: "loadGuestPageFault", address: bench.address + 8, gpa: 1 << 41 | 8, tinst: 0, reads: 12))
    bench.hart.memory.store(bench.slots[1], 8, Hart.leaf(1 << 55, Bit.v))
    let slot = 1 << 55 | bench.guestSlots[2] & 0xfff
    #expect(try bench.hart.load(bench.address, "VU") == Answer(outcome: "loadGuestPageFault", address: bench.address, gpa: slot, tinst: 0x3000, reads: 8))
  }

  @Test func `combine pages of different sizes to the smaller one`() throws {
    let large = try TwoStageBench(3, 3)
    // First stage 4 KiB, second stage 2 MiB.
    large.mapSecond(large.guestPage, 0x8100_0000, Bit.user, level: 1)
    let small = try large.hart.load(large.address + 4, "VU")
    #expect(small.address == 0x8100_0000 | large.guestPage & 0x1f_ffff | 4 && small.pageShift == 12)
    // First stage 2 MiB, second stage 4 KiB.
    let reverse = try TwoStageBench(3, 3)
    reverse.hart.memory.store(reverse.slots[1], 8, Hart.leaf(0x5660_0000, Bit.user))
    reverse.mapSecond(0x5660_0000 | reverse.address & 0x1f_f000, 0x8123_4000, Bit.user)
    let answer = try reverse.hart.load(reverse.address + 8, "VU")
    #expect(answer.address == 0x8123_4008 && answer.pageShift == 12 && answer.level == 1)
    // The neighbour is another page.
    #expect(try reverse.hart.load(reverse.address + 0x1000, "VU").outcome == "loadGuestPageFault")
  }

  @Test func `take every second-stage access for a user's`() throws {
    let bench = try TwoStageBench(page: Bit.kernel)
    #expect(try bench.hart.load(bench.address, "VU").outcome == "loadGuestPageFault")
    let table = try TwoStageBench(table: Bit.kernel)
    #expect(try table.hart.load(table.address, "VU").tinst == 0x3000)
  }

  @Test func `apply vsstatus.MXR to the first stage only, and mstatus.MXR to both, for explicit loads`() throws {
    let executable = Bit.v | Bit.x | Bit.u | Bit.a | Bit.d
    let bench = try TwoStageBench(leaf: executable, page: executable)
    #expect(try bench.hart.load(bench.address, "VU").outcome == "loadPageFault")
    try bench.hart.set([("vsstatus", mxr)])
    #expect(try bench.hart.load(bench.address, "VU").outcome == "loadGuestPageFault")
    try bench.hart.set([("vsstatus", 0), ("mstatus", mxr)])
    #expect(try bench.hart.load(bench.address, "VU").outcome == "finished")
    // Reading an entry is no explicit load.
    let table = try TwoStageBench(registers: [("mstatus", mxr)], table: executable)
    #expect(try table.hart.load(table.address, "VU").tinst == 0x3000)
  }

  @Test func `obey vsstatus.SUM, whatever mstatus.SUM says`() throws {
    let bench = try TwoStageBench(registers: [("mstatus", sum)])
    #expect(try bench.hart.load(bench.address, "VS").outcome == "loadPageFault")
    try bench.hart.set([("mstatus", 0), ("vsstatus", sum)])
    #expect(try bench.hart.load(bench.address, "VS").outcome == "finished")
    #expect(try bench.hart.fetch(bench.address, "VS").outcome == "instructionPageFault")
  }

  @Test func `load, store and look up code as hstatus.SPVP says, by HLV, HSV and HLVX`() throws {
    let bench = try TwoStageBench(leaf: Bit.kernel & ~Bit.w)
    #expect(try bench.hart.load(bench.address, "S.hlv").outcome == "loadPageFault")
    try bench.hart.set([("hstatus", 1 << 8)])
    #expect(try bench.hart.load(bench.address, "S.hlv").outcome == "finished")
    #expect(try bench.hart.load(bench.address, "S.hlvx").outcome == "finished")
    #expect(try bench.hart.store(bench.address, "S.hsv").outcome == "storePageFault")
    #expect(try bench.hart.load(bench.address, "U.hlv").outcome == "illegalInstruction")
    try bench.hart.set([("hstatus", 1 << 8 | 1 << 9)])
    #expect(try bench.hart.load(bench.address, "U.hlv").outcome == "finished")
    // MPRV does not matter.
    try bench.hart.set([("mstatus", 1 << 17)])
    #expect(try bench.hart.load(bench.address, "S.hlv").outcome == "finished")
  }

  @Test func `need X in both stages for HLVX, which is still a load`() throws {
    let readable = Bit.v | Bit.r | Bit.u | Bit.a | Bit.d
    let executable = Bit.v | Bit.x | Bit.u | Bit.a | Bit.d
    for (leaf, page, outcome) in [(readable, executable, "loadPageFault"), (executable, readable, "loadGuestPageFault"), (executable, executable, "finished")] {
      let bench = try TwoStageBench(leaf: leaf, page: page)
      #expect(try bench.hart.load(bench.address, "S.hlvx").outcome == outcome)
    }
  }

  @Test func `take HLV and HSV for what they are: no fetch, no store by HLV`() throws {
    let bench = try TwoStageBench()
    #expect(throws: UnitError.self) { try bench.hart.store(bench.address, "S.hlv") }
    #expect(throws: UnitError.self) { try bench.hart.fetch(bench.address, "S.hlvx") }
    #expect(throws: UnitError.self) { try bench.hart.load(bench.address, "S.hsv") }
  }

  @Test func `translate M-mode's data in two stages by MPV, unless MPP is M`() throws {
    let bench = try TwoStageBench(registers: [("mstatus", 1 << 17 | 1 << 39)])
    #expect(try bench.hart.load(bench.address, "M").address == bench.hostPage)
    try bench.hart.set([("mstatus", 1 << 17 | 1 << 39 | 1 << 11)])
    #expect(try bench.hart.load(bench.address, "M").outcome == "loadPageFault")
    try bench.hart.set([("mstatus", 1 << 17 | 1 << 39 | 3 << 11)])
    #expect(try bench.hart.load(bench.hostPage, "M").address == bench.hostPage)
    #expect(try bench.hart.fetch(bench.hostPage, "M").address == bench.hostPage)
  }

  @Test func `set flags by henvcfg in the first stage and by menvcfg in the second`() throws {
    let clean = Bit.v | Bit.r | Bit.w | Bit.u
    // henvcfg has no ADUE that menvcfg does not allow.
    let none = try TwoStageBench(registers: [("henvcfg", adue)], leaf: clean)
    #expect(try none.hart.register("henvcfg") == 0)
    #expect(try none.hart.load(none.address, "VU").outcome == "loadPageFault")
    let second = try TwoStageBench(registers: [("menvcfg", adue)], page: clean)
    #expect(try second.hart.load(second.address, "VU").outcome == "finished")
    second.setLeaf(clean)
    #expect(try second.hart.load(second.address, "VU").outcome == "loadPageFault")
    let software = try TwoStageBench(page: clean)
    #expect(try software.hart.load(software.address, "VU").outcome == "loadGuestPageFault")
  }
}
