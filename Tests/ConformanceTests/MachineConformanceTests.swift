import CPagingKit
import Foundation
import PagingHost
import PagingKit
import Testing

/// A regime of a loaded back end that a machine runs natively.
struct NativeRegime: CustomTestStringConvertible, Sendable {
  let architecture: Architecture
  let regime: String
  var testDescription: String { "\(architecture.name) \(regime)" }

  static let all: [NativeRegime] = Catalogue.load().architectures.flatMap { loaded in
    let architecture = loaded.architecture
    return architecture.regimes.indices.filter { Machine.canRun(architecture, regime: $0) }.map {
      NativeRegime(architecture: architecture, regime: String(cString: architecture.regimes[$0].name))
    }
  }

  func hasOption(_ name: String) -> Bool { architecture.options.contains { String(cString: $0.name) == name } }

  func machine(
    pageShift: Int? = nil, backing: MemoryPlan.Backing = .addressOnly, options: [(name: String, value: String)] = []
  ) throws -> Machine {
    try Machine(
      architecture,
      MachineConfiguration(
        regime: regime, options: options, pageShift: pageShift,
        memory: MemoryPlan(tableByteCount: 64 << 20, dataByteCount: 3 << 30, dataBacking: backing)))
  }
}

@Suite struct `A machine of any back end` {
  @Test(arguments: NativeRegime.all)
  func `finishes a random program where its tables say`(_ native: NativeRegime) throws {
    let machine = try native.machine()
    var random = SplitMix64(seed: 1)
    let kinds = [PGK_READ, PGK_WRITE, PGK_FETCH, PGK_MODIFY]
    let accesses = (0..<4000).map { i in
      let kind = kinds[Int(random.next(below: 4))]
      // Some architectures want exchanges aligned.
      let address = random.next(below: 200 << 12) & (kind == PGK_MODIFY ? ~7 : .max)
      return pgk_access_v1(
        address: 0x10_0000 + address, kind: UInt8(kind), size_log2: 3, privilege: machine.programPrivilege,
        flags: UInt8(PGK_TRANSLATE_ONLY), tag: UInt32(i))
    }
    var results = [pgk_result_v1](repeating: pgk_result_v1(), count: accesses.count)
    try machine.run(accesses, results: &results, count: accesses.count)
    for (access, result) in zip(accesses, results) {
      #expect(result.outcome == PGK_OUTCOME_FINISHED)
      #expect(try machine.space.mapper.translate(Address(access.address))?.bits == result.output)
    }
    let pages = Set(accesses.flatMap { [$0.address >> 12, ($0.address + 7) >> 12] })
    #expect(machine.counters()["pagesMapped"] == UInt64(pages.count))
    #expect(machine.counters()["programFaults"] == 0)
  }

