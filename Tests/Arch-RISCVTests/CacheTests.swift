// What TLBs and walk caches keep, and what each fence reaches.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_RISCV

/// Address spaces of one hart: roots by ASID, all mapping one address somewhere else.
private final class Spaces {
  let hart: Hart
  let address: UInt64 = 0x1234_5000
  private(set) var roots: [UInt64: UInt64] = [:]
  private(set) var slots: [UInt64: UInt64] = [:]

  init(_ options: [(String, String)] = []) throws { hart = try Hart(options) }

  func add(_ asid: UInt64, bits: UInt64 = Bit.kernel) {
    let root = hart.frames()
    roots[asid] = root
    slots[asid] = hart.put(Hart.leaf(page(asid), bits), at: address, root: root, levels: 3)
  }

  func page(_ asid: UInt64, _ version: UInt64 = 0) -> UInt64 { 0x8100_0000 + asid << 16 + version << 12 }

  func enter(_ asid: UInt64) throws { try hart.set([("satp", hart.translation(3, root: roots[asid]!, identifier: asid))]) }

  /// Changes where the address leads, without telling.
  func move(_ asid: UInt64, to version: UInt64, bits: UInt64 = Bit.kernel) {
    hart.memory.store(slots[asid]!, 8, Hart.leaf(page(asid, version), bits))
  }

  /// Which version of the page a space sees.
  func version(_ asid: UInt64) throws -> UInt64 {
    try enter(asid)
    return (try hart.load(address).address - page(asid)) >> 12
  }

  func fence(_ address: UInt64?, _ asid: UInt64?, _ operation: Arch_RISCV.Operation = .sfenceVMA) throws {
    try hart.perform(.fence(operation, address: address, identifier: asid))
  }
}

@Suite struct `A RISC-V TLB` {
  @Test func `keeps a translation until a fence, and takes the new one after it`() throws {
    for operation in [Arch_RISCV.Operation.sfenceVMA, .sinvalVMA] {
      let spaces = try Spaces()
      spaces.add(1)
      #expect(try spaces.version(1) == 0)
      spaces.move(1, to: 1)
      #expect(try spaces.version(1) == 0)
      try spaces.fence(spaces.address, 1, operation)
      #expect(try spaces.version(1) == 1)
      #expect(spaces.hart.counter("invalidations") == 1)
    }
  }

  @Test func `keeps address spaces apart by ASID without a fence`() throws {
    let spaces = try Spaces()
    for asid in [1, 2] as [UInt64] { spaces.add(asid) }
    #expect(try spaces.version(1) == 0 && spaces.version(2) == 0 && spaces.version(1) == 0)
    #expect(spaces.hart.counter("tlbMisses") == 2 && spaces.hart.counter("tlbL1Hits") == 1)
  }

  /// Which spaces a fence reached.
  private func reach(_ bits: UInt64, _ address: UInt64?, _ asid: UInt64?) throws -> [UInt64] {
    let spaces = try Spaces()
    for asid in [1, 2] as [UInt64] {
      spaces.add(asid, bits: bits)
      #expect(try spaces.version(asid) == 0)
      spaces.move(asid, to: 1, bits: bits)
      // A global page is seen by the other space, so each is asked alone.
      if bits & Bit.g != 0 { break }
    }
    try spaces.fence(address, asid)
    return try spaces.roots.keys.sorted().filter { try spaces.version($0) == 1 }
  }

  @Test func `is reached by SFENCE.VMA by address and ASID, exactly`() throws {
    let (here, other): (UInt64, UInt64) = (0x1234_5000, 0x1234_6000)
    #expect(try reach(Bit.kernel, nil, nil) == [1, 2])
    #expect(try reach(Bit.kernel, nil, 1) == [1])
    #expect(try reach(Bit.kernel, here, nil) == [1, 2])
    #expect(try reach(Bit.kernel, here, 2) == [2])
    #expect(try reach(Bit.kernel, here | 0x123, 2) == [2])
    #expect(try reach(Bit.kernel, other, nil) == [])
    #expect(try reach(Bit.kernel, here, 3) == [])
  }

  @Test func `keeps global pages when a fence names an ASID`() throws {
    let here: UInt64 = 0x1234_5000
    #expect(try reach(Bit.kernel | Bit.g, nil, 1) == [])
    #expect(try reach(Bit.kernel | Bit.g, here, 1) == [])
    #expect(try reach(Bit.kernel | Bit.g, here, nil) == [1])
    #expect(try reach(Bit.kernel | Bit.g, nil, nil) == [1])
  }

