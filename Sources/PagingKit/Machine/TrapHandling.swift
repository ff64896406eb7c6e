// What a kernel does about faults: fetches the unit's record, puts right what it can, and has the rest performed again.
import CPagingKit

/// How an operation has fared so far.
struct Attempt {
  /// How often it has trapped.
  var count = 0
  /// The fault that it had last although tables were in order.
  var unexplained: UInt8?

  func next(unexplained: UInt8? = nil) -> Attempt { Attempt(count: count + 1, unexplained: unexplained) }
}

extension Processor {
  /// Handles reflected operations. They are the same as those in the unit's record, in the same order.
  func handleTrap(
    _ reflected: ArraySlice<pgk_listed_v1>, _ batch: ProgramBatch, attempt: Attempt
  ) throws(MachineError) {
    guard let head = reflected.first else { return }
    guard attempt.count < Self.mostAttempts else {
      throw .noProgress(operation: "\(head.access.text) faults again: \(outcomeText(head))", attempts: attempt.count)
    }
    counts.traps += 1
    let served = recorder?.servedTag
    recorder?.servedTag = head.access.tag
    try perform("trap_entry", try services.trapEntry(), attempt: attempt)
    let operations = try matched(try fetchRecord(attempt: attempt) ?? Array(reflected), with: reflected)
    recorder?.record(.trap(operationCount: operations.count))

    var retried: [(operation: pgk_listed_v1, attempt: Attempt)] = []
    var fresh: [PageRange<Virtual>] = []
    for operation in operations {
      if let next = try putRight(operation, batch, &fresh, attempt) { retried.append((operation, next)) }
    }
    recorder?.servedTag = head.access.tag
    try perform("acknowledge", try services.acknowledge(), attempt: attempt)
    recorder?.servedTag = served
    for (operation, next) in retried { try reexecute(operation, batch, attempt: next) }
    try perform("trap_return", try services.trapReturn(), attempt: attempt)
  }

  private func outcomeText(_ item: pgk_listed_v1) -> String {
    "\(unit.architecture.outcomeName(item.outcome)) at \(hex(item.fault_address))"
  }

  /// The unit's own record, read as a kernel reads it. Nil if it keeps none.
  private func fetchRecord(attempt: Attempt) throws(MachineError) -> [pgk_listed_v1]? {
    guard services.hasRecord else { return nil }
    var known = KernelAccesses()
    while true {
      var list = try services.readFaults(known: known)
      guard list.count > known.count else { break }
      try perform("read_faults", &list, from: known.count, attempt: attempt)
      known = list
    }
    return try services.decodeFaults(known)
  }

  /// Gives operations of the record the tags of the accesses that they are.
  ///
  /// A record of the same length is the list itself. In another one, where an operation takes several records, the tags
  /// say what belongs together.
  private func matched(
    _ record: [pgk_listed_v1], with reflected: ArraySlice<pgk_listed_v1>
  ) throws(MachineError) -> [pgk_listed_v1] {
    var operations = record
    if record.count == reflected.count {
      for (i, item) in reflected.enumerated() { operations[i].access.tag = item.access.tag }
      return operations
    }
    guard Set(record.map(\.access.tag)) == Set(reflected.map(\.access.tag)) else {
      throw .brokenRule("\(reflected.count) operations were reflected, but the record decodes to \(record.count) others")
    }
    return operations
  }

  /// Does what the operation needs before its next attempt. Nil if the program may not do it: then it has ended here.
  private func putRight(
    _ operation: pgk_listed_v1, _ batch: ProgramBatch, _ fresh: inout [PageRange<Virtual>], _ attempt: Attempt
  ) throws(MachineError) -> Attempt? {
    guard operation.class_ == PGK_CLASS_GUEST_FAULT else { return attempt.next() }
    recorder?.servedTag = operation.access.tag
    switch try os.answer(operation, in: space, fresh: fresh) {
    case .mapped(let mapping):
      fresh.append(mapping.range)
      recorder?.record(.mapped(mapping))
    case .settled: break
    case .changed(let pending): try os.perform(pending, in: space)
    case .inOrder(let pending):
      // The same fault once more, with caches empty: a misaligned access, or nothing behind the page. No table helps.
      if attempt.unexplained == operation.outcome {
        pending.drop()
        try refuse(operation, batch)
        return nil
      }
      try os.perform(pending, in: space)
      return attempt.next(unexplained: operation.outcome)
    case .refused:
      try refuse(operation, batch)
      return nil
    }
    return attempt.next()
  }

