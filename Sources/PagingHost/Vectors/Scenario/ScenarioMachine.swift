import CPagingKit
import PagingKit

/// A unit with what the people of a scenario keep: destination registers, the handler's copy of the records, the
/// hypervisor's copy of the list.
struct ScenarioMachine {
  let unit: Unit
  let names: ScenarioNames
  private(set) var destinations: [Int: WideValue] = [:]
  private(set) var targets: [ScenarioTarget] = []
  /// The records that the handler took at the last trap.
  private(set) var taken: [pgk_listed_v1] = []
  private var wordsRead: [UInt64] = []
  private(set) var accesses: UInt64 = 0

  // What the step at hand did.
  private(set) var reads: UInt64 = 0
  private(set) var value: UInt64?
  /// The value is a result, not what was given.
  private(set) var hasResult = false
  private(set) var refusal: String?
  /// The list was finished, or tried to be.
  private(set) var hasResumed = false

  init(_ unit: Unit, _ names: ScenarioNames) {
    self.unit = unit
    self.names = names
  }

  mutating func set(_ destination: Int, _ value: WideValue) { destinations[destination] = value }

  mutating func beginStep() throws(UnitError) {
    (reads, value, refusal, hasResumed, hasResult) = (0, nil, nil, false, false)
    guard !names.exceptions.isEmpty else { return }
    _ = try unit.writeRegisters(names.exceptions.map { ($0.index, 0) })
  }

  // MARK: The guest

  mutating func run(_ batch: ScenarioBatch) {
    guard !batch.accesses.isEmpty else { return }
    var batch = batch
    targets = batch.targets
    accesses += UInt64(batch.accesses.count)
    var results = [pgk_result_v1](repeating: pgk_result_v1(), count: batch.accesses.count)
    do {
      let consumed = try unit.run(&batch.accesses, values: &batch.values, results: &results, count: batch.accesses.count)
      if consumed != batch.accesses.count { refusal = "run consumed \(consumed) of \(batch.accesses.count) accesses" }
      for i in 0..<min(consumed, results.count) where UInt32(results[i].outcome) != PGK_OUTCOME_LISTED {
        reads += UInt64(results[i].entry_reads)
        deliver(batch.values[i], to: batch.targets[i], isLaterPart: false)
      }
      reads += unit.pending().reduce(0) { $0 + UInt64($1.entry_reads) }
      try settle()
    } catch { refusal = error.message }
  }

  /// The recovery operation of one of the records that were taken.
  mutating func reexecute(_ index: Int) throws(CaseProblem) {
    let record = taken[index]
    let services = UnitServices(unit: unit)
    do {
      var batch = ScenarioBatch()
      let requests = try services.reexecute(record)
      for (access, value) in zip(requests.accesses, requests.values) {
        batch.append(access, value, try target(of: record))
      }
      batch.close()
      run(batch)
    } catch let error as UnitError { refusal = error.message } catch let problem as CaseProblem { throw problem } catch {
      refusal = "\(error)"
    }
  }

  private func target(of record: pgk_listed_v1) throws(CaseProblem) -> ScenarioTarget {
    guard names.isPresent("dst", in: record) else { return ScenarioTarget() }
    return ScenarioTarget(destination: try names.field("dst").value(in: record).map { Int(truncatingIfNeeded: $0) })
  }

  private mutating func deliver(_ value: pgk_value_v1, to target: ScenarioTarget, isLaterPart: Bool) {
    guard let destination = target.destination else { return }
    if isLaterPart {
      destinations[destination &+ 1] = WideValue(low: value.high, isDiagnostic: value.tags.1 != 0)
    } else if target.isPair {
      destinations[destination] = WideValue(low: value.low, isDiagnostic: value.tags.0 != 0)
      if value.mask != 0xff { destinations[destination &+ 1] = WideValue(low: value.high, isDiagnostic: value.tags.1 != 0) }
    } else {
      destinations[destination] = WideValue(low: value.low, high: value.high, isDiagnostic: value.tags.0 != 0)
    }
  }

  /// Faults that nobody but the guest has to do with are delivered to it.
  private mutating func settle() throws(UnitError) {
    let list = unit.pending()
    let isOwn = list.allSatisfy {
      UInt32($0.class_) == PGK_CLASS_GUEST_FAULT || UInt32($0.class_) == PGK_CLASS_COLLATERAL
    }
    guard !list.isEmpty, isOwn else { return try take() }
    var verdict = pgk_verdict_v1()
    verdict.kind = UInt8(PGK_VERDICT_REFLECT)
    _ = try unit.resume([verdict])
    try take()
  }

  /// The handler copies the records of a trap.
  private mutating func take() throws(UnitError) {
    for exception in names.exceptions where try unit.readRegister(exception.index) != 0 {
      taken = try records()
      return
    }
  }

