import CPagingKit
import PagingKit
import Testing

/// A device that writes down what reached it, and what it saw in memory at that time.
final class Logbook: Device {
  var lines: [String] = []
  var seen: () -> UInt64 = { 0 }
  func load(at offset: UInt64, byteCount: Int) -> pgk_value_v1 {
    lines.append("load \(offset) after \(seen())")
    var value = pgk_value_v1()
    value.low = 1000 + UInt64(lines.count)
    return value
  }
  func store(_ value: pgk_value_v1, at offset: UInt64, byteCount: Int) { lines.append("store \(offset) = \(value.low) after \(seen())") }
}

@Suite struct `Device accesses` {
  @Test(arguments: unitVariants.indices, [UInt64(1), 2, 3, 4])
  func `happen once and in program order, whatever faults around them`(_ variant: Int, _ seed: UInt64) throws {
    let log = Logbook()
    let range = PageRange<GuestPhysical>(Address(0x8000_0000), byteCount: 0x1000)
    let machine = try makeMachine(options: unitVariants[variant], backing: .backed, devices: [(range, log)])
    try machine.map(PageRange(Address(0x70_0000), byteCount: 0x1000), to: range.start, pageShift: 12, .program)
    log.seen = { [unowned machine] in
      guard let place = try? machine.space.mapper.translate(Address(0x60_0000)) else { return 0 }
      return machine.memory.bytes(at: place, byteCount: 8)!.load(as: UInt64.self)
    }
    var random = SplitMix64(seed: seed)
    var program = Program()
    var expected: [String] = []
    var answers: [Int: UInt64] = [:]
    var stored = 0
    for i in 0..<600 {
      let isStore = random.next(below: 2) == 0
      if random.next(below: 3) == 0 {
        let offset = random.next(below: 64) * 8
        program.append(isStore ? PGK_WRITE : PGK_READ, 0x70_0000 + offset, value: UInt64(i), flags: PGK_HAS_VALUE)
        expected.append((isStore ? "store \(offset) = \(i)" : "load \(offset)") + " after \(stored)")
        if !isStore { answers[i] = 1000 + UInt64(expected.count) }
      } else if random.next(below: 2) == 0 {
        program.append(PGK_WRITE, 0x60_0000, value: UInt64(i), flags: PGK_HAS_VALUE)
        stored = i
      } else {
        program.append(isStore ? PGK_WRITE : PGK_READ, random.next(below: 200) << 12, value: UInt64(i), flags: PGK_HAS_VALUE)
      }
    }
    try program.run(on: machine)
    #expect(log.lines == expected)
    for (i, value) in answers { #expect(program.values[i].low == value) }
    #expect(program.results.allSatisfy { $0.outcome == PGK_OUTCOME_FINISHED })
    #expect(machine.counters()["deviceAccesses"] == UInt64(expected.count))
  }
}

@Suite struct `A machine that cannot go on` {
  @Test func `says which access found no frame`() throws {
    let pages = try makeMachine(data: 3 * 0x1000)
    for page in 1...3 as ClosedRange<UInt64> { try access(pages, PGK_WRITE, page << 12) }
    let noPage = #expect(throws: MachineError.self) { try access(pages, PGK_WRITE, 0x4000) }
    #expect(noPage?.description == "out of memory: no frame for a page, needed by write of 8 bytes at 0x4000")

    let tables = try makeMachine(tables: 2 * mebibyte)
    let noTable = #expect(throws: MachineError.self) {
      for i in 0..<600 as Range<UInt64> { try access(tables, PGK_READ, i << 21) }
    }
    #expect(noTable?.description.hasPrefix("out of memory: no frame for a table, needed by read") == true)
  }

  @Test func `names an operation that makes no progress`() throws {
    let machine = try makeMachine(options: [("stubborn", "true")])
    let error = #expect(throws: MachineError.self) { try access(machine, PGK_READ, 0x9000) }
    #expect(error?.description == "no progress after 8 attempts: read of 8 bytes at 0x9000")
  }