  @Test func `shares global pages among address spaces, also those that are global by a pointer`() throws {
    for pointer in [Bit.v, Bit.v | Bit.g] {
      let hart = try Hart()
      let roots = [hart.frames(), hart.frames()]
      let bits = pointer == Bit.v ? Bit.kernel | Bit.g : Bit.kernel
      hart.put(Hart.leaf(0x8100_0000, bits), at: 0x5000, root: roots[0], levels: 3, pointer: pointer)
      try hart.set([("satp", hart.translation(3, root: roots[0], identifier: 1))])
      #expect(try hart.load(0x5000).reads == 3)
      try hart.set([("satp", hart.translation(3, root: roots[1], identifier: 2))])
      #expect(try hart.load(0x5000) == Answer(outcome: "finished", address: 0x8100_0000, pageShift: 12))
      let entry = try hart.unit.dump(cache: riscv.cacheIndex(named: "tlb.l1")!)[0]
      #expect(UInt32(entry.flags) & PGK_CACHED_GLOBAL != 0)
    }
  }

  @Test func `judges rights again on every hit`() throws {
    let bench = try OneStageBench()
    bench.map(Bit.user)
    #expect(try bench.hart.load(bench.address, "U").outcome == "finished")
    #expect(try bench.hart.load(bench.address, "S").outcome == "loadPageFault")
    try bench.hart.set([("mstatus", 1 << 18)])
    #expect(try bench.hart.load(bench.address, "S") == Answer(outcome: "finished", address: bench.page, pageShift: 12))
    try bench.hart.set([("mstatus", 0)])
    #expect(try bench.hart.load(bench.address, "S").outcome == "loadPageFault")
    #expect(try bench.hart.fetch(bench.address, "U").reads == 0)
  }

  @Test func `judges MXR again on every hit`() throws {
    let bench = try OneStageBench()
    bench.map(Bit.v | Bit.x | Bit.a | Bit.d)
    #expect(try bench.hart.fetch(bench.address).reads == 3)
    for (status, outcome) in [(0, "loadPageFault"), (1 << 19, "finished"), (0, "loadPageFault")] as [(UInt64, String)] {
      try bench.hart.set([("mstatus", status)])
      let answer = try bench.hart.load(bench.address)
      #expect(answer.outcome == outcome && (answer.reads == 0) == (outcome == "finished"))
    }
  }

  @Test func `walks again to set D at the first store`() throws {
    let bench = try OneStageBench(menvcfg: 1 << 61)
    let slot = bench.map(Bit.v | Bit.r | Bit.w | Bit.a)
    #expect(try bench.hart.load(bench.address).reads == 3)
    #expect(try bench.hart.store(bench.address).reads > 0)
    #expect(bench.hart.entry(slot) & Bit.d != 0)
    #expect(try bench.hart.store(bench.address).reads == 0)
  }

  @Test func `takes a mode change to and from Bare at once`() throws {
    let bench = try OneStageBench()
    bench.map(Bit.kernel)
    #expect(try bench.hart.load(bench.address).address == bench.page)
    let satp = try bench.hart.register("satp")
    try bench.hart.set([("satp", 0)])
    #expect(try bench.hart.load(bench.page).address == bench.page)
    #expect(try bench.hart.load(bench.address).outcome == "loadAccessFault")
    try bench.hart.set([("satp", satp)])
    #expect(try bench.hart.load(bench.address).reads == 0)
  }

  @Test func `drops a superpage for any address in it`() throws {
    let bench = try OneStageBench()
    let slot = bench.map(Bit.kernel, level: 1, page: 0x8020_0000)
    #expect(try bench.hart.load(bench.address).address == 0x8020_0000 | bench.address & 0x1f_ffff)
    bench.hart.memory.store(slot, 8, Hart.leaf(0x8040_0000, Bit.kernel))
    try bench.hart.perform(.fence(.sfenceVMA, address: bench.address & ~0x1f_ffff, identifier: nil))
    #expect(try bench.hart.load(bench.address).address == 0x8040_0000 | bench.address & 0x1f_ffff)
  }

