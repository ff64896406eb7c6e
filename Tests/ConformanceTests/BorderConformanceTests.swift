import CPagingKit
import PagingHost
import PagingKit
import Testing

/// Every back end that was found.
private struct BackEnd: CustomTestStringConvertible, Sendable {
  let architecture: Architecture
  var testDescription: String { architecture.name }

  static let all = Catalogue.load().architectures.map { BackEnd(architecture: $0.architecture) }

  var os: pgk_os_v1 { architecture.table.pointee.os.pointee }
  var user: UInt8 { architecture.regimes[0].user }

  /// A unit with translation on over tables that are empty, so that every address faults.
  func unit(_ options: [(name: String, value: String)] = []) throws -> Unit {
    let memory = ZeroedMemory(1 << 20)
    let ram = pgk_region_v1(base: 0, length: 1 << 20, kind: PGK_REGION_RAM, reserved: 0, bytes: memory.bytes)
    let unit = try Unit(architecture, map: PhysicalMapDescriptor([ram], owner: memory), options: options)
    try perform(unit) { os.enable_translation(unit.handle, 0, 0x10000, 0, $0, $1, $2) }
    return unit
  }

  /// Performs what a service asks for, and returns it with the values that came back.
  @discardableResult
  func perform(
    _ unit: Unit, known: [Request] = [],
    _ service: (UnsafeMutablePointer<pgk_access_v1>, UnsafeMutablePointer<pgk_value_v1>, Int) -> Int64
  ) throws -> [Request] {
    var accesses = [pgk_access_v1](repeating: pgk_access_v1(), count: 256)
    var values = [pgk_value_v1](repeating: pgk_value_v1(), count: 256)
    for (i, request) in known.enumerated() { (accesses[i], values[i]) = (request.access, request.value) }
    let count = Int(service(&accesses, &values, 256))
    guard count >= 0 else { throw UnitError(code: Int32(count), message: unit.lastMessage) }
    var results = [pgk_result_v1](repeating: pgk_result_v1(), count: count)
    if count > 0 { #expect(try unit.run(accesses, values: &values, results: &results, count: count) == count) }
    #expect(results.allSatisfy { $0.outcome == PGK_OUTCOME_FINISHED })
    return (0..<count).map { Request(accesses[$0], values[$0]) }
  }

  /// A unit whose list is one group of loads, all of pages that are not there.
  func listed(_ count: Int) throws -> Unit {
    let unit = try unit([("grouping", "marked")])
    let accesses = (0..<count).map { i in
      pgk_access_v1(
        address: 0x40_0000 + UInt64(i) << 12, kind: UInt8(PGK_READ), size_log2: 2, privilege: user,
        flags: UInt8(PGK_TRANSLATE_ONLY | (i + 1 == count ? PGK_END_OF_GROUP : 0)), tag: UInt32(i))
    }
    var results = [pgk_result_v1](repeating: pgk_result_v1(), count: count)
    #expect(try unit.run(accesses, values: nil, results: &results, count: count) == count)
    #expect(results.allSatisfy { $0.outcome == PGK_OUTCOME_LISTED })
    return unit
  }
}

private final class ZeroedMemory {
  let bytes: UnsafeMutableRawPointer

  init(_ byteCount: Int) {
    bytes = .allocate(byteCount: byteCount, alignment: 4096)
    bytes.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
  }

  deinit { bytes.deallocate() }
}

private func verdict(_ kind: UInt32) -> pgk_verdict_v1 {
  var verdict = pgk_verdict_v1()
  verdict.kind = UInt8(kind)
  return verdict
}

@Suite struct `The list of any back end` {
  @Test(arguments: BackEnd.all)
  private func `takes no verdict behind an operation that goes to the guest`(_ backEnd: BackEnd) throws {
    let unit = try backEnd.listed(3)
    let error = #expect(throws: UnitError.self) {
      try unit.resume([verdict(PGK_VERDICT_REFLECT), verdict(PGK_VERDICT_LEAVE), verdict(PGK_VERDICT_REPLAY)])
    }
    #expect(error?.code == PGK_E_VERDICT)
    #expect(unit.pending().map(\.access.tag) == [0, 1, 2], "a refused verdict changes nothing")
    let ended = try unit.resume([verdict(PGK_VERDICT_REFLECT), verdict(PGK_VERDICT_LEAVE)])
    #expect(ended.map(\.tag) == [0, 1, 2], "what follows goes with it")
    #expect(unit.pendingCount == 0)
  }

