// A unit that runs wide instructions, with the destination registers that a processor would have.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_Elbrus

extension Request {
  static func load(
    _ address: UInt64, size: UInt64 = 8, channel: UInt64 = 0, to destination: UInt64? = nil, mas: UInt64 = 0,
    isSpeculative: Bool = false, isPacked: Bool = false, privilege: UInt8 = Privilege.kernel
  ) -> Request {
    let qualifier = AccessQualifier(mas: mas, channel: channel, destination: destination, isPacked: isPacked)
    return ordinary(PGK_READ, address, size, qualifier, privilege, isSpeculative ? UInt8(PGK_SPECULATIVE) : 0)
  }

  static func store(
    _ address: UInt64, _ data: UInt64, high: UInt64 = 0, size: UInt64 = 8, channel: UInt64 = 1, mas: UInt64 = 0,
    isPacked: Bool = false, privilege: UInt8 = Privilege.kernel
  ) -> Request {
    let qualifier = AccessQualifier(mas: mas, channel: channel, isPacked: isPacked)
    var request = ordinary(PGK_WRITE, address, size, qualifier, privilege, 0)
    request.value.low = data
    request.value.high = high
    return request
  }

  private static func ordinary(
    _ kind: UInt32, _ address: UInt64, _ size: UInt64, _ qualifier: AccessQualifier, _ privilege: UInt8, _ flags: UInt8
  ) -> Request {
    var request = Request(pgk_access_v1())
    request.access.address = address
    request.access.kind = UInt8(kind)
    request.access.size_log2 = UInt8(size.trailingZeroBitCount)
    request.access.privilege = privilege
    request.access.flags = flags | UInt8(PGK_HAS_VALUE)
    request.value.qualifier = qualifier.bits
    return request
  }

  /// Hardware spill of the procedure stack, behind the operations of the program.
  func spilling() -> Request {
    var request = self
    request.value.qualifier |= 1 << 19
    return request
  }

  static func readRegister(_ number: UInt64, to destination: UInt64, channel: UInt64 = 1) -> Request {
    var request = Request(special: 0x47, high: number << 4, privilege: Privilege.kernel)
    request.value.qualifier = AccessQualifier(mas: 0x47, channel: channel, destination: destination).bits
    return request
  }

  static func writeRegister(_ number: UInt64, _ data: UInt64, channel: UInt64 = 1) -> Request {
    var request = Request(special: 0x147, low: data, high: number << 4, privilege: Privilege.kernel)
    request.value.qualifier = AccessQualifier(mas: 0x47, channel: channel).bits
    return request
  }

  static func flushPage(_ address: UInt64, context: UInt64 = 0, channel: UInt64 = 3) -> Request {
    var request = Request(special: 0x117, low: address | context << 50, high: 1, privilege: Privilege.kernel)
    request.value.qualifier = AccessQualifier(mas: 0x17, channel: channel).bits
    return request
  }
}

final class WideUnit {
  let bench: Bench
  private(set) var registers: [UInt64: pgk_value_v1] = [:]
  /// How often each destination was written.
  private(set) var writes: [UInt64: Int] = [:]
  private var targets: [AccessQualifier] = []
  private var pairs: [Bool] = []

  init(_ bench: Bench) { self.bench = bench }

  subscript(_ register: UInt64) -> UInt64 { registers[register]?.low ?? 0 }

  // MARK: Groups

  /// One group. What stops is in `items`.
  func run(_ group: [Request]) throws {
    targets = group.map { AccessQualifier(bits: $0.value.qualifier) }
    pairs = zip(group, targets).map { $0.access.size_log2 == 4 && !$1.isPacked }
    var accesses = group.map(\.access)
    for i in accesses.indices { accesses[i].tag = UInt32(i) }
    accesses[accesses.count - 1].flags |= UInt8(PGK_END_OF_GROUP)
    var values = group.map(\.value)
    var results = [pgk_result_v1](repeating: pgk_result_v1(), count: group.count)
    let consumed = try bench.unit.run(accesses, values: &values, results: &results, count: group.count)
    #expect(consumed == group.count)
    for i in group.indices where UInt32(results[i].outcome) != PGK_OUTCOME_LISTED {
      deliver(values[i], i, isLaterPart: false)
      if pairs[i] { deliver(values[i], i, isLaterPart: true) }
    }
  }