  @Test func `forgets pointers only by a fence without an address`() throws {
    let bench = try OneStageBench()
    bench.map(Bit.kernel)
    #expect(try bench.hart.load(bench.address).address == bench.page)
    // Another last table.
    let table = bench.hart.frames()
    bench.hart.memory.store(table + (bench.address >> 12 & 511) * 8, 8, Hart.leaf(0x8070_0000, Bit.kernel))
    bench.hart.put(table >> 2 | Bit.v, at: bench.address, level: 1, root: bench.root, levels: 3)
    try bench.hart.perform(.fence(.sfenceVMA, address: bench.address, identifier: nil))
    #expect(try bench.hart.load(bench.address) == Answer(outcome: "finished", address: bench.page, reads: 1, pageShift: 12))
    try bench.hart.perform(.fence(.sfenceVMA, address: nil, identifier: 0))
    #expect(try bench.hart.load(bench.address) == Answer(outcome: "finished", address: 0x8070_0000, reads: 3, pageShift: 12))
  }

  @Test func `keeps no entry that is not valid`() throws {
    let bench = try OneStageBench()
    #expect(try bench.hart.load(bench.address).outcome == "loadPageFault")
    bench.map(Bit.kernel)
    #expect(try bench.hart.load(bench.address).outcome == "finished")
  }

  @Test func `remembers pointers by their address, if it has such a cache`() throws {
    let bench = try OneStageBench([
      ("entrycache.ways", "8"), ("tlb.l1.ways", "0"), ("tlb.l2.ways", "0"), ("pwc.level1.ways", "0"), ("pwc.level2.ways", "0"),
    ])
    bench.map(Bit.kernel)
    #expect(try bench.hart.load(bench.address).reads == 3)
    #expect(try bench.hart.load(bench.address).reads == 1)
    try bench.hart.perform(.fence(.sfenceVMA, address: nil, identifier: nil))
    #expect(try bench.hart.load(bench.address).reads == 3)
  }
}

@Suite struct `A RISC-V guest's TLB` {
  /// A guest under a VMID, with its second-stage leaf of the final page.
  private func guest(_ options: [(String, String)] = []) throws -> (TwoStageBench, slot: UInt64) {
    let bench = try TwoStageBench(3, 3, options)
    let slot = bench.mapSecond(bench.guestPage, bench.hostPage, Bit.user)
    #expect(try bench.hart.load(bench.address, "VU").address == bench.hostPage)
    return (bench, slot)
  }

  private let other: UInt64 = 0x81a0_0000

  private func host(_ bench: TwoStageBench) throws -> UInt64 { try bench.hart.load(bench.address, "VU").address }

  @Test func `is reached by HFENCE.GVMA for its VMID`() throws {
    for (gpa, vmid, isReached) in [(nil, nil, true), (nil, 0, true), (nil, 1, false), (0x5678_9000, nil, true), (0x5678_9000, 0, true), (0x5678_9000, 5, false)] as [(UInt64?, UInt64?, Bool)] {
      for operation in [Arch_RISCV.Operation.hfenceGVMA, .hinvalGVMA] {
        let (bench, slot) = try guest([("tlb.nested.ways", "8")])
        bench.hart.memory.store(slot, 8, Hart.leaf(other, Bit.user))
        #expect(try host(bench) == bench.hostPage)
        try bench.hart.perform(.fence(operation, address: gpa.map { $0 >> 2 }, identifier: vmid))
        #expect(try host(bench) == (isReached ? other : bench.hostPage))
      }
    }
  }

  @Test func `is reached by HFENCE.VVMA, and by its own SFENCE.VMA, in the first stage`() throws {
    for (operation, mode) in [(Arch_RISCV.Operation.hfenceVVMA, "S"), (.hinvalVVMA, "S"), (.sfenceVMA, "VS"), (.sinvalVMA, "VS")] {
      let (bench, _) = try guest()
      bench.mapSecond(0x6000_0000, other, Bit.user)
      bench.hart.memory.store(bench.slots[2], 8, Hart.leaf(0x6000_0000, Bit.user))
      try bench.hart.perform(.fence(operation, address: bench.address + 0x1000, identifier: nil), as: mode)
      #expect(try host(bench) == bench.hostPage)
      try bench.hart.perform(.fence(operation, address: bench.address, identifier: 7), as: mode)
      #expect(try host(bench) == bench.hostPage)
      try bench.hart.perform(.fence(operation, address: bench.address, identifier: 0), as: mode)
      #expect(try host(bench) == other)
    }
  }

