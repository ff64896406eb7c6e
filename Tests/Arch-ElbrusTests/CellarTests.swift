import CPagingKit
import PagingKit
import Testing

@testable import Arch_Elbrus

private let address = Mapped.address
private let page = Mapped.page

/// A unit with V6 tables, a trap cellar, and groups as they are marked.
private struct CellarBench {
  static let cellar: UInt64 = 0x8_0000
  let bench: Bench
  let tables: Tables

  init(iset: Int = 6) throws {
    bench = try Bench(iset: iset, [("grouping", "marked")])
    tables = Tables(bench.memory, iset < 6 ? .v3 : .v6, root: 0x10_0000)
    try bench.turnOn(tables.shape, root: tables.root)
    try bench.set([("trap_point", Self.cellar)])
    for i in 0..<4 as Range<UInt64> { tables.map(address + i << 12, to: page + i << 12) }
  }

  /// Takes a page out: valid, not present.
  func unmap(_ index: UInt64) { tables[address + index << 12] = tables.valid }

  static func load(_ address: UInt64, size: UInt8 = 3, _ qualifier: AccessQualifier) -> Request {
    access(PGK_READ, address, size, qualifier)
  }
  static func store(_ address: UInt64, size: UInt8 = 3, channel: UInt64 = 1, _ low: UInt64, high: UInt64 = 0, isPacked: Bool = false) -> Request {
    var request = access(PGK_WRITE, address, size, AccessQualifier(channel: channel, isPacked: isPacked))
    request.value.low = low
    request.value.high = high
    return request
  }
  private static func access(_ kind: UInt32, _ address: UInt64, _ size: UInt8, _ qualifier: AccessQualifier) -> Request {
    var request = Request(pgk_access_v1(address: address, kind: UInt8(kind), size_log2: size, privilege: 0, flags: UInt8(PGK_HAS_VALUE), tag: 0))
    request.value.qualifier = qualifier.bits
    return request
  }

  /// Runs one group. Returns what became of each access, and its value.
  @discardableResult
  func run(_ group: [Request]) throws -> [(outcome: String, value: pgk_value_v1)] {
    var accesses = group.map(\.access)
    for i in accesses.indices { accesses[i].tag = UInt32(i) }
    accesses[accesses.count - 1].flags |= UInt8(PGK_END_OF_GROUP)
    var values = group.map(\.value)
    var results = [pgk_result_v1](repeating: pgk_result_v1(), count: group.count)
    #expect(try bench.unit.run(accesses, values: &values, results: &results, count: group.count) == group.count)
    return zip(results, values).map { (elbrus.outcomeName($0.outcome), $1) }
  }

  /// The whole list goes to the guest.
  func reflect() throws {
    var verdict = pgk_verdict_v1()
    verdict.kind = UInt8(PGK_VERDICT_REFLECT)
    let first = bench.unit.pending().firstIndex { $0.class_ == UInt8(PGK_CLASS_GUEST_FAULT) }!
    #expect(first == 0)
    _ = try bench.unit.resume([verdict])
  }

  func word(_ offset: UInt64) -> UInt64 { bench.memory.words[Self.cellar + offset] ?? 0 }
  func condition(_ record: UInt64) -> ConditionWord { ConditionWord(bits: word(24 * record + 16)) }

  /// Reads and decodes the cellar as a kernel does, through the services of the border.
  func decoded() throws -> [pgk_listed_v1] {
    let os = elbrus.table.pointee.os.pointee
    var accesses = [pgk_access_v1](repeating: pgk_access_v1(), count: 256)
    var values = [pgk_value_v1](repeating: pgk_value_v1(), count: 256)
    var known = 0
    while true {
      var more = accesses
      var moreValues = values
      let count = Int(os.read_faults(bench.unit.handle, &more, &moreValues, known, 256))
      if count <= 0 { break }
      var results = [pgk_result_v1](repeating: pgk_result_v1(), count: count)
      #expect(try bench.unit.run(more, values: &moreValues, results: &results, count: count) == count)
      for i in 0..<count { (accesses[known + i], values[known + i]) = (more[i], moreValues[i]) }
      known += count
    }
    var list = [pgk_listed_v1](repeating: pgk_listed_v1(), count: 32)
    let count = os.decode_faults(bench.unit.handle, accesses, values, known, &list, 32)
    if count < 0 { throw UnitError(code: Int32(count), message: bench.unit.lastMessage) }
    return Array(list.prefix(Int(count)))
  }