  private func deliver(_ value: pgk_value_v1, _ i: Int, isLaterPart: Bool) {
    guard let destination = targets[i].destination else { return }
    var own = value
    if isLaterPart {
      own.low = value.high
      own.tags = (value.tags.1, 0)
    }
    if pairs[i] { own.high = 0 }
    registers[destination + (isLaterPart ? 1 : 0)] = own
    writes[destination + (isLaterPart ? 1 : 0), default: 0] += 1
  }

  // MARK: The list

  var items: [pgk_listed_v1] { bench.unit.pending().filter { UInt32($0.flags) & PGK_LISTED_DROPPED == 0 } }
  var codes: [String] { items.map(\.eventName) }

  /// GLAUNCH: answers by number of the item, then the list is finished.
  func resume(_ answers: [Int: pgk_verdict_v1] = [:]) throws {
    let verdicts = bench.unit.pending().indices.map { answers[$0] ?? pgk_verdict_v1() }
    for completion in try bench.unit.resume(verdicts) {
      guard elbrus.outcomes.indices.contains(Int(completion.result.outcome)),
        elbrus.outcomes[Int(completion.result.outcome)].fault == 0
      else { continue }
      deliver(completion.value, Int(completion.tag), isLaterPart: completion.value.mask == 0xff00)
    }
  }

  static func verdict(_ kind: UInt32, _ low: UInt64 = 0) -> pgk_verdict_v1 {
    var verdict = pgk_verdict_v1()
    verdict.kind = UInt8(kind)
    verdict.value.low = low
    return verdict
  }

  /// The guest's tables refuse: it gets the fault, with these bits.
  static func guestFault(_ item: pgk_listed_v1, _ faultType: UInt64) -> pgk_verdict_v1 {
    var verdict = verdict(PGK_VERDICT_REFLECT)
    var words = item
    words.condition[ConditionWord.fault_type] = faultType
    verdict.outcome = Outcome.forcedGuestFault.rawValue
    verdict.words = words.words
    return verdict
  }

  // MARK: The handler

  func records() throws -> [pgk_listed_v1] {
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
    var list = [pgk_listed_v1](repeating: pgk_listed_v1(), count: 64)
    let count = os.decode_faults(bench.unit.handle, accesses, values, known, &list, 64)
    if count < 0 { throw UnitError(code: Int32(count), message: bench.unit.lastMessage) }
    return Array(list.prefix(Int(count)))
  }

  /// The recovery operation of a record, as a group of its own.
  func reexecute(_ record: pgk_listed_v1) throws {
    var record = record
    var access = pgk_access_v1()
    var value = pgk_value_v1()
    let count = elbrus.table.pointee.os.pointee.reexecute(bench.unit.handle, &record, &access, &value, 1)
    if count < 0 { throw UnitError(code: Int32(count), message: bench.unit.lastMessage) }
    try run([Request(access, value)])
  }

  func acknowledge() throws { try bench.set([("trap_count", 0)]) }
}

extension pgk_listed_v1 {
  /// Name of the event code.
  var eventName: String {
    let code = self[header: ItemHeader.event_code]
    let events = Outcome.allCases.dropFirst(Int(Outcome.guestPhysicalData.rawValue) - 1)
    return events.first { $0.code == code }?.definition.name ?? "\(code)"
  }
  var faultType: UInt64 { condition[ConditionWord.fault_type] }
  var isAnswered: Bool { UInt32(flags) & PGK_LISTED_ANSWERED != 0 }
}
