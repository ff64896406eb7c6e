import CPagingKit
import PagingKit
import Testing

let mebibyte: UInt64 = 1 << 20

/// A toy machine, small, whose data has bytes if they matter.
func makeMachine(
  _ regime: String = "three", options: [(name: String, value: String)] = [], pageShift: Int? = nil,
  data: UInt64 = 512 * mebibyte, tables: UInt64 = 16 * mebibyte, backing: MemoryPlan.Backing = .addressOnly,
  devices: [(range: PageRange<GuestPhysical>, device: any Device)] = []
) throws -> Machine {
  try Machine(
    Toy.architecture,
    MachineConfiguration(
      regime: regime, options: options, pageShift: pageShift,
      memory: MemoryPlan(tableByteCount: tables, dataByteCount: data, dataBacking: backing, devices: devices)))
}

/// A program: accesses with tags from 0, and room for results and values.
struct Program {
  var accesses: [pgk_access_v1] = []
  var values: [pgk_value_v1] = []
  var results: [pgk_result_v1] = []

  mutating func append(
    _ kind: UInt32, _ address: UInt64, sizeShift: UInt8 = 3, value: UInt64 = 0, flags: UInt32 = PGK_TRANSLATE_ONLY
  ) {
    accesses.append(pgk_access_v1(
      address: address, kind: UInt8(kind), size_log2: sizeShift, privilege: 1, flags: UInt8(flags),
      tag: UInt32(accesses.count)))
    var v = pgk_value_v1()
    v.low = value
    values.append(v)
    results.append(pgk_result_v1())
    results[results.count - 1].outcome = 99
  }

  /// Runs the accesses of a range as one batch.
  mutating func run(_ range: Range<Int>, on machine: Machine) throws {
    var part = Array(values[range]), ends = Array(results[range])
    try machine.run(Array(accesses[range]), values: &part, results: &ends, count: range.count)
    values.replaceSubrange(range, with: part)
    results.replaceSubrange(range, with: ends)
  }

  mutating func run(on machine: Machine) throws { try run(accesses.indices, on: machine) }

  static func single(_ kind: UInt32, _ address: UInt64) -> Program {
    var program = Program()
    program.append(kind, address)
    return program
  }
}

/// Runs one access and says what came of it.
@discardableResult
func access(_ machine: Machine, _ kind: UInt32, _ address: UInt64) throws -> pgk_result_v1 {
  var program = Program.single(kind, address)
  try program.run(on: machine)
  return program.results[0]
}

let unitVariants: [[(name: String, value: String)]] = [
  [], [("group", "4")], [("cacheAbsent", "true")], [("group", "7"), ("cacheAbsent", "true")],
]

@Suite struct `A program under demand paging` {
  @Test(arguments: ToyFormat.all.map(\.name), unitVariants.indices)
  func `finishes every access where its page says`(_ regime: String, _ variant: Int) throws {
    let machine = try makeMachine(regime, options: unitVariants[variant])
    var random = SplitMix64(seed: 7)
    var program = Program()
    for _ in 0..<5000 {
      program.append(
        [PGK_READ, PGK_WRITE, PGK_FETCH, PGK_MODIFY][Int(random.next(below: 4))], random.next(below: 300 << 12))
    }
    try program.run(on: machine)
    for (access, result) in zip(program.accesses, program.results) {
      #expect(result.outcome == PGK_OUTCOME_FINISHED)
      #expect(try machine.space.mapper.translate(Address(access.address))?.bits == result.output)
    }
    let touched = Set(program.accesses.flatMap { [$0.address >> 12, ($0.address + 7) >> 12] })
    #expect(machine.os.counts.allMapped == UInt64(touched.count))
    #expect(machine.os.counts.mapped == [12: UInt64(touched.count)])
    #expect(machine.unit.counters()[ToyCounter.faults.rawValue] >= UInt64(touched.count))
    #expect((machine.os.counts.spuriousFaults > 0) == unitVariants[variant].contains { $0.name == "cacheAbsent" })
  }