  private func refuse(_ operation: pgk_listed_v1, _ batch: ProgramBatch) throws(MachineError) {
    let index = try batch.index(of: operation.access.tag, isLaterPart: operation.isLaterPart)
    // Both parts of an access may be refused: it has failed once.
    if operation.isLaterPart, isFault(batch.results[index].outcome), batch.results[index].outcome != PGK_OUTCOME_LISTED { return }
    counts.programFaults += 1
    recorder?.record(.refused(operation))
    var result = pgk_result_v1()
    result.outcome = operation.outcome == 0 ? UInt8(PGK_OUTCOME_DROPPED) : operation.outcome
    result.output = operation.fault_address
    result.level = operation.level
    batch.results[index] = result
  }

  /// Performs an operation again. What becomes of it is what becomes of the access.
  private func reexecute(_ operation: pgk_listed_v1, _ batch: ProgramBatch, attempt: Attempt) throws(MachineError) {
    let index = try batch.index(of: operation.access.tag, isLaterPart: operation.isLaterPart)
    var list = try services.reexecute(operation)
    guard !list.accesses.isEmpty else { throw .service("reexecute", "no access for \(operation.access.text)") }
    counts.reexecuted += 1
    recorder?.record(.reexecuted(operation.access), tag: operation.access.tag)
    for i in 0..<list.count { list.accesses[i].tag = operation.access.tag &+ UInt32(i) }
    let results = try run(&list, from: 0, attempt: attempt)
    // Where there are several, the operation itself is the last one that is no register access.
    let own = list.accesses.lastIndex { $0.kind != PGK_SPECIAL } ?? list.count - 1
    guard operation.isLaterPart else {
      batch.results[index] = results[own]
      batch.values?[index] = list.values[own]
      return
    }
    batch.values?[index].high = list.values[own].low
    if isFault(results[own].outcome) || batch.results[index].outcome == PGK_OUTCOME_LISTED { batch.results[index] = results[own] }
  }

  // MARK: Kernel accesses

  /// Performs what a service asked for; every access must finish.
  func perform(_ service: String, _ list: KernelAccesses, attempt: Attempt = Attempt()) throws(MachineError) {
    var list = list
    try perform(service, &list, from: 0, attempt: attempt)
  }

  private func perform(
    _ service: String, _ list: inout KernelAccesses, from start: Int, attempt: Attempt
  ) throws(MachineError) {
    guard list.count > start else { return }
    counts.kernelAccesses += UInt64(list.count - start)
    for i in start..<list.count { list.accesses[i].tag = UInt32(truncatingIfNeeded: i) }
    let results = try run(&list, from: start, attempt: attempt.next())
    if let bad = results.first(where: { isFault($0.outcome) }) {
      throw .kernelAccess(service, outcome: unit.architecture.outcomeName(bad.outcome))
    }
  }

  private func isFault(_ outcome: UInt8) -> Bool {
    Int(outcome) >= unit.architecture.outcomes.count || unit.architecture.outcomes[Int(outcome)].fault != 0
  }

  private func run(
    _ list: inout KernelAccesses, from start: Int, attempt: Attempt
  ) throws(MachineError) -> [pgk_result_v1] {
    let count = list.count - start
    var results = [pgk_result_v1](repeating: pgk_result_v1(), count: count)
    // Pointers into arrays of this call only; typed errors do not pass through closures of the standard library's arrays.
    let values = UnsafeMutablePointer<pgk_value_v1>.allocate(capacity: count)
    let places = UnsafeMutablePointer<pgk_result_v1>.allocate(capacity: count)
    let accesses = UnsafeMutablePointer<pgk_access_v1>.allocate(capacity: count)
    defer {
      values.deallocate()
      places.deallocate()
      accesses.deallocate()
    }
    for i in 0..<count {
      values.advanced(by: i).initialize(to: list.values[start + i])
      accesses.advanced(by: i).initialize(to: list.accesses[start + i])
      places.advanced(by: i).initialize(to: pgk_result_v1())
    }
    try execute(ProgramBatch(accesses: accesses, values: values, results: places, count: count), attempt: attempt)
    for i in 0..<count {
      list.values[start + i] = values[i]
      results[i] = places[i]
    }
    return results
  }

  // MARK: Invalidation

  /// Makes this unit forget what an invalidation says.
  func invalidate(_ invalidation: Invalidation<Virtual>, of space: AddressSpace) throws(MachineError) {
    recorder?.record(.invalidated(invalidation, identifier: space.identifier))
    let scope = (invalidation.pageCount == 1 ? PGK_SCOPE_PAGE : PGK_SCOPE_RANGE)
      | (invalidation.changesTables ? PGK_SCOPE_TABLES : 0)
    let list = try services.invalidate(
      scope: scope, address: invalidation.range.start.bits, byteCount: invalidation.range.byteCount,
      identifier: space.identifier)
    try perform("invalidate", list)
  }

  /// Makes this unit forget a whole space.
  func forget(_ space: AddressSpace) throws(MachineError) {
    try perform(
      "invalidate", try services.invalidate(scope: PGK_SCOPE_IDENTIFIER | PGK_SCOPE_TABLES, identifier: space.identifier))
  }
}
