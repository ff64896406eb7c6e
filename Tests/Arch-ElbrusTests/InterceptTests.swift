// What a hypervisor sees of its guest's operations, and what GLAUNCH makes of the list. The numbers are those of the
// behaviours that a model of this memory unit must show.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_Elbrus

private typealias Verdict = pgk_verdict_v1
private let address = GuestScene.address
private let guestPage = GuestScene.guestPage

private func verdict(_ kind: UInt32, _ low: UInt64 = 0) -> Verdict { WideUnit.verdict(kind, low) }

@Suite struct `A special operation of a guest` {
  @Test func `that reads a register gives the value that the hypervisor put there, and nothing else differs (21)`() throws {
    let scene = try GuestScene(control: 1 << 7)
    try scene.unit.bench.set([("hw0", 7)])
    try scene.unit.run([.readRegister(0x0e, to: 9)])
    #expect(scene.unit.codes == ["READ_MU"])
    let before = try scene.visible()
    try scene.unit.resume([0: verdict(PGK_VERDICT_COMPLETE, 0x77)])
    #expect(scene.unit[9] == 0x77 && scene.unit.writes[9] == 1)
    #expect(try scene.visible().filter { $0.key != 0xffff_0000_0000_0009 } == before)
  }

  @Test func `that writes TRAP_POINT stores a translated value, and reading gives its own back (22)`() throws {
    let scene = try GuestScene(control: 1 << 15 | 1 << 7)
    try scene.unit.run([.writeRegister(0x05, 0x5000)])
    #expect(scene.unit.codes == ["WRITE_MU"] && scene.unit.items[0].words.3 == 0x5000)
    try scene.unit.resume([0: verdict(PGK_VERDICT_REPLACE, 0x9000).at(register: 0x05)])
    #expect(try scene.register("trap_point") == 0x9000)
    try scene.unit.run([.readRegister(0x05, to: 3)])
    try scene.unit.resume([0: verdict(PGK_VERDICT_COMPLETE, 0x5000)])
    #expect(scene.unit[3] == 0x5000)
  }

  @Test func `that changes only unmasked bits of MMU_CR does not leave the guest (31)`() throws {
    let scene = try GuestScene()
    try scene.unit.run([.writeRegister(0x00, 0x21)])
    #expect(try scene.unit.items.isEmpty && scene.register("sh_mmu_cr") == 0x21)
    try scene.unit.run([.writeRegister(0x00, 0x20)])
    #expect(scene.unit.codes == ["WRITE_MU"])
    #expect(try scene.register("sh_mmu_cr") == 0x21)
  }

  @Test func `of each kind has its event code, once its flag is set`() throws {
    let kinds: [(UInt64, UInt64, UInt64, String)] = [
      (17, 0x107, 1, "CACHE_FLUSH"), (18, 0x10f, address, "CACHE_LINE_FLUSH"), (19, 0x127, 0, "ICACHE_FLUSH"),
      (20, 0x117, 0, "ICACHE_LINE_FLUSH_USER"), (21, 0x117, 2, "ICACHE_LINE_FLUSH_SYSTEM"), (22, 0x127, 1, "TLB_FLUSH"),
      (23, 0x117, 1, "TLB_PAGE_FLUSH_LAST"), (24, 0x117, 3, "TLB_PAGE_FLUSH_UPPER"), (25, 0x037, address, "TLB_ENTRY_PROBE"),
    ]
    for (flag, operation, operand, name) in kinds {
      for isSet in [false, true] {
        let scene = try GuestScene(control: isSet ? 1 << flag : 0)
        try scene.unit.run([Request(special: operation, low: address, high: operand, privilege: Privilege.kernel)])
        #expect(scene.unit.codes == (isSet ? [name] : []), "\(name)")
      }
    }
  }

  @Test func `of a register of each class is intercepted by its own bit alone`() throws {
    let classes: [(UInt64, [UInt64])] = [
      (0, [0x00]), (1, [0x04, 0x35, 0x02, 0x07, 0x38, 0x3b]), (2, [0x03, 0x34]), (3, [0x0d]), (4, [0x10, 0x1f, 0x30, 0x31]),
      (5, [0x08, 0x0a, 0x32, 0x33]), (7, [0x05, 0x01, 0x0f, 0x4c, 0x0e]),
    ]
    for (bit, numbers) in classes {
      for number in numbers {
        for control in [1 << bit, (0xff & ~(1 << bit))] as [UInt64] {
          let scene = try GuestScene(control: control)
          try scene.unit.run([.readRegister(number, to: 1)])
          #expect(scene.unit.codes == (control == 1 << bit ? ["READ_MU"] : []), "register \(number), control \(control)")
        }
      }
    }
    let all = try GuestScene(control: 0xffff)
    try all.unit.run([.readRegister(0x06, to: 1)])
    #expect(all.unit.items.isEmpty, "TRAP_COUNT is in no class")
  }
}