  /// Performs a record's operation again.
  func reexecute(_ listed: pgk_listed_v1) throws -> (outcome: String, value: pgk_value_v1) {
    var listed = listed
    var access = pgk_access_v1()
    var value = pgk_value_v1()
    let count = elbrus.table.pointee.os.pointee.reexecute(bench.unit.handle, &listed, &access, &value, 1)
    if count < 0 { throw UnitError(code: Int32(count), message: bench.unit.lastMessage) }
    #expect(count == 1)
    return try run([Request(access, value)])[0]
  }

  func acknowledge() throws {
    var access = pgk_access_v1()
    var value = pgk_value_v1()
    #expect(elbrus.table.pointee.os.pointee.acknowledge(bench.unit.handle, &access, &value, 1) == 1)
    try run([Request(access, value)])
  }
}

@Suite struct `The trap cellar` {
  @Test func `gets a store that misses, with its data in the lanes of memory, and memory shows it once when it is performed again (1)`() throws {
    let c = try CellarBench()
    c.unmap(0)
    #expect(try c.run([CellarBench.store(address + 5, size: 1, 0xbeef)])[0].outcome == "listed")
    try c.reflect()
    #expect(try c.bench.register("trap_count") == 3)
    #expect(c.word(0) == address + 5 && c.word(8) == 0xbe_ef << 40)
    let condition = c.condition(0)
    #expect(condition[ConditionWord.store] == 1 && condition[ConditionWord.fmt] == 2 && condition[ConditionWord.chan] == 1)
    #expect(condition[ConditionWord.fault_type] == 1 << 10 && condition[ConditionWord.miss_lvl] == 0)
    let records = try c.decoded()
    #expect(records.count == 1 && records[0].value.low & 0xffff == 0xbeef && records[0].access.address == address + 5)
    c.tables.map(address, to: page)
    try c.acknowledge()
    #expect(try c.bench.register("trap_count") == 0)
    #expect(c.bench.memory.words[page] == nil)
    #expect(try c.reexecute(records[0]).outcome == "finished")
    #expect(c.bench.memory.words[page] == 0xbe_ef << 40)
  }

  @Test func `gets a load with its destination, and delivers its value only when it is performed again (2)`() throws {
    let c = try CellarBench()
    c.unmap(1)
    c.bench.memory.words[page + 0x1008] = 0x1234_5678_9abc_def0
    try c.run([CellarBench.load(address + 0x1008, size: 2, AccessQualifier(channel: 2, destination: 77))])
    try c.reflect()
    let condition = c.condition(0)
    #expect(condition[ConditionWord.address] == 77 && condition[ConditionWord.vr] == 1 && condition[ConditionWord.vl] == 1)
    #expect(condition[ConditionWord.chan] == 2 && condition[ConditionWord.store] == 0)
    c.tables.map(address + 0x1000, to: page + 0x1000)
    let record = try c.decoded()[0]
    #expect(AccessQualifier(bits: record.value.qualifier).destination == 77)
    #expect(try c.reexecute(record).value.low == 0x9abc_def0)
  }

  @Test func `gets the neighbours behind the fault in order, innocent ones with fault type 0, others with faults of their own (3, 4)`() throws {
    let c = try CellarBench()
    c.unmap(1)
    c.tables[address + 0x2000] &= ~Tables.writable
    let before = c.tables[address + 0x3000]
    c.tables[address + 0x3000] &= ~(Tables.accessed | Tables.dirty)
    let outcomes = try c.run([
      CellarBench.store(address, 1), CellarBench.load(address + 0x1000, AccessQualifier(destination: 1)),
      CellarBench.store(address + 0x3000, channel: 3, 2), CellarBench.store(address + 0x2000, 3),
    ])
    // What stands in front of the fault is done for good.
    #expect(outcomes.map(\.outcome) == ["finished", "listed", "listed", "listed"])
    #expect(c.bench.memory.words[page] == 1)
    try c.reflect()
    #expect(try c.bench.register("trap_count") == 9)
    #expect((0..<3).map { c.word(24 * $0) } == [address + 0x1000, address + 0x3000, address + 0x2000])
    #expect((0..<3).map { c.condition($0)[ConditionWord.fault_type] } == [1 << 10, 0, 1 << 9])
    // A and D wait until an operation is performed.
    #expect(c.tables[address + 0x3000] & (Tables.accessed | Tables.dirty) == 0 && before != 0)
    #expect(c.bench.memory.words[page + 0x3000] == nil)
    let records = try c.decoded()
    #expect(records.map { elbrus.outcomeName($0.outcome) } == ["page_miss", "finished", "nwrite_page"])
    #expect(records.map { UInt32($0.class_) } == [PGK_CLASS_GUEST_FAULT, PGK_CLASS_COLLATERAL, PGK_CLASS_GUEST_FAULT])
  }