  @Test(arguments: NativeRegime.all, [1, 2, 5] as [UInt64])
  func `moves data as a straight-line interpreter does, in groups and in spaces that do not meet`(
    _ native: NativeRegime, _ groupLength: UInt64
  ) throws {
    let isGrouped = groupLength > 1
    guard !isGrouped || native.hasOption("grouping") else { return }
    let machine = try native.machine(backing: .backed, options: isGrouped ? [("grouping", "marked")] : [])
    var random = SplitMix64(seed: 2)
    let spaces = [machine.space, try machine.makeSpace(), try machine.makeSpace()]
    var memory: [[UInt64: UInt8]] = [[:], [:], [:]]
    for _ in 0..<60 {
      let current = Int(random.next(below: 3))
      try machine.switchTo(spaces[current])
      var accesses: [pgk_access_v1] = [], values: [pgk_value_v1] = []
      for i in 0..<40 {
        accesses.append(pgk_access_v1(
          address: 0x40_0000 + random.next(below: 12 << 12), kind: UInt8(random.next(below: 2) == 0 ? PGK_READ : PGK_WRITE),
          size_log2: UInt8(random.next(below: 4)), privilege: machine.programPrivilege,
          flags: UInt8(PGK_HAS_VALUE | (random.next(below: groupLength) == 0 ? PGK_END_OF_GROUP : 0)), tag: UInt32(i)))
        values.append(pgk_value_v1())
        values[i].low = random.next()
      }
      let given = values
      var results = [pgk_result_v1](repeating: pgk_result_v1(), count: accesses.count)
      try machine.run(accesses, values: &values, results: &results, count: accesses.count)
      for (i, access) in accesses.enumerated() {
        #expect(results[i].outcome == PGK_OUTCOME_FINISHED)
        var loaded: UInt64 = 0
        for byte in 0..<UInt64(1) << UInt64(access.size_log2) {
          let address = access.address + byte
          loaded |= UInt64(memory[current][address, default: 0]) << (8 * byte)
          if access.kind == PGK_WRITE { memory[current][address] = UInt8(truncatingIfNeeded: given[i].low >> (8 * byte)) }
        }
        if access.kind == PGK_READ { #expect(values[i].low == loaded, "access \(i)") }
      }
    }
  }

  @Test(arguments: NativeRegime.all)
  func `loses a right only with the required invalidation, and then surely`(_ native: NativeRegime) throws {
    let machine = try native.machine()
    let page = PageRange<Virtual>(Address(0x40_0000), byteCount: 0x1000)
    func finishes(_ kind: UInt32, _ address: UInt64) throws -> Bool {
      var access = pgk_access_v1()
      access.address = address
      access.kind = UInt8(kind)
      access.privilege = machine.programPrivilege
      access.flags = UInt8(PGK_TRANSLATE_ONLY)
      var result = pgk_result_v1()
      try machine.run(&access, results: &result, count: 1)
      return result.outcome == PGK_OUTCOME_FINISHED
    }
    #expect(try finishes(PGK_WRITE, page.start.bits))
    let readable = PageAttributes([.read, .user])
    let pending = try machine.space.mapper.protect(page, readable)
    machine.space.areas.protect(page, readable)
    #expect(try finishes(PGK_WRITE, page.start.bits), "the translation is cached")
    try machine.os.perform(pending, in: machine.space)
    #expect(try !finishes(PGK_WRITE, page.start.bits))
    #expect(try finishes(PGK_READ, page.start.bits))
    try machine.unmap(page)
    #expect(try !finishes(PGK_READ, page.start.bits))
    #expect(machine.counters()["programFaults"] == 2)
  }

  @Test(arguments: NativeRegime.all)
  func `maps leaves of every size of its format`(_ native: NativeRegime) throws {
    let sizes = try native.machine().space.mapper.layout.pageShifts
    for shift in sizes where shift <= 30 {
      let machine: Machine
      do { machine = try native.machine(pageShift: shift) } catch MachineError.pageSize { continue }  // not in the preset model
      var source = RandomSource(
        from: Address(0), pageCount: 4, pageShift: 20, seed: 4, AccessTemplate(privilege: machine.programPrivilege))
      let result = try machine.run(&source, RunLimits(stopAt: 1000))
      #expect(machine.os.counts.mapped.keys.max() == shift)
      #expect(result.counters["programFaults"] == 0)
    }
  }

  @Test(arguments: NativeRegime.all)
  func `runs a trace of a larger address space with as many pages as the trace has`(_ native: NativeRegime) throws {
    // Text, stack and heap as a 64-bit program has them; a page-crossing line and one of odd size among them.
    var text = ""
    for i in 0..<2000 as Range<UInt64> {
      text += "I  \(String(0x40_0000 + i % 700 * 48, radix: 16)),4\n"
      text += " S \(String(0x7fff_ffff_0000 - i % 90 * 4096 + i % 8, radix: 16)),8\n"
      text += " L \(String(0x5555_5555_0ffc + i % 40 * 8192, radix: 16)),8\n"
      text += " L \(String(0x7f00_1234_0000 + i % 25 * 4096, radix: 16)),24\n"
    }
    let file = "\(FileManager.default.temporaryDirectory.path)/machine-\(native.architecture.name)-\(native.regime).lackey"
    try text.write(toFile: file, atomically: true, encoding: .utf8)
    defer { try? FileManager.default.removeItem(atPath: file) }
    let machine = try native.machine()
    let trace = try LackeyTrace(path: file, privilege: machine.programPrivilege)
    var source = Relocated(trace, below: machine.space.mapper.layout.programRange.last.bits)
    let result = try machine.run(&source)
    #expect(result.accesses == 8000)
    #expect(result.counters["programFaults"] == 0)
    #expect(result.counters["pagesMapped"] == trace.statistics.distinctPages)
  }
}