@Suite struct `An intercept` {
  @Test(arguments: [false, true])
  func `leaves registers, cellar, trap info and TRAP_COUNT of the guest as they are (23)`(_ isShadow: Bool) throws {
    let scene = try GuestScene(isShadow: isShadow)
    scene.hole(0)
    let before = try scene.visible()
    try scene.unit.run([.load(address, to: 4), .store(address + 0x1000, 5)])
    #expect(scene.unit.items.count == 2)
    #expect(try scene.visible() == before)
  }

  @Test func `of a hole in the GP tables is mapped and done again, and the guest sees a plain load (24)`() throws {
    let scene = try GuestScene()
    scene.hole(0)
    scene.set(0, 8, 0x1122)
    try scene.unit.run([.load(address + 8, to: 4)])
    let item = try #require(scene.unit.items.first)
    #expect(item.eventName == "GPA_DATA" && item.faultType == 1 << 10 && item.words.1 == guestPage + 8)
    #expect(item[header: ItemHeader.guest_pt_lev] == 0 && item[header: ItemHeader.guest_pt_lev_fin] == 1)
    scene.put(0)
    try scene.unit.resume()
    #expect(scene.unit[4] == 0x1122 && scene.unit.writes[4] == 1)
    #expect(try scene.register("trap_count") == 0 && scene.register("exc_data_page") == 0)
  }

  @Test func `of a physical address comes by its own flag, with the address as it is`() throws {
    let scene = try GuestScene(control: 1 << 16)
    try scene.unit.run([.load(guestPage + 8, to: 1, mas: 1)])
    #expect(scene.unit.codes == ["GPA_DATA"] && scene.unit.items[0].words.1 == guestPage + 8 && scene.unit.items[0].faultType == 0)
    try scene.unit.resume([0: verdict(PGK_VERDICT_COMPLETE, 5)])
    #expect(scene.unit[1] == 5)
  }

  @Test func `of a device store is deleted: memory is never touched (25)`() throws {
    let scene = try GuestScene()
    scene.hole(0)
    try scene.unit.run([.store(address, 0xabcd, size: 2)])
    #expect(scene.unit.items[0].words.3 == 0xabcd)
    scene.put(0)
    try scene.unit.resume([0: verdict(PGK_VERDICT_DROP)])
    #expect(scene.word(0) == 0 && scene.unit.items.isEmpty)
  }

  @Test func `of a device load becomes READ_MU, and the destination gets the device's data (26)`() throws {
    let scene = try GuestScene()
    scene.hole(0)
    scene.set(0, 0, 0x1111)
    try scene.unit.run([.load(address, size: 4, to: 6)])
    try scene.unit.bench.unit.answer([verdict(PGK_VERDICT_COMPLETE, 0x77)])
    #expect(scene.unit.codes == ["READ_MU"] && scene.unit.items[0].isAnswered && scene.unit.items[0].words.3 == 0x77)
    try scene.unit.resume()
    #expect(scene.unit[6] == 0x77 && scene.unit.writes[6] == 1)
  }

  @Test func `has its innocent neighbours done behind it, in order, once (27)`() throws {
    let scene = try GuestScene()
    scene.hole(0)
    try scene.unit.run([.load(address, to: 1), .store(address + 0x1000, 1), .store(address + 0x1000, 2, channel: 3), .load(address + 0x1000, channel: 2, to: 2)])
    #expect(scene.unit.codes == ["GPA_DATA", "FORCED", "FORCED", "FORCED"])
    scene.put(0)
    let stores = scene.memory.stores
    try scene.unit.resume()
    #expect(scene.unit[2] == 2 && scene.word(1) == 2)
    #expect(scene.memory.stores[GuestScene.page + 0x1000, default: 0] - stores[GuestScene.page + 0x1000, default: 0] == 2)
  }

  @Test func `has no FORCED item in front (29)`() throws {
    let scene = try GuestScene()
    scene.hole(1)
    try scene.unit.run([.store(address, 9), .load(address + 0x1000, to: 1), .load(address, channel: 2, to: 2)])
    #expect(scene.unit.codes == ["GPA_DATA", "FORCED"])
    #expect(scene.word(0) == 9, "what stands before has its effect")
  }