  @Test func `counts on from TRAP_COUNT, up to 21 records (5)`() throws {
    let c = try CellarBench()
    c.unmap(0)
    for count in 1...24 as ClosedRange<UInt64> {
      try c.run([CellarBench.load(address + 8 * count, AccessQualifier())])
      try c.reflect()
      #expect(try c.bench.register("trap_count") == min(63, 3 * count))
    }
    #expect(c.word(24 * 20) == address + 8 * 21 && c.word(24 * 21) == 0)
    try c.bench.set([("trap_count", 0)])
    try c.run([CellarBench.load(address, AccessQualifier())])
    try c.reflect()
    #expect(c.word(0) == address)
  }

  @Test func `gets a packed operation with an extension 512 bytes behind, and a pair of 8 bytes as two records (6, 7)`() throws {
    let c = try CellarBench()
    c.unmap(0)
    try c.run([
      CellarBench.store(address + 0x10, size: 4, 0x1111, high: 0x2222, isPacked: true),
      CellarBench.store(address + 0x20, size: 4, 0x3333, high: 0x4444),
      CellarBench.load(address + 0x30, size: 4, AccessQualifier(channel: 2, destination: 5)),
    ])
    try c.reflect()
    #expect(try c.bench.register("trap_count") == 15)
    #expect(c.condition(0)[ConditionWord.fmt] == 7 && c.word(512 + 8) == 0x2222 && c.word(512 + 16) == 0xffff)
    #expect((1...4).map { c.condition($0)[ConditionWord.fmt] } == [5, 5, 5, 5])
    #expect((1...4).map { c.condition($0)[ConditionWord.chan] } == [1, 3, 2, 3])
    #expect((1...4).map { c.word(24 * $0) } == [address + 0x20, address + 0x28, address + 0x30, address + 0x38])
    #expect(c.condition(3)[ConditionWord.address] == 5 && c.condition(4)[ConditionWord.address] == 6)
    c.tables.map(address, to: page)
    let records = try c.decoded()
    #expect(records.count == 5)
    #expect(records.map(\.isLaterPart) == [false, false, true, false, true])
    for record in records { #expect(try c.reexecute(record).outcome == "finished") }
    #expect([0x10, 0x18, 0x20, 0x28].map { c.bench.memory.words[page + $0] } == [0x1111, 0x2222, 0x3333, 0x4444])
  }

  @Test func `gets an access that crosses with num_align when the second page is missing, and its first byte comes back (8)`() throws {
    let c = try CellarBench()
    c.unmap(1)
    try c.run([CellarBench.store(address + 0xffd, 0x8877_6655_4433_2211)])
    try c.reflect()
    #expect(c.word(0) == address + 0xffd + 8 && c.condition(0)[ConditionWord.num_align] == 1)
    let record = try c.decoded()[0]
    #expect(record.access.address == address + 0xffd && record.fault_address == address + 0x1000)
    #expect(record.value.low == 0x8877_6655_4433_2211)
    c.tables.map(address + 0x1000, to: page + 0x1000)
    #expect(try c.reexecute(record).outcome == "finished")
    #expect(c.bench.memory.words[page + 0xff8] == 0x33_2211 << 40 && c.bench.memory.words[page + 0x1000] == 0x88_7766_5544)
  }

  @Test func `gets a dropped register access, which the handler performs again`() throws {
    let c = try CellarBench()
    c.unmap(0)
    try c.run([CellarBench.load(address, AccessQualifier()), ElbrusUnit.write(RegisterIndex.pid, 9)])
    try c.reflect()
    #expect(try c.bench.register("pid") == 0)
    #expect(c.word(24) == 0x10 && c.word(32) == 9)
    #expect(c.condition(1)[ConditionWord.mas] == 0x47 && c.condition(1)[ConditionWord.fault_type] == 0)
    let records = try c.decoded()
    _ = try c.reexecute(records[1])
    #expect(try c.bench.register("pid") == 9)
  }

  @Test func `gets no fetch: that faults precisely, with its address (15)`() throws {
    let c = try CellarBench()
    c.tables[address] |= c.tables.nonExecutable
    var fetch = Request(pgk_access_v1())
    fetch.access.address = address + 8
    fetch.access.kind = UInt8(PGK_FETCH)
    try c.run([fetch])
    try c.reflect()
    #expect(try c.bench.register("trap_count") == 0)
    #expect(try c.bench.register("tir_hi") == 1 << 21 && c.bench.register("tir_lo") == address + 8)
    #expect(try c.decoded().map { elbrus.outcomeName($0.outcome) } == ["instr_page_prot"])
  }

  @Test func `has a lock performed again as a plain load`() throws {
    let c = try CellarBench()
    c.tables[address] &= ~Tables.writable
    try c.run([CellarBench.load(address, AccessQualifier(mas: 7))])
    try c.reflect()
    #expect(c.condition(0)[ConditionWord.fault_type] == 1 << 9 && c.condition(0)[ConditionWord.mas] == 7)
    let record = try c.decoded()[0]
    #expect(try c.reexecute(record).outcome == "finished")
  }

  @Test func `that the guest has spoilt is refused, and nothing is written`() throws {
    let c = try CellarBench()
    c.unmap(0)
    try c.run([CellarBench.store(address, 1)])
    try c.reflect()
    let condition = CellarBench.cellar + 16
    let good = c.bench.memory.words[condition]!
    for spoilt in [good & ~(7 << 10), good | 7 << 10 & ~(1 << 10), good & ~(1 << 32), .max, 0] {
      c.bench.memory.words[condition] = spoilt
      let before = c.bench.memory.words
      if let records = try? c.decoded() { #expect(records.count == 1) }
      #expect(c.bench.memory.words == before)
    }
    c.bench.memory.words[condition] = good & ~(7 << 10)
    let record = try c.decoded()[0]
    #expect(throws: UnitError.self) { try c.reexecute(record) }
    try c.bench.set([("trap_count", 0)])
    #expect(try c.decoded().isEmpty)
  }

  @Test func `is left alone while TRAP_POINT is 0, and the host has the list`() throws {
    let c = try CellarBench()
    try c.bench.set([("trap_point", 0)])
    c.unmap(0)
    let before = c.bench.memory.words
    try c.run([CellarBench.load(address, AccessQualifier())])
    try c.reflect()
    #expect(c.bench.memory.words == before)
    #expect(try c.decoded().map { elbrus.outcomeName($0.outcome) } == ["page_miss"])
  }
}

@Suite struct `A machine with a trap cellar` {
  /// Results and data of a random program.
  private func run(seed: UInt64, iset: Int, regime: String, groupLength: UInt64, hasCellar: Bool) throws -> ([pgk_result_v1], [pgk_value_v1], UInt64) {
    let machine = try Machine(
      elbrus,
      MachineConfiguration(
        regime: regime, options: [("iset", "\(iset)"), ("grouping", "marked")],
        memory: MemoryPlan(tableByteCount: 16 << 20, dataByteCount: 16 << 20, dataBacking: .backed)))
    if hasCellar {
      let place = machine.memory.allocateTable(byteCount: 4096, alignment: 4096)!
      _ = try machine.unit.writeRegisters([(RegisterIndex.trapPoint, place.bits)])
    }
    var chance = Chance(seed)
    var cuts = Chance(seed)
    let kinds = [PGK_READ, PGK_WRITE, PGK_WRITE, PGK_MODIFY, PGK_LOAD_LOCKED]
    var accesses: [pgk_access_v1] = []
    var values: [pgk_value_v1] = []
    var left = groupLength
    for i in 0..<400 as Range<UInt32> {
      let kind = chance.pick(kinds)
      var access = pgk_access_v1(
        address: 0x1_0000 + chance.below(40 << 12), kind: UInt8(kind), size_log2: UInt8(chance.below(5)), privilege: machine.programPrivilege,
        flags: 0, tag: i)
      var value = pgk_value_v1()
      value.low = chance.next()
      value.high = chance.next()
      left -= 1
      if left == 0 {
        access.flags = UInt8(PGK_END_OF_GROUP)
        left = 1 + cuts.below(groupLength)
      }
      accesses.append(access)
      values.append(value)
    }
    var results = [pgk_result_v1](repeating: pgk_result_v1(), count: accesses.count)
    try machine.run(accesses, values: &values, results: &results, count: accesses.count)
    // What a store leaves in its own value is nobody's business.
    for (i, access) in accesses.enumerated() where UInt32(access.kind) == PGK_WRITE { values[i] = pgk_value_v1() }
    return (results, values, machine.counters()["traps"]!)
  }

  @Test(arguments: [("v6", 6), ("v3", 4), ("v6-separate", 7)], 1...8 as ClosedRange<UInt64>)
  func `runs a program as one without it`(_ regime: (String, Int), _ seed: UInt64) throws {
    let single = try run(seed: seed, iset: regime.1, regime: regime.0, groupLength: 1, hasCellar: false)
    for length in [1, 4, 7] as [UInt64] {
      let (results, values, traps) = try run(seed: seed, iset: regime.1, regime: regime.0, groupLength: length, hasCellar: true)
      #expect(results.map(\.outcome) == single.0.map(\.outcome) && results.map(\.outcome).allSatisfy { $0 == 0 })
      #expect(zip(values, single.1).allSatisfy { $0.low == $1.low && $0.high == $1.high })
      #expect(traps > 0)
    }
  }
}
