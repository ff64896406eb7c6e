// One memory unit with what software does around it: hands it accesses, answers what it lists, handles its traps.
import CPagingKit

/// Accesses with the places for what becomes of them. Tags count up by one within a batch, so a tag names a place.
struct ProgramBatch {
  let accesses: UnsafePointer<pgk_access_v1>
  let values: UnsafeMutablePointer<pgk_value_v1>?
  let results: UnsafeMutablePointer<pgk_result_v1>
  let count: Int

  /// The place of a listed operation. A later part of an access may come when the part before it is at its end.
  func index(of tag: UInt32, isLaterPart: Bool = false) throws(MachineError) -> Int {
    let index = Int(tag &- accesses[0].tag)
    guard index < count, results[index].outcome == PGK_OUTCOME_LISTED || isLaterPart else {
      throw .brokenRule("an operation with tag \(tag) came back, but none with it is pending")
    }
    return index
  }
}

extension ProgramBatch {
  /// The value of an access's later part. What became of the whole, the part before it has said.
  func deliver(_ value: UInt64, toUpperHalfOf tag: UInt32) throws(MachineError) {
    let index = try index(of: tag, isLaterPart: true)
    values?[index].high = value
  }
}

extension pgk_completion_v1 {
  /// The bytes that it delivers are not the first of the access.
  var isLaterPart: Bool { value.mask != 0 && value.mask & 1 == 0 }
}

extension pgk_listed_v1 {
  var isLaterPart: Bool { UInt32(flags) & PGK_LISTED_LATER_PART != 0 }
}

/// What the machine did beyond running accesses.
public struct TrapCounts: Equatable, Sendable {
  /// Times the unit stopped with a list.
  public internal(set) var stops: UInt64 = 0
  public internal(set) var traps: UInt64 = 0
  public internal(set) var reexecuted: UInt64 = 0
  /// Accesses that programs may not make; each ended with its fault.
  public internal(set) var programFaults: UInt64 = 0
  public internal(set) var deviceAccesses: UInt64 = 0
  public internal(set) var kernelAccesses: UInt64 = 0
}

/// A unit in a machine, running one space at a time.
public final class Processor {
  /// How often an operation may fault or stop again before the machine gives up.
  public static let mostAttempts = 8

  public let unit: Unit
  public internal(set) var space: AddressSpace
  public internal(set) var counts = TrapCounts()
  let services: KernelServices
  var recorder: EventRecorder?
  // The OS owns its processors.
  unowned let os: GuestOS

  init(_ unit: Unit, os: GuestOS, space: AddressSpace) {
    self.unit = unit
    self.os = os
    self.space = space
    services = KernelServices(unit)
  }

  func setRecorder(_ recorder: EventRecorder?) throws(MachineError) {
    try asMachineError { () throws(UnitError) in try unit.observe(recorder?.observer) }
    self.recorder = recorder
  }

  // MARK: Running

  /// Runs a batch to its end: one call of the unit where nothing stops.
  ///
  func execute(_ batch: ProgramBatch, attempt: Attempt = Attempt()) throws(MachineError) {
    var done = 0
    while done < batch.count {
      let start = done
      let consumed = try asMachineError { () throws(UnitError) in
        try unit.run(
          batch.accesses + start, values: batch.values.map { $0 + start }, results: batch.results + start,
          count: batch.count - start)
      }
      guard consumed <= batch.count - start else { throw .brokenRule("\(consumed) accesses consumed of \(batch.count - start)") }
      let isStopped = unit.pendingCount > 0
      if isStopped { try settle(batch, attempt: attempt) }
      guard consumed > 0 else { throw .brokenRule("the unit took none of \(batch.count - start) accesses and listed nothing") }
      done += consumed
    }
  }

  /// Answers the list until it is empty.
  private func settle(_ batch: ProgramBatch, attempt: Attempt) throws(MachineError) {
    counts.stops += 1
    var first: UInt32?
    var rounds = 0
    while true {
      let list = unit.pending()
      guard let head = list.first else { return }
      rounds = head.access.tag == first ? rounds + 1 : 1
      first = head.access.tag
      guard rounds <= Self.mostAttempts else { throw .noProgress(operation: head.access.text, attempts: rounds - 1) }
      try answer(list, batch, attempt: attempt)
    }
  }