  @Test func `is told by INTC_PTR_MU in sevens, and reading clears it (30)`() throws {
    let scene = try GuestScene()
    scene.hole(0)
    try scene.unit.run([.load(address, to: 1), .load(address + 0x1000, channel: 2, to: 2)])
    #expect(try scene.register("ptr") == 14)
    #expect(try scene.hypervisor("ptr_read") == 14)
    #expect(try scene.hypervisor("ptr_read") == 0)
    let words = try (0..<14).map { _ in try scene.hypervisor("info_read") }
    #expect(Array(words[0..<7]) == scene.unit.items[0].sevenWords && Array(words[7..<14]) == scene.unit.items[1].sevenWords)
    #expect(try scene.register("ptr") == 14)
    scene.put(0)
    try scene.unit.resume()
    #expect(try scene.register("ptr") == 0)
  }

  @Test func `may come again, and the fresh item says the new event only (37)`() throws {
    let scene = try GuestScene()
    scene.hole(0)
    try scene.unit.run([.store(address, 1)])
    scene.put(0)
    scene.protect(0)
    try scene.unit.resume()
    #expect(scene.unit.codes == ["GPA_DATA"] && scene.unit.items[0].faultType == 1 << 9 && !scene.unit.items[0].isAnswered)
    scene.put(0)
    try scene.flushed()
    try scene.unit.resume()
    #expect(scene.word(0) == 1)
  }

  @Test func `that the hypervisor does nothing about comes back for ever: the host bounds it (38)`() throws {
    let scene = try GuestScene()
    scene.hole(0)
    try scene.unit.run([.load(address, to: 1)])
    for _ in 0..<100 {
      try scene.unit.resume()
      #expect(scene.unit.codes == ["GPA_DATA"])
    }
    #expect(scene.unit.writes[1] == nil)
  }

  @Test func `in mid-list comes first, and the rest follows with data, codes and marks (39)`() throws {
    let scene = try GuestScene()
    scene.hole(0)
    scene.hole(1)
    try scene.unit.run([.load(address, to: 1), .load(address + 0x1000, channel: 2, to: 2)])
    try scene.unit.bench.unit.answer([verdict(PGK_VERDICT_LEAVE), verdict(PGK_VERDICT_COMPLETE, 0x55)])
    try scene.unit.resume()
    #expect(scene.unit.codes == ["GPA_DATA", "READ_MU"])
    #expect(scene.unit.items.map(\.isAnswered) == [false, true] && scene.unit.items[1].words.3 == 0x55)
    scene.put(0)
    try scene.unit.resume()
    #expect(scene.unit[2] == 0x55 && scene.unit.writes[2] == 1)
  }

  @Test func `cannot hold more than eleven operations: a longer group is refused before it begins (43)`() throws {
    let scene = try GuestScene()
    scene.hole(3)
    let stores = (0..<10).map { Request.store(address + 8 * UInt64($0), 1) }
    try scene.unit.run(stores.prefix(0) + [.load(address + 0x3000, to: 1)] + stores)
    #expect(try scene.unit.items.count == 11 && scene.register("ptr") == 77)
    scene.put(3)
    try scene.unit.resume()
    let before = try scene.visible()
    #expect(throws: UnitError.self) {
      try scene.unit.run([.load(address, size: 16, to: 1)] + stores.map { Request($0.access, $0.value) })
    }
    #expect(try scene.visible() == before)
  }
}

@Suite struct `A fault of the guest's own` {
  @Test func `alone goes to its cellar without an exit`() throws {
    let scene = try GuestScene()
    scene.unmap(0)
    try scene.unit.run([.load(address, to: 1), .store(address + 0x1000, 3)])
    #expect(scene.unit.items.allSatisfy { [0, 1].contains($0.class_) })
    #expect(try scene.register("ptr") == 0)
    try scene.unit.resume([0: verdict(PGK_VERDICT_REFLECT)])
    #expect(try scene.register("trap_count") == 6 && scene.register("exc_data_page") == 1)
    #expect(try scene.unit.records().map(\.faultType) == [1 << 10, 0])
  }

  @Test func `behind an intercept lands in the guest's cellar with what follows, in order (28)`() throws {
    let scene = try GuestScene()
    scene.hole(0)
    scene.unmap(1)
    try scene.unit.run([.load(address, to: 1), .load(address + 0x1000, channel: 1, to: 2), .store(address + 0x2000, 7, channel: 3)])
    #expect(scene.unit.codes == ["GPA_DATA", "FORCED_GVA", "FORCED"])
    scene.put(0)
    try scene.unit.resume()
    #expect(scene.unit.writes == [1: 1] && scene.word(2) == 0)
    #expect(try scene.register("trap_count") == 6 && scene.register("exc_data_page") == 1)
    let records = try scene.unit.records()
    #expect(records.map(\.faultType) == [1 << 10, 0] && records.map(\.words.2) == [address + 0x1000, address + 0x2000])
  }