  /// A guest whose page is global, with a second leaf to go to.
  private func globalGuest() throws -> TwoStageBench {
    let bench = try TwoStageBench(leaf: Bit.user | Bit.g)
    #expect(try host(bench) == bench.hostPage)
    bench.mapSecond(0x6000_0000, other, Bit.user)
    bench.hart.memory.store(bench.slots[2], 8, Hart.leaf(0x6000_0000, Bit.user | Bit.g))
    return bench
  }

  @Test func `keeps its global pages when a first-stage fence names an ASID`() throws {
    for (operation, mode) in [(Arch_RISCV.Operation.hfenceVVMA, "S"), (.hinvalVVMA, "S"), (.sfenceVMA, "VS"), (.sinvalVMA, "VS")] {
      let bench = try globalGuest()
      for address in [nil, bench.address] {
        try bench.hart.perform(.fence(operation, address: address, identifier: 0), as: mode)
        #expect(try host(bench) == bench.hostPage)
      }
      try bench.hart.perform(.fence(operation, address: bench.address, identifier: nil), as: mode)
      #expect(try host(bench) == other)
      let whole = try globalGuest()
      try whole.hart.perform(.fence(operation, address: nil, identifier: nil), as: mode)
      #expect(try host(whole) == other)
    }
  }

  @Test func `is not reached in the host's address spaces by fences of guests`() throws {
    let bench = try OneStageBench()
    let slot = bench.map(Bit.kernel)
    #expect(try bench.hart.load(bench.address).address == bench.page)
    bench.hart.memory.store(slot, 8, Hart.leaf(0x8070_0000, Bit.kernel))
    for operation in [Arch_RISCV.Operation.hfenceVVMA, .hinvalVVMA, .hfenceGVMA, .hinvalGVMA] {
      try bench.hart.perform(.fence(operation, address: nil, identifier: nil))
      try bench.hart.perform(.fence(operation, address: bench.address, identifier: nil), as: "M")
    }
    for operation in [Arch_RISCV.Operation.sfenceVMA, .sinvalVMA] {
      try bench.hart.perform(.fence(operation, address: nil, identifier: nil), as: "VS")
      #expect(try bench.hart.load(bench.address).address == bench.page)
    }
    try bench.hart.perform(.fence(.sfenceVMA, address: bench.address, identifier: nil), as: "M")
    #expect(try bench.hart.load(bench.address).address == 0x8070_0000)
  }

  @Test func `judges the rights of both stages again on every hit`() throws {
    let executable = Bit.v | Bit.x | Bit.u | Bit.a | Bit.d
    let bench = try TwoStageBench(leaf: executable, page: executable)
    #expect(try bench.hart.fetch(bench.address, "VU").reads == 15)
    func loads(_ privilege: String) throws -> (outcome: String, isHit: Bool) {
      let hits = bench.hart.counter("tlbL1Hits") + bench.hart.counter("tlbL2Hits")
      let outcome = try bench.hart.load(bench.address, privilege).outcome
      return (outcome, bench.hart.counter("tlbL1Hits") + bench.hart.counter("tlbL2Hits") == hits + 1)
    }
    let steps: [([(String, UInt64)], String, String)] = [
      ([], "VU", "loadPageFault"), ([("vsstatus", 1 << 19)], "VU", "loadGuestPageFault"), ([("mstatus", 1 << 19)], "VU", "finished"),
      ([], "VS", "loadPageFault"), ([("vsstatus", 1 << 18)], "VS", "finished"), ([("mstatus", 0)], "VS", "loadPageFault"),
      ([("mstatus", 1 << 19), ("hstatus", 1 << 8), ("vsstatus", 0)], "S.hlv", "loadPageFault"), ([("hstatus", 0)], "S.hlv", "finished"),
      ([], "S.hlvx", "finished"), ([("mstatus", 1 << 19 | 1 << 17 | 1 << 39)], "M", "finished"),
      ([("mstatus", 1 << 19 | 1 << 17 | 1 << 39 | 1 << 11)], "M", "loadPageFault"),
    ]
    for (registers, privilege, outcome) in steps {
      try bench.hart.set(registers)
      let found = try loads(privilege)
      #expect(found.outcome == outcome && found.isHit, "\(registers) \(privilege)")
    }
  }