  @Test(arguments: BackEnd.all)
  private func `takes one answer for each operation`(_ backEnd: BackEnd) throws {
    let unit = try backEnd.listed(2)
    #expect(try unit.resume([verdict(PGK_VERDICT_REPLAY), verdict(PGK_VERDICT_REPLAY)]).isEmpty)
    let marks = unit.pending().map { UInt32($0.flags) & PGK_LISTED_ANSWERED }
    #expect(marks == [0, PGK_LISTED_ANSWERED], "the first faulted anew, the answer of the second stands")
    let error = #expect(throws: UnitError.self) { try unit.resume([verdict(PGK_VERDICT_REPLAY), verdict(PGK_VERDICT_REFLECT)]) }
    #expect(error?.code == PGK_E_VERDICT)
    #expect(try unit.resume([verdict(PGK_VERDICT_REFLECT), verdict(PGK_VERDICT_LEAVE)]).count == 2)
  }
}

@Suite struct `The services of any back end` {
  @Test(arguments: BackEnd.all)
  private func `write nothing where there is no room`(_ backEnd: BackEnd) throws {
    let unit = try backEnd.unit()
    var access = pgk_access_v1()
    access.tag = 77
    var value = pgk_value_v1()
    let code = backEnd.os.enable_translation(unit.handle, 0, 0x10000, 0, &access, &value, 0)
    #expect(code == Int64(PGK_E_CAPACITY) && access.tag == 77)
  }

  @Test(arguments: BackEnd.all)
  private func `ask for what is left of the fault record, until nothing is`(_ backEnd: BackEnd) throws {
    guard let read = backEnd.os.read_faults, let decode = backEnd.os.decode_faults else { return }
    let unit = try backEnd.listed(2)
    try unit.resume([verdict(PGK_VERDICT_REFLECT)])
    var known: [Request] = []
    while true {
      let more = try backEnd.perform(unit, known: known) { read(unit.handle, $0, $1, known.count, $2) }
      if more.isEmpty { break }
      known += more
      try #require(known.count < 256)
    }
    var list = [pgk_listed_v1](repeating: pgk_listed_v1(), count: 8)
    let count = decode(unit.handle, known.map(\.access), known.map(\.value), known.count, &list, 8)
    #expect(count >= 1)
    #expect(list[0].fault_address == 0x40_0000)
  }
}

@Suite struct `Data on any back end` {
  private func move(_ machine: Machine, _ kind: UInt32, _ value: inout pgk_value_v1) throws -> UInt8 {
    var access = pgk_access_v1(
      address: 0x40_0010, kind: UInt8(kind), size_log2: 2, privilege: machine.programPrivilege, flags: 0, tag: 1)
    var result = pgk_result_v1()
    try machine.run(&access, values: &value, results: &result, count: 1)
    return result.outcome
  }

  @Test(arguments: NativeRegime.all)
  func `is stored from the value at the access's index, without a flag`(_ native: NativeRegime) throws {
    let machine = try native.machine(backing: .backed)
    var value = pgk_value_v1()
    value.low = 0x1234_5678
    #expect(try move(machine, PGK_WRITE, &value) == PGK_OUTCOME_FINISHED)
    value.low = 0
    #expect(try move(machine, PGK_READ, &value) == PGK_OUTCOME_FINISHED)
    #expect(value.low == 0x1234_5678)
  }

  @Test(arguments: NativeRegime.all)
  func `is lost in memory that has addresses only, and reads as ones`(_ native: NativeRegime) throws {
    let machine = try native.machine(backing: .addressOnly)
    var value = pgk_value_v1()
    #expect(try move(machine, PGK_WRITE, &value) == PGK_OUTCOME_FINISHED)
    #expect(try move(machine, PGK_READ, &value) == PGK_OUTCOME_FINISHED)
    #expect(value.low == 0xffff_ffff)
  }
}

@Suite struct `An embedding program` {
  // The lines of README.md, with the back ends that are at hand.
  @Test(arguments: BackEnd.all)
  private func `opens a unit over its own memory and runs an access`(_ backEnd: BackEnd) throws {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: 1 << 20)
    let ram = pgk_region_v1(base: 0, length: 1 << 20, kind: PGK_REGION_RAM, reserved: 0, bytes: memory)
    let catalogue = Catalogue.load()
    let architecture = try catalogue.architecture(named: backEnd.architecture.name).architecture
    let unit = try Unit(architecture, map: PhysicalMapDescriptor([ram]), options: [("grouping", "single")])
    var load = pgk_access_v1()
    load.address = 0x1234
    load.flags = UInt8(PGK_TRANSLATE_ONLY)
    var result = pgk_result_v1()
    _ = try unit.run(&load, values: nil, results: &result, count: 1)
    #expect(architecture.outcomeName(result.outcome) == "finished" && result.output == 0x1234)
  }
}