  @Test func `takes items of every code behind it along, unperformed; there they intercept anew (40)`() throws {
    let scene = try GuestScene(control: 1 << 15)
    scene.unmap(0)
    scene.hole(1)
    try scene.unit.run([.load(address, to: 1), .store(address + 0x1000, 5), .writeRegister(0x0e, 3, channel: 3)])
    #expect(scene.unit.codes == ["FORCED_GVA", "GPA_DATA", "WRITE_MU"])
    try scene.unit.resume()
    #expect(try scene.register("trap_count") == 9 && scene.register("hw0") == 0)
    let records = try scene.unit.records()
    #expect(records.map(\.faultType) == [1 << 10, 0, 0])
    try scene.unit.acknowledge()
    try scene.unit.reexecute(records[1])
    #expect(scene.unit.codes == ["GPA_DATA"])
  }

  @Test func `has a special operation behind it as a record, which the handler performs again (42)`() throws {
    let scene = try GuestScene(control: 1 << 15)
    scene.unmap(0)
    try scene.unit.run([.load(address, to: 1), .writeRegister(0x0e, 3, channel: 3)])
    #expect(scene.unit.codes == ["FORCED_GVA", "WRITE_MU"])
    try scene.unit.resume()
    let records = try scene.unit.records()
    #expect(records[1].condition[ConditionWord.mas] == 0x47 && records[1].words.2 == 0xe0)
    try scene.unit.acknowledge()
    try scene.unit.reexecute(records[1])
    #expect(scene.unit.codes == ["WRITE_MU"])
    try scene.unit.resume()
    #expect(try scene.register("hw0") == 3)
  }

  @Test func `keeps its own bits, and an item that the guest's tables refuse too gets its own (46)`() throws {
    let scene = try GuestScene(isShadow: true)
    scene.hole(0)
    scene.hole(1)
    scene.protect(2)
    try scene.unit.run([.load(address, to: 1), .load(address + 0x1000, channel: 2, to: 2), .store(address + 0x2000, 1, channel: 3)])
    #expect(scene.unit.codes == ["SHADOW_DATA", "SHADOW_DATA", "SHADOW_DATA"])
    let items = scene.unit.items
    try scene.unit.resume([0: WideUnit.guestFault(items[0], 1 << 10), 2: WideUnit.guestFault(items[2], 1 << 9)])
    #expect(try scene.unit.records().map(\.faultType) == [1 << 10, 0, 1 << 9])
    #expect(try scene.register("exc_data_page") == 1)
  }

  @Test func `takes FORCED items alone along by the other policy, and the rest is finished`() throws {
    let scene = try GuestScene(control: 1 << 15, [("follow", "forced-only")])
    scene.unmap(0)
    try scene.unit.run([.load(address, to: 1), .store(address + 0x1000, 5), .writeRegister(0x0e, 3, channel: 3)])
    #expect(scene.unit.codes == ["FORCED_GVA", "FORCED", "WRITE_MU"])
    try scene.unit.resume()
    #expect(try scene.register("trap_count") == 6 && scene.register("hw0") == 3 && scene.word(1) == 0)
  }

  @Test func `drops what stands before it as well by the other policy`() throws {
    let scene = try GuestScene([("commit_before_fault", "none")])
    scene.hole(1)
    try scene.unit.run([.store(address, 9), .load(address + 0x1000, to: 1)])
    #expect(scene.unit.codes == ["FORCED", "GPA_DATA"] && scene.word(0) == 0)
    scene.put(1)
    try scene.unit.resume()
    #expect(scene.word(0) == 9 && scene.unit.writes[1] == 1)
    try scene.unit.run([.store(address, 10), .load(address + 0x1000, to: 1)])
    #expect(scene.unit.items.isEmpty && scene.word(0) == 10)
  }

  @Test func `met while the list is finished takes the rest along`() throws {
    let scene = try GuestScene()
    scene.hole(0)
    try scene.unit.run([.load(address, to: 1), .load(address + 0x1000, channel: 2, to: 2)])
    scene.put(0)
    scene.unmap(0)
    try scene.unit.resume()
    #expect(try scene.unit.items.isEmpty && scene.register("trap_count") == 6)
    #expect(try scene.unit.records().map(\.faultType) == [1 << 10, 0])
  }
}

extension pgk_verdict_v1 {
  /// The operands of a register access are its data and its address.
  fileprivate func at(register number: UInt64) -> pgk_verdict_v1 {
    var verdict = self
    verdict.value.high = number << 4
    return verdict
  }
}

extension GuestScene {
  fileprivate func flushed() throws { for i in 0..<4 as Range<UInt64> { try flush(i) } }
}