  @Test func `is not built for a regime, a size or an option that is none`() throws {
    func reason(_ configuration: MachineConfiguration) -> String? {
      (#expect(throws: MachineError.self) { try Machine(Toy.architecture, configuration) })?.description
    }
    #expect(reason(MachineConfiguration(regime: "four")) == "toy has no regime four; it has two, three, narrow, wide")
    #expect(reason(MachineConfiguration(memory: MemoryPlan(tableByteCount: 4096)))?.hasPrefix("4096 bytes for tables: expected") == true)
    #expect(reason(MachineConfiguration(options: [("colour", "red")])) != nil)
    let range = PageRange<GuestPhysical>(Address(0x1000), byteCount: 0x1000)
    #expect(reason(MachineConfiguration(memory: MemoryPlan(devices: [(range, Logbook())])))?.hasPrefix("the device at 0x1000...0x1fff must lie") == true)
  }

  @Test func `leaves things as they were when an edit is refused`() throws {
    let machine = try makeMachine(pageShift: 21)
    try access(machine, PGK_WRITE, 0x20_0000)
    let inside = PageRange<Virtual>(Address(0x20_1000), byteCount: 0x1000)
    #expect(throws: MachineError.self) { try machine.unmap(inside) }
    #expect(throws: MachineError.self) { try machine.protect(inside, PageAttributes([.read])) }
    #expect(throws: MachineError.self) {
      try machine.map(PageRange(Address(0x1f_f000), byteCount: 0x2000), to: Address(0), pageShift: 12, .program)
    }
    #expect(try machine.space.mapper.mappedRanges() == [PageRange(Address(0x20_0000), byteCount: 0x20_0000)])
    #expect(try access(machine, PGK_WRITE, 0x20_1000).outcome == PGK_OUTCOME_FINISHED)
  }
}

@Suite struct `A fault that no table explains` {
  @Test func `is answered by an invalidation once, and then ends the access`() throws {
    for options in unitVariants {
      let machine = try makeMachine(options: options)
      let page = PageRange<Virtual>(Address(0x9000), byteCount: 0x1000)
      try machine.map(page, to: Address(0x40_0000_0000), pageShift: 12, .program)  // nothing is there
      var program = Program()
      for address in [0x8000, 0x9000, 0xa000] as [UInt64] { program.append(PGK_READ, address) }
      try program.run(on: machine)
      #expect(program.results.map { ToyOutcome(rawValue: $0.outcome) } == [.finished, .hole, .finished])
      #expect(machine.counters()["programFaults"] == 1)
    }
  }
}

@Suite struct `Events` {
  @Test func `tell the way of an access that faults, one line each`() throws {
    let machine = try makeMachine("two")
    var lines: [String] = []
    try machine.observe { lines.append($0.line(Toy.architecture)) }
    try access(machine, PGK_READ, 0x1008)
    try access(machine, PGK_READ, 0x1010)
    try machine.observe(nil)
    try access(machine, PGK_READ, 0x5000)
    let root = machine.space.root.bits
    #expect(lines == [
      "0 walk 0x1008 stage 1 level 1 refused slot \(hexText(root)) entry 0x0: rule 0",
      "0 listed guestFault read of 8 bytes at 0x1008: absent at 0x1008",
      "0 verdict reflect for read of 8 bytes at 0x1008",
      "0 trap with 1 operation",
      "0 mapped 0x1000...0x1fff -> 0x1000000 rwxu-ad",
      "0 reexecuted read of 8 bytes at 0x1008",
      "0 walk 0x1008 stage 1 level 1 table slot \(hexText(root)) entry \(hexText(root + 0x1001)) -> \(hexText(root + 0x1000))",
      "0 walk 0x1008 stage 1 level 0 leaf slot \(hexText(root + 0x1004)) entry 0x10001bf -> 0x1000000",
    ])
  }

  @Test func `are numbered by the access they belong to`() throws {
    let machine = try makeMachine(options: [("group", "3")])
    try access(machine, PGK_READ, 0)
    var refused: [UInt64] = [], mapped: [UInt64: UInt64] = [:]
    try machine.observe { event in
      switch event.kind {
      case .refused: refused.append(event.sequence)
      case .mapped(let mapping): mapped[event.sequence] = mapping.input.bits
      default: break
      }
    }
    try machine.unmap(PageRange(Address(0x5000), byteCount: 0x1000))
    var program = Program()
    for address in [0x1000, 0x5000, 0x2000, 0x3000, 0x5000, 0x4000] as [UInt64] { program.append(PGK_READ, address) }
    try program.run(on: machine)
    #expect(refused == [2, 5])
    #expect(mapped == [1: 0x1000, 3: 0x2000, 4: 0x3000, 6: 0x4000])
  }
}
