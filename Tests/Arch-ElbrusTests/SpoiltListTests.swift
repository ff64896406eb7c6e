// A cellar or a list that guest or hypervisor has spoilt: refused item by item, never a crash, never a write elsewhere.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_Elbrus

@Suite struct `A list that software has spoilt` {
  private let address = GuestScene.address

  /// Words that are wrong in one field, or in all.
  private func spoilt(_ word: UInt64, _ chance: inout Chance) -> UInt64 {
    switch chance.below(4) {
    case 0: word
    case 1: word ^ 1 << chance.below(64)
    case 2: chance.next()
    default: chance.pick([0, .max, word &+ 8, word << 8])
    }
  }

  @Test(arguments: 0..<16 as Range<UInt64>)
  func `through INTC_INFO_MU is refused item by item, and no memory of another changes`(_ seed: UInt64) throws {
    var chance = Chance(seed + 1)
    for _ in 0..<25 {
      let scene = try GuestScene(isShadow: chance.oneIn(2), control: chance.next() & 0x3ff_ffff)
      scene.hole(chance.below(4))
      try scene.unit.run([
        .store(address + chance.below(4) << 12, 1), .load(address + chance.below(4) << 12, size: 16, to: 5),
        .writeRegister(chance.pick([0, 1, 4, 5, 0x0e, 0x48]), chance.next(), channel: 3), .load(address + chance.below(4) << 12, channel: 2, to: 9),
      ])
      guard !scene.unit.items.isEmpty else { continue }
      let words = scene.unit.items.flatMap(\.sevenWords)
      _ = try scene.hypervisor("ptr_read")
      for word in words.prefix(Int(chance.below(UInt64(words.count + 1)))) {
        _ = try? scene.hypervisor("info_write", [spoilt(word, &chance)])
      }
      for _ in 0..<chance.below(20) { _ = try? scene.hypervisor(chance.oneIn(2) ? "info_read" : "ptr_read") }
      let foreign = scene.memory.words.filter { $0.key < 0x8_0000 || $0.key >= 0x7_0000_0000 }
      for _ in 0..<4 where !scene.unit.bench.unit.pending().isEmpty { try? scene.unit.resume() }
      #expect(scene.memory.words.filter { $0.key < 0x8_0000 || $0.key >= 0x7_0000_0000 } == foreign)
      let pointer = try scene.register("ptr")
      #expect(pointer <= 77)
    }
  }

  @Test(arguments: 0..<16 as Range<UInt64>)
  func `by verdicts that make no sense is refused or finished, and saved states of it come back`(_ seed: UInt64) throws {
    var chance = Chance(seed + 99)
    for _ in 0..<25 {
      let scene = try GuestScene(isShadow: chance.oneIn(2), control: chance.next() & 0x3ff_ffff)
      scene.hole(chance.below(4))
      scene.unmap(chance.below(4))
      try scene.unit.run([
        .load(address + chance.below(4) << 12, size: 16, to: 5), .store(address + chance.below(4) << 12 + 0xffd, 1),
        .readRegister(chance.pick([0, 1, 4, 5, 0x0e, 0x10, 0x44, 0x45, 0x49]), to: 3, channel: 3),
      ])
      for _ in 0..<6 where !scene.unit.bench.unit.pending().isEmpty {
        let verdicts = scene.unit.bench.unit.pending().map { _ in
          var verdict = WideUnit.verdict(UInt32(chance.below(8)), chance.next())
          verdict.outcome = UInt8(chance.below(60))
          verdict.words = (chance.next(), chance.next(), chance.next(), chance.next(), chance.next(), chance.next(), chance.next(), 0)
          return verdict
        }
        let unit = scene.unit.bench.unit
        if chance.oneIn(2) { try? unit.answer(verdicts) }
        let saved = try unit.save(chance.oneIn(20) ? PGK_SAVE_CACHES : 0)
        let list = unit.pending().map(\.sevenWords)
        try unit.restore(saved)
        #expect(unit.pending().map(\.sevenWords) == list)
        _ = try? unit.resume(verdicts)
      }
      if chance.oneIn(2) { try scene.unit.bench.unit.reset(PGK_RESET_PENDING) }
      _ = try? scene.hypervisor("info_write", [chance.next()])
    }
  }

  @Test(arguments: 0..<16 as Range<UInt64>)
  func `in the trap cellar is decoded or refused record by record, and performed again only where it can be`(_ seed: UInt64) throws {
    var chance = Chance(seed + 7)
    for _ in 0..<25 {
      let scene = try GuestScene()
      scene.unmap(0)
      try scene.unit.run([.store(address, 1), .load(address, size: 16, channel: 2, to: 5)])
      if scene.unit.bench.unit.pending().isEmpty { continue }
      try scene.unit.resume([0: WideUnit.verdict(PGK_VERDICT_REFLECT)])
      for i in 0..<9 as Range<UInt64> {
        let place = GuestScene.cellar + 8 * i
        scene.memory.words[place] = spoilt(scene.memory.words[place] ?? 0, &chance)
      }
      try scene.unit.bench.set([("trap_count", chance.below(64))])
      guard let records = try? scene.unit.records() else { continue }
      #expect(records.count <= 21)
      for record in records {
        try? scene.unit.reexecute(record)
        try scene.unit.bench.unit.reset(PGK_RESET_PENDING)
      }
    }
  }
}