  @Test(arguments: unitVariants.indices, [UInt64(1), 2, 3])
  func `moves data as a straight-line interpreter does, every store once`(_ variant: Int, _ seed: UInt64) throws {
    let machine = try makeMachine(options: unitVariants[variant], backing: .backed)
    var random = SplitMix64(seed: seed)
    var program = Program()
    for _ in 0..<4000 {
      let kind = [PGK_READ, PGK_WRITE, PGK_MODIFY][Int(random.next(below: 3))]
      let size = UInt8(random.next(below: 4))
      program.append(kind, 0x4000 + random.next(below: 40 << 12), sizeShift: size, value: random.next(), flags: PGK_HAS_VALUE)
    }
    let given = program.values
    try program.run(on: machine)
    var memory: [UInt64: UInt8] = [:]
    for (i, access) in program.accesses.enumerated() {
      var expected: UInt64 = 0
      for byte in 0..<UInt64(1 << access.size_log2) {
        expected |= UInt64(memory[access.address + byte, default: 0]) << (8 * byte)
        if access.kind != PGK_READ { memory[access.address + byte] = UInt8(truncatingIfNeeded: given[i].low >> (8 * byte)) }
      }
      if access.kind != PGK_WRITE { #expect(program.values[i].low == expected, "access \(i)") }
    }
    for (address, byte) in memory {
      let place = try #require(try machine.space.mapper.translate(Address(address)))
      #expect(machine.memory.bytes(at: place, byteCount: 1)?[0] == byte)
    }
  }

  @Test(arguments: unitVariants.indices)
  func `stopped anywhere and continued equals the whole`(_ variant: Int) throws {
    var random = SplitMix64(seed: 11)
    var program = Program()
    for _ in 0..<60 { program.append(PGK_MODIFY, random.next(below: 30 << 12), value: random.next(), flags: PGK_HAS_VALUE) }
    func ending(_ cuts: [Int]) throws -> ([UInt64], [UInt64], [[UInt8]]) {
      let machine = try makeMachine(options: unitVariants[variant], backing: .backed)
      var copy = program
      for (start, end) in zip([0] + cuts, cuts + [program.accesses.count]) { try copy.run(start..<end, on: machine) }
      let pages = try (0..<31).map { page in
        let place = try machine.space.mapper.translate(Address(UInt64(page) << 12))
        return place.flatMap { machine.memory.bytes(at: $0, byteCount: 4096) }.map { Array($0) } ?? []
      }
      return (copy.values.map(\.low), copy.results.map(\.output), pages)
    }
    let whole = try ending([])
    for cut in 1..<program.accesses.count { #expect(try ending([cut]) == whole, "cut at \(cut)") }
    #expect(try ending(Array(1..<program.accesses.count)) == whole, "one by one")
  }

  @Test func `ends with a fault where it may not go, and goes on behind it`() throws {
    for options in unitVariants {
      let machine = try makeMachine(options: options)
      try machine.protect(PageRange(Address(0x5000), byteCount: 0x1000), PageAttributes([.read, .user]))
      try machine.unmap(PageRange(Address(0x6000), byteCount: 0x1000))
      var program = Program()
      for address in [0x4000, 0x5000, 0x6000, 0x7000] as [UInt64] {
        for kind in [PGK_READ, PGK_WRITE] { program.append(kind, address) }
      }
      program.append(PGK_READ, 1 << 50)
      program.append(PGK_READ, 0x4008)
      try program.run(on: machine)
      let names = program.results.map { ToyOutcome(rawValue: $0.outcome) }
      #expect(names[0...2] == [.finished, .finished, .finished] && names[6...7] == [.finished, .finished])
      // In a group, the store was listed before its neighbour had the page mapped.
      let isGrouped = options.contains { $0.name == "group" }
      #expect(names[3] == .denied || isGrouped && names[3] == .absent)
      #expect(names[4] == .absent && names[5] == .absent)
      #expect(names[8] == .nonCanonical && names[9] == .finished)
      #expect(program.results[3].output == 0x5000 && program.results[4].output == 0x6000)
      #expect(machine.counters()["programFaults"] == 4)
    }
  }

  @Test func `gets a page with its marks preset, so that no second fault is needed for them`() throws {
    let machine = try makeMachine()
    try access(machine, PGK_READ, 0x1000)
    try access(machine, PGK_WRITE, 0x2000)
    #expect(try machine.space.mapper.mapping(of: Address(0x1000))?.attributes.flags == [.read, .write, .execute, .user, .accessed, .dirty])
    #expect(try machine.space.mapper.mapping(of: Address(0x2000))?.attributes.flags.contains(.dirty) == true)
  }
}

@Suite struct `A page-size policy` {
  @Test(arguments: [("two", 22), ("three", 21), ("three", 30), ("narrow", 21), ("wide", 30)])
  func `maps large leaves where they fit`(_ regime: String, _ shift: Int) throws {
    let machine = try makeMachine(regime, pageShift: shift, data: 4 << 30)
    var program = Program()
    for i in 0..<1000 { program.append(PGK_WRITE, UInt64(i) * 0x9008 & 0xffff_fff8) }
    try program.run(on: machine)
    #expect(program.results.allSatisfy { $0.outcome == PGK_OUTCOME_FINISHED && $0.page_shift == shift })
    let pages = Set(program.accesses.map { $0.address >> UInt64(shift) })
    #expect(machine.os.counts.mapped == [shift: UInt64(pages.count)])
  }

  @Test func `takes smaller pages where an area ends, something is mapped, or no large frame is left`() throws {
    let machine = try makeMachine(pageShift: 21, data: 6 * mebibyte)
    let space = machine.space
    space.areas = Areas()
    space.areas.insert(Area(PageRange(Address(0x20_0000), byteCount: 0x30_0000), .program))
    #expect(try access(machine, PGK_READ, 0x20_0000).page_shift == 21)
    #expect(try access(machine, PGK_READ, 0x40_0000).page_shift == 12, "the area ends within the large page")
    space.areas.insert(Area(PageRange(Address(0x40_0000), byteCount: 0x40_0000), .program))
    #expect(try access(machine, PGK_READ, 0x41_0000).page_shift == 12, "a small page is in the way")
    #expect(try access(machine, PGK_READ, 0x60_0000).page_shift == 21)
    space.areas.insert(Area(PageRange(Address(0x80_0000), byteCount: 0x20_0000), .program))
    #expect(try access(machine, PGK_READ, 0x80_0000).page_shift == 12, "the last 2 MiB have a hole")
  }

  @Test func `that the format does not know is refused with those it knows`() throws {
    let error = #expect(throws: MachineError.self) { try makeMachine("narrow", pageShift: 30) }
    #expect(error?.description == "narrow has no pages of 1 GiB; it has 4 KiB, 2 MiB")
  }
}

@Suite struct `Address spaces` {
  @Test(arguments: unitVariants.indices)
  func `are kept apart by their identifiers`(_ variant: Int) throws {
    let machine = try makeMachine(options: unitVariants[variant], backing: .backed)
    let spaces = [machine.space, try machine.makeSpace(), try machine.makeSpace()]
    #expect(Set(spaces.map(\.identifier)).count == 3)
    var random = SplitMix64(seed: 5)
    var model: [[UInt64: UInt64]] = [[:], [:], [:]]
    for _ in 0..<400 {
      let current = Int(random.next(below: 3))
      try machine.switchTo(spaces[current])
      var program = Program()
      for _ in 0..<8 { program.append(PGK_MODIFY, random.next(below: 40) << 12, value: random.next(), flags: PGK_HAS_VALUE) }
      let given = program.values
      try program.run(on: machine)
      for i in program.accesses.indices {
        #expect(program.values[i].low == model[current][program.accesses[i].address, default: 0])
        model[current][program.accesses[i].address] = given[i].low
      }
    }
    #expect(machine.unit.counters()[ToyCounter.invalidations.rawValue] <= machine.os.counts.spuriousFaults, "a switch invalidates nothing")
  }

  @Test func `give back everything when they end, and their identifier is used again clean`() throws {
    let machine = try makeMachine()
    let before = machine.os.tableByteCount
    for round in 0..<40 {  // more than there are identifiers
      let space = try machine.makeSpace()
      try machine.switchTo(space)
      let first = try access(machine, PGK_READ, 0x1000 * UInt64(1 + round % 2))
      #expect(first.entry_reads > 0, "no translation of an ended space is left")
      try machine.switchTo(machine.os.spaces[0])
      try machine.destroy(space)
    }
    #expect(machine.os.tableByteCount == before)
    #expect(machine.os.counts.unmapped == 40)
    #expect(throws: MachineError.self) { try machine.destroy(machine.space) }
  }

  @Test func `run out when every identifier is taken`() throws {
    let machine = try makeMachine()
    for _ in 0..<14 { _ = try machine.makeSpace() }
    let error = #expect(throws: MachineError.self) { try machine.makeSpace() }
    #expect(error?.description == "all 16 identifiers of address spaces are taken; destroy a space first")
  }
}

@Suite struct `A cached translation` {
  @Test func `keeps its right until the required invalidation is performed`() throws {
    let machine = try makeMachine()
    let page = PageRange<Virtual>(Address(0x3000), byteCount: 0x1000)
    try access(machine, PGK_WRITE, 0x3000)
    let pending = try machine.space.mapper.protect(page, PageAttributes([.read, .user]))
    machine.space.areas.protect(page, PageAttributes([.read, .user]))
    #expect(try access(machine, PGK_WRITE, 0x3000).outcome == PGK_OUTCOME_FINISHED, "the old right is cached")
    try machine.os.perform(pending, in: machine.space)
    #expect(try access(machine, PGK_WRITE, 0x3000).outcome == ToyOutcome.denied.rawValue)
    #expect(try access(machine, PGK_READ, 0x3000).outcome == PGK_OUTCOME_FINISHED)
  }

  @Test func `of an unmapped range is gone before its frame is used again`() throws {
    let machine = try makeMachine(data: 4 * 0x1000, backing: .backed)
    for round in 0..<50 as Range<UInt64> {
      var program = Program()
      program.append(PGK_MODIFY, 0x1_0000 + round << 12, value: 0xdead + round, flags: PGK_HAS_VALUE)
      try program.run(on: machine)
      #expect(program.values[0].low == 0, "a page begins with zeros")
      try machine.unmap(PageRange(Address(0x1_0000 + round << 12), byteCount: 0x1000))
      #expect(try access(machine, PGK_READ, 0x1_0000 + round << 12).outcome == ToyOutcome.absent.rawValue)
    }
    #expect(machine.counters()["pagesMapped"] == 50)
  }

  @Test func `that denies what tables allow is invalidated and the access finished`() throws {
    let machine = try makeMachine()
    let page = PageRange<Virtual>(Address(0x3000), byteCount: 0x1000)
    try machine.protect(page, PageAttributes([.read, .user]))
    try access(machine, PGK_READ, 0x3000)
    try machine.space.mapper.protect(page, .program).drop()
    machine.space.areas.protect(page, .program)
    #expect(try access(machine, PGK_WRITE, 0x3000).outcome == PGK_OUTCOME_FINISHED)
  }
}