  // MARK: Records and list

  /// What the unit's own record says now.
  func records() throws(UnitError) -> [pgk_listed_v1] {
    try UnitServices(unit: unit).records().filter { UInt32($0.access.kind) != PGK_FETCH }
  }

  /// The list as its owner sees it.
  var list: [pgk_listed_v1] { unit.pending().filter { UInt32($0.flags) & PGK_LISTED_DROPPED == 0 } }
  var isStopped: Bool { unit.pendingCount > 0 }

  /// Answers some items; numbers count those that are still in the list.
  mutating func answer(_ answers: [Int: pgk_verdict_v1]) {
    do { try unit.answer(verdicts(answers)) } catch { refusal = error.message }
  }

  private func verdicts(_ answers: [Int: pgk_verdict_v1]) -> [pgk_verdict_v1] {
    var number = 0
    return unit.pending().map { item in
      if UInt32(item.flags) & PGK_LISTED_DROPPED != 0 { return pgk_verdict_v1() }
      defer { number += 1 }
      return answers[number] ?? pgk_verdict_v1()
    }
  }

  /// Lets the list be finished.
  mutating func resume(_ answers: [Int: pgk_verdict_v1]) {
    // Nothing has stopped the machine: it goes on.
    guard isStopped else { return }
    hasResumed = true
    do {
      for completion in try unit.resume(verdicts(answers)) where isDone(completion) {
        let target = Int(completion.tag) < targets.count ? targets[Int(completion.tag)] : ScenarioTarget()
        let isLater = completion.value.mask == 0xff00
        // A part delivers its own bytes; a whole access has no mask.
        var value = completion.value
        if target.isPair && !isLater { value.mask = 0xff }
        deliver(value, to: target, isLaterPart: isLater)
      }
      try settle()
    } catch { refusal = error.message }
  }

  private func isDone(_ completion: pgk_completion_v1) -> Bool {
    let outcome = Int(completion.result.outcome)
    return outcome < names.architecture.outcomes.count && names.architecture.outcomes[outcome].fault == 0
  }

  // MARK: Software below

  /// Runs an encoder's access; its value is what the step gives.
  mutating func perform(_ name: String, _ arguments: JSONValue) throws(CaseProblem) {
    let encoder = try names.encoder(name)
    for (name, _) in arguments.members where name.string != "kind" && !names.arguments.contains(name.string) {
      throw .unsupported("an argument \"\(name.string)\" of \"\(encoder.name)\"")
    }
    perform(try names.encode(encoder, arguments, unit))
  }

  /// An encoder with one argument, or none.
  mutating func perform(_ name: String, argument: UInt64? = nil) throws(CaseProblem) {
    let encoder = try names.encoder(name)
    var patterns = argument.map { [$0] } ?? []
    if let argument, let only = encoder.arguments.first, encoder.arguments.count == 1 {
      patterns = [try names.pattern(of: argument, only)]
    }
    do { perform(try encoder.encode(patterns: patterns, for: unit)) } catch {
      throw .malformed(expected: "arguments that \"\(name)\" takes", found: "\(error)")
    }
  }

  private mutating func perform(_ encoded: (access: pgk_access_v1, value: pgk_value_v1)) {
    var (access, value) = encoded
    var result = pgk_result_v1()
    access.flags |= UInt8(PGK_END_OF_GROUP)
    do {
      let consumed = try unit.run(&access, values: &value, results: &result, count: 1)
      if consumed != 1 || result.outcome != 0 { refusal = "it ended as \(names.architecture.outcomeName(result.outcome))" }
      self.value = value.low
      hasResult = value.low != encoded.value.low
    } catch { refusal = error.message }
  }

  mutating func readList(_ count: Int) throws(CaseProblem) {
    wordsRead = []
    for _ in 0..<count {
      try perform("info_read")
      wordsRead.append(value ?? 0)
    }
  }

  /// Writes the words of items into a list that has been read.
  mutating func write(_ items: [pgk_listed_v1]) throws(CaseProblem) {
    for item in items {
      for word in names.architecture.words.indices where refusal == nil {
        try perform("info_write", argument: WordPart(word: word).value(in: item) ?? 0)
      }
    }
    value = nil
  }

  /// Whole items in the words of the last reading.
  var readItemCount: Int {
    let width = names.architecture.words.count
    return width == 0 ? 0 : wordsRead.count / width
  }

  /// Writes items of the last reading back, each below `readItemCount`.
  mutating func writeList(_ items: [Int]) throws(CaseProblem) {
    let width = names.architecture.words.count
    for item in items {
      for word in wordsRead[(item * width)..<((item + 1) * width)] where refusal == nil {
        try perform("info_write", argument: word)
      }
    }
  }
}