  private func answer(_ list: [pgk_listed_v1], _ batch: ProgramBatch, attempt: Attempt) throws(MachineError) {
    if let recorder { for item in list { recorder.record(.listed(item), tag: item.access.tag) } }
    let answers = try answers(to: list)
    if let recorder {
      for (verdict, item) in zip(answers.verdicts, list) { recorder.record(.verdict(verdict, item.access), tag: item.access.tag) }
    }
    let ended = try asMachineError { () throws(UnitError) in try unit.resume(answers.verdicts) }
    for completion in ended.prefix(answers.reflectedFrom ?? ended.count) {
      if completion.isLaterPart {
        try batch.deliver(completion.value.high, toUpperHalfOf: completion.tag)
        continue
      }
      let index = try batch.index(of: completion.tag)
      batch.results[index] = completion.result
      batch.values?[index] = completion.value
      // A device has taken the store; that the unit dropped it is how it was told.
      if completion.tag == answers.storedTag { batch.results[index].outcome = UInt8(PGK_OUTCOME_FINISHED) }
    }
    // Something in front may have stopped again; then nothing was reflected yet.
    if let first = answers.reflectedFrom, unit.pendingCount == 0 {
      try handleTrap(list[first...], batch, attempt: attempt)
    }
  }

  // MARK: Verdicts

  struct Answers {
    var verdicts: [pgk_verdict_v1] = []
    /// From this item on everything goes to the guest.
    var reflectedFrom: Int?
    /// The operation that a device has taken.
    var storedTag: UInt32?

    mutating func append(_ kind: UInt32) {
      var verdict = pgk_verdict_v1()
      verdict.kind = UInt8(kind)
      verdicts.append(verdict)
    }
  }

  /// Answers in order, as far as answers are allowed: a device only at the head, and nothing behind a reflected fault.
  private func answers(to list: [pgk_listed_v1]) throws(MachineError) -> Answers {
    var answers = Answers()
    for (i, item) in list.enumerated() {
      // What is answered has got this same answer before; an answer is final, so it is left.
      let isAnswered = item.flags & UInt8(PGK_LISTED_ANSWERED) != 0
      switch UInt32(item.class_) {
      case PGK_CLASS_COLLATERAL: answers.append(isAnswered ? PGK_VERDICT_LEAVE : PGK_VERDICT_REPLAY)
      case PGK_CLASS_GUEST_FAULT:
        answers.append(isAnswered ? PGK_VERDICT_LEAVE : PGK_VERDICT_REFLECT)
        answers.reflectedFrom = i
        return answers
      case PGK_CLASS_DEVICE:
        // Behind others it is performed again, and listed anew when its turn has come.
        guard i == 0 else { return answers }
        try emulate(item, &answers)
      default:
        throw .unanswered(operation: item.access.text, why: "listed as \(item.className), which nobody handles natively")
      }
    }
    return answers
  }

  private func emulate(_ item: pgk_listed_v1, _ answers: inout Answers) throws(MachineError) {
    let address = try physicalAddress(item)
    guard let (range, device) = os.memory.devices.first(where: { $0.range.contains(address) }) else {
      throw .unanswered(operation: item.access.text, why: "there is no device at \(address)")
    }
    let offset = address.bits - range.start.bits
    let byteCount = 1 << Int(item.access.size_log2 & 7)
    counts.deviceAccesses += 1
    let isStore = [PGK_WRITE, PGK_MODIFY, PGK_STORE_CONDITIONAL].contains(UInt32(item.access.kind))
    var value = pgk_value_v1()
    if [PGK_READ, PGK_MODIFY, PGK_LOAD_LOCKED, PGK_FETCH].contains(UInt32(item.access.kind)) {
      value = device.load(at: offset, byteCount: byteCount)
      recorder?.record(.deviceLoad(address, byteCount: byteCount, value: value.low), tag: item.access.tag)
    }
    if isStore {
      device.store(item.value, at: offset, byteCount: byteCount)
      recorder?.record(.deviceStore(address, byteCount: byteCount, value: item.value.low), tag: item.access.tag)
    }
    let isPlainStore = item.access.kind == PGK_WRITE
    answers.append(isPlainStore ? PGK_VERDICT_DROP : PGK_VERDICT_COMPLETE)
    answers.verdicts[answers.verdicts.count - 1].value = value
    if isPlainStore { answers.storedTag = item.access.tag }
  }

  /// Natively, guest-physical addresses are physical.
  private func physicalAddress(_ item: pgk_listed_v1) throws(MachineError) -> Address<GuestPhysical> {
    if item.flags & UInt8(PGK_LISTED_HAS_GUEST_PHYSICAL) != 0 { return Address(item.guest_physical) }
    let output = try asMachineError { () throws(MapError) in try space.mapper.translate(Address(item.access.address)) }
    guard let output else { throw .unanswered(operation: item.access.text, why: "a device access without a mapping") }
    return output
  }
}
