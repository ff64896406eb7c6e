// Guests under shadow tables and under GP tables, and the place of large pages. Numbers as in InterceptTests.swift.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_Elbrus

private let address = GuestScene.address
private let guestPage = GuestScene.guestPage

private func verdict(_ kind: UInt32, _ low: UInt64 = 0) -> pgk_verdict_v1 { WideUnit.verdict(kind, low) }

@Suite struct `A guest's table under shadow paging` {
  @Test func `costs one exit for a store, and the replay makes it although W is 0 (32)`() throws {
    let scene = try GuestScene(isShadow: true)
    scene.protect(0)
    try scene.unit.run([.store(address + 8, 0x1234)])
    #expect(scene.unit.codes == ["SHADOW_DATA"] && scene.unit.items[0].faultType == 1 << 9)
    try scene.unit.resume([0: verdict(PGK_VERDICT_REPLAY_IGNORING_WRITE_PROTECTION)])
    #expect(scene.unit.items.isEmpty && scene.word(0, 8) == 0x1234)
    try scene.unit.run([.store(address + 8, 1)])
    #expect(scene.unit.codes == ["SHADOW_DATA"], "the page is protected still")
  }

  @Test func `gets several stores of a group, also to one word, once each by the replay (41)`() throws {
    let scene = try GuestScene(isShadow: true)
    scene.protect(0)
    try scene.unit.run([.store(address + 8, 1), .store(address + 8, 2, channel: 3)])
    let ignoring = verdict(PGK_VERDICT_REPLAY_IGNORING_WRITE_PROTECTION)
    try scene.unit.bench.unit.answer([ignoring, ignoring])
    #expect(scene.unit.items.map { $0[header: ItemHeader.ignore_wr_rights] } == [1, 1])
    try scene.unit.resume()
    #expect(scene.word(0, 8) == 2 && scene.memory.stores[GuestScene.page + 8] == 2)
  }

  @Test func `is not written behind an item that goes to the guest (41)`() throws {
    let scene = try GuestScene(isShadow: true)
    scene.hole(1)
    scene.protect(0)
    try scene.unit.run([.load(address + 0x1000, to: 1), .store(address + 8, 2)])
    let items = scene.unit.items
    try scene.unit.resume([0: WideUnit.guestFault(items[0], 1 << 10)])
    #expect(scene.word(0, 8) == 0)
    #expect(try scene.unit.records().map(\.faultType) == [1 << 10, 0])
  }

  @Test func `is walked with as many reads as the guest's own would be (35)`() throws {
    let scene = try GuestScene(isShadow: true)
    let native = try Mapped(.v6, iset: 6)
    #expect(try scene.unit.bench.read(address).reads == native.bench.read(Mapped.address).reads)
  }
}

@Suite struct `Two-dimensional paging` {
  @Test func `lets a guest write its tables and flush without an exit (33)`() throws {
    let scene = try GuestScene()
    // The page of the guest's last table, seen through a page of its own.
    let table = scene.tables.slot(address) & ~0xfff
    scene.tables.map(address + 0x2000, to: table)
    let slot = address + 0x2000 + scene.tables.slot(address) & 0xfff
    try scene.unit.run([.load(address, to: 1)])
    try scene.unit.run([.store(slot, (guestPage + 0x1000) | scene.tables.pageBits), .flushPage(address)])
    scene.set(1, 0, 0x99)
    try scene.unit.run([.load(address, to: 1)])
    #expect(scene.unit.items.isEmpty && scene.unit[1] == 0x99)
  }

  @Test func `translates a guest whose own translation is off (34)`() throws {
    let scene = try GuestScene()
    try scene.unit.bench.set([("sh_mmu_cr", 0x820)])
    scene.set(0, 0x10, 0x42)
    try scene.unit.run([.load(guestPage + 0x10, to: 1)])
    #expect(scene.unit[1] == 0x42)
    try scene.unit.run([.load(0x9_0000_0000, to: 1)])
    #expect(scene.unit.codes == ["GPA_DATA"] && scene.unit.items[0].words.1 == 0x9_0000_0000)
  }

  @Test func `reads up to twenty-four entries for one access (36)`() throws {
    let nothing = ["tlb.l1", "tlb.l2", "pwc.level1", "pwc.level2", "pwc.level3"].map { ($0 + ".ways", "0") }
    let scene = try GuestScene(nothing)
    #expect(try scene.unit.bench.read(address).reads == 24)
  }

  @Test func `names the guest's table that it cannot read, and its level`() throws {
    let scene = try GuestScene()
    let table = scene.tables.slot(address) & ~0xfff
    scene.second[table] = 0
    try scene.unit.run([.load(address, to: 1)])
    let item = try #require(scene.unit.items.first)
    #expect(item[header: ItemHeader.guest_pt_lev] == 1 && item[header: ItemHeader.guest_pt_lev_fin] == 0)
    #expect(item.words.1 & ~0xfff == table)
  }
}

@Suite struct `A large page` {
  @Test func `has one place in its line, in set 3, and drives out the one before it (20)`() throws {
    let scene = try GuestScene(isShadow: true)
    let other = address + 1 << 29
    for base in [address, other] { scene.second.map(base & ~0x1f_ffff, to: 0x4000_0000, level: 1) }
    let place = (address >> 21 & 0xff) << 21 | 3 << 3
    try scene.unit.run([.load(address, to: 1)])
    #expect(try scene.hypervisor("dtlb", [place]) >> 7 & 0x1fff_ffff == (address >> 21) << 2)
    try scene.unit.run([.load(other, to: 1)])
    #expect(try scene.hypervisor("dtlb", [place]) >> 7 & 0x1fff_ffff == (other >> 21) << 2)
    #expect(try scene.hypervisor("dtlb", [place | 1 << 12]) >> 52 == 1)
    #expect(try scene.hypervisor("dtlb", [place ^ 1 << 21]) == 0)
  }
}