  @Test func `drops all pieces of a large first-stage page by a fence at any address in it`() throws {
    let bench = try TwoStageBench()
    bench.hart.memory.store(bench.slots[1], 8, Hart.leaf(0x5660_0000, Bit.user))
    let start = bench.address & ~0x1f_ffff
    for page in 0..<3 as Range<UInt64> { bench.mapSecond(0x5660_0000 + page << 12, bench.hostPage + page << 12, Bit.user) }
    for page in 0..<3 as Range<UInt64> { #expect(try bench.hart.load(start + page << 12, "VU").address == bench.hostPage + page << 12) }
    bench.hart.memory.store(bench.slots[1], 8, 0)
    try bench.hart.perform(.fence(.sfenceVMA, address: start + 0x7000, identifier: nil), as: "VS")
    for page in 0..<3 as Range<UInt64> { #expect(try bench.hart.load(start + page << 12, "VU").outcome == "loadPageFault") }
  }

  @Test func `is not reached by fences of the host's own address spaces`() throws {
    let (bench, _) = try guest()
    bench.mapSecond(0x6000_0000, other, Bit.user)
    bench.hart.memory.store(bench.slots[2], 8, Hart.leaf(0x6000_0000, Bit.user))
    try bench.hart.perform(.fence(.sfenceVMA, address: nil, identifier: nil), as: "S")
    #expect(try host(bench) == bench.hostPage)
  }

  @Test func `is reached by fences of the first stage only while hgatp names its VMID`() throws {
    let (bench, _) = try guest()
    bench.hart.memory.store(bench.slots[2], 8, 0)
    let hgatp = try bench.hart.register("hgatp")
    try bench.hart.set([("hgatp", hgatp | 1 << 44)])
    try bench.hart.perform(.fence(.hfenceVVMA, address: nil, identifier: nil), as: "S")
    try bench.hart.set([("hgatp", hgatp)])
    #expect(try host(bench) == bench.hostPage)
    try bench.hart.perform(.fence(.hfenceVVMA, address: nil, identifier: nil), as: "S")
    #expect(try bench.hart.load(bench.address, "VU").outcome == "loadPageFault")
  }

  @Test func `saves second-stage walks with a nested TLB and walk caches`() throws {
    let bench = try TwoStageBench(3, 3, [
      ("tlb.l1.ways", "0"), ("tlb.l2.ways", "0"), ("pwc.level1.ways", "0"), ("pwc.level2.ways", "0"), ("tlb.nested.ways", "8"),
    ])
    #expect(try bench.hart.load(bench.address, "VU").reads == 15)
    #expect(try bench.hart.load(bench.address, "VU").reads == 3)
    #expect(bench.hart.counter("nestedTlbHits") == 4)
    let walks = try TwoStageBench(3, 3, [
      ("tlb.l1.ways", "0"), ("tlb.l2.ways", "0"), ("pwc.level1.ways", "0"), ("pwc.level2.ways", "0"), ("pwc2.level1.ways", "4"), ("pwc2.level2.ways", "4"),
    ])
    _ = try walks.hart.load(walks.address, "VU")
    #expect(try walks.hart.load(walks.address, "VU").reads == 7)
  }

  @Test func `sets D in the second stage at the first store, though the nested TLB knows the page`() throws {
    let bench = try TwoStageBench(3, 3, [("tlb.nested.ways", "8")], registers: [("menvcfg", 1 << 61)], page: Bit.v | Bit.r | Bit.w | Bit.u)
    let slot = bench.mapSecond(bench.guestPage, bench.hostPage, Bit.v | Bit.r | Bit.w | Bit.u)
    #expect(try bench.hart.load(bench.address, "VU").outcome == "finished")
    #expect(bench.hart.entry(slot) & (Bit.a | Bit.d) == Bit.a)
    #expect(try bench.hart.store(bench.address, "VU").outcome == "finished")
    #expect(bench.hart.entry(slot) & Bit.d != 0)
  }

  @Test func `caches the rights of both stages`() throws {
    let bench = try TwoStageBench(page: Bit.v | Bit.r | Bit.u | Bit.a | Bit.d)
    #expect(try bench.hart.load(bench.address, "VU").reads == 15)
    #expect(try bench.hart.load(bench.address, "VU").reads == 0)
    #expect(try bench.hart.store(bench.address, "VU").outcome == "storeGuestPageFault")
    #expect(try bench.hart.fetch(bench.address, "VU").outcome == "instructionGuestPageFault")
  }
}
