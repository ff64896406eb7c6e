import CPagingKit
import PagingKit
import Testing

@testable import Arch_Elbrus

@Suite struct `An operating system on Elbrus` {
  private static let regimes = [("v6", 6), ("v6-separate", 6), ("v3", 3), ("v3", 4), ("v3", 5), ("v3", 6), ("v6", 7)]

  private func booted(_ regime: String, _ iset: Int, pageShift: Int? = nil) throws -> Machine {
    try Machine(elbrus, MachineConfiguration(regime: regime, options: [("iset", "\(iset)")], pageShift: pageShift))
  }

  private func run(_ machine: Machine, _ list: [(kind: UInt32, address: UInt64)]) throws -> [String] {
    let accesses = list.enumerated().map { i, item in
      pgk_access_v1(address: item.address, kind: UInt8(item.kind), size_log2: 3, privilege: machine.programPrivilege, flags: UInt8(PGK_TRANSLATE_ONLY), tag: UInt32(i))
    }
    var results = [pgk_result_v1](repeating: pgk_result_v1(), count: list.count)
    try machine.run(accesses, results: &results, count: list.count)
    return results.map { elbrus.outcomeName($0.outcome) }
  }

  @Test(arguments: regimes)
  func `pages in on demand`(_ regime: String, _ iset: Int) throws {
    let machine = try booted(regime, iset)
    let outcomes = try run(machine, [
      (PGK_READ, 0x1000), (PGK_WRITE, 0x7f12_3456_7ffc), (PGK_FETCH, 0x40_0000), (PGK_MODIFY, 0xd123_4567_8000), (PGK_READ, 0x1008),
    ])
    #expect(outcomes == ["finished", "finished", "finished", "finished", "finished"])
    #expect(machine.os.counts.allMapped == 5)
    #expect(machine.unit.regime == elbrus.regimeIndex(named: regime))
  }

  @Test(arguments: regimes)
  func `switches spaces, and takes pages and rights away`(_ regime: String, _ iset: Int) throws {
    let machine = try booted(regime, iset)
    let first = machine.space
    #expect(try run(machine, [(PGK_WRITE, 0x5000), (PGK_WRITE, 0x6000)]) == ["finished", "finished"])
    let second = try machine.makeSpace()
    try machine.switchTo(second)
    #expect(try run(machine, [(PGK_WRITE, 0x5000)]) == ["finished"])
    try machine.switchTo(first)
    try machine.protect(PageRange(Address(0x5000), byteCount: 4096), PageAttributes([.read, .user]))
    #expect(try run(machine, [(PGK_READ, 0x5000), (PGK_WRITE, 0x5000), (PGK_WRITE, 0x6000)]) == ["finished", "nwrite_page", "finished"])
    try machine.unmap(PageRange(Address(0x6000), byteCount: 4096))
    #expect(try run(machine, [(PGK_READ, 0x6000)]) == ["page_miss"])
    try machine.destroy(second)
  }

  @Test(arguments: regimes, [21, 30])
  func `uses large pages that the revision has`(_ regime: (String, Int), _ shift: Int) throws {
    if shift == 30 && regime.1 < 5 {
      #expect(throws: (any Error).self) { try booted(regime.0, regime.1, pageShift: shift) }
      return
    }
    let machine = try booted(regime.0, regime.1, pageShift: shift)
    #expect(try run(machine, [(PGK_WRITE, 0x1_2345_6780), (PGK_READ, 0x1_2345_0000)]) == ["finished", "finished"])
    #expect(machine.os.counts.allMapped == 1)
  }

  @Test func `flushes page by page up to sixteen, and then everything`() throws {
    let bench = try Bench()
    let model = try ElbrusUnit(options: OptionValues(ElbrusUnit.definition.options, given: []), memory: PhysicalMemory.make(bench.memory.map.pointer).get())
    let few = try model.invalidate(scope: PGK_SCOPE_RANGE, address: 0x1234, byteCount: 15 * 4096, identifier: 7)
    #expect(few.count == 16 && few.allSatisfy { $0.access.address == Operation.flushPage.rawValue })
    #expect(few.map { FlushOperand(bits: $0.value.low).address } == (1...16).map { $0 * 4096 })
    #expect(few.allSatisfy { FlushOperand(bits: $0.value.low).context == 7 })
    let many = try model.invalidate(scope: PGK_SCOPE_RANGE, address: 0, byteCount: 17 * 4096, identifier: 7)
    #expect(many.map(\.access.address) == [Operation.flushAll.rawValue])
    let tables = try model.invalidate(scope: PGK_SCOPE_PAGE | PGK_SCOPE_TABLES, address: 0x1000, byteCount: 4096, identifier: 0)
    #expect(tables.map(\.value.high) == [FlushKind.page] + [UInt64](repeating: FlushKind.walkCaches, count: 3))
  }
}
