// run and resume: groups, the list of pending operations, and its verdicts. The same for every back end.
import CPagingKit

extension UnitModel {
  /// Takes accesses until one group stops. Returns how many were consumed, or a PGK_E_... code with the reason.
  func run(_ batch: Batch, count: Int) throws(Refusal) -> Int {
    guard state.pending.isEmpty else {
      throw Refusal(PGK_E_PENDING, "\(state.pending.count) operations are pending; answer them with resume before run")
    }
    var i = 0
    while i < count {
      let end = translate(batch, from: i, to: count, observer: state.observer)
      switch end.stop {
      case .end: return count
      case .leave:
        let access = batch.accesses[end.next]
        guard access.isSpecial else {
          if end.next > i {
            i = end.next
            continue
          }
          // What is finished is told first; the access that cannot be taken is refused when it comes first.
          if i > 0 { return i }
          throw refusedPrivilege(access)
        }
        switch runSpecial(batch, end.next) {
        case .finished: i = end.next + 1
        case .listed: return list(batch, from: end.next, count: count)
        case .refused(let refusal):
          if end.next > 0 { return end.next }
          throw refusal
        }
      case .fault, .device:
        listFailed(end, batch.accesses[end.next], batch.values?[end.next])
        return list(batch, from: end.next, count: count)
      case .noValues:
        if end.next > 0 { return end.next }
        throw Refusal(PGK_E_ARGUMENT, "access \(end.next) moves data, but there is no array of values; mark it translateOnly or give values")
      }
    }
    return count
  }

  private func refusedPrivilege(_ access: pgk_access_v1) -> Refusal {
    if access.kind >= PGK_KIND_COUNT { return Refusal(PGK_E_ARGUMENT, "access kind \(access.kind) is none; the last is \(PGK_KIND_COUNT - 1)") }
    return Refusal(PGK_E_ARGUMENT, "privilege \(access.privilege) has no translation here; the description has \(Self.definition.privileges.count)")
  }

  /// Performs a special access of a batch, or puts it into the list.
  private func runSpecial(_ batch: Batch, _ i: Int) -> SpecialEnd {
    let access = batch.accesses[i]
    var value = batch.values?[i] ?? pgk_value_v1()
    let end = perform(access, &value, isAnswered: false)
    switch end {
    case .finished:
      state.engine.caches.counters.pointee.accesses &+= 1
      batch.values?[i] = value
      batch.results[i] = pgk_result_v1()
    case .listed(var listed):
      state.engine.caches.counters.pointee.accesses &+= 1
      listed.access = access
      listed.value = value
      append(listed)
    case .refused: break
    }
    return end
  }

  private func append(_ listed: pgk_listed_v1) {
    state.pending.append(PendingOperation(listed: listed, answer: nil))
    state.engine.caches.counters.pointee.faults &+= 1
  }

  /// Puts the access that failed into the list.
  private func listFailed(_ end: EngineEnd, _ access: pgk_access_v1, _ value: pgk_value_v1?) {
    append(listing(end, access, value))
  }

  private func listing(_ end: EngineEnd, _ access: pgk_access_v1, _ value: pgk_value_v1?) -> pgk_listed_v1 {
    var listed = pgk_listed_v1()
    listed.access = access
    if let value, access.flags & UInt8(PGK_HAS_VALUE) != 0 || access.isWrite {
      listed.value = value
      listed.flags |= UInt8(PGK_LISTED_HAS_VALUE)
    }
    listed.fault_address = end.faultAddress
    listed.slot = PGK_NO_ENTRY
    listed.entry_reads = end.reads
    if end.stop == .device {
      listed.class_ = UInt8(PGK_CLASS_DEVICE)
      listed.guest_physical = end.output
      listed.flags |= UInt8(PGK_LISTED_HAS_GUEST_PHYSICAL | PGK_LISTED_FINAL_ADDRESS)
    } else {
      let fault = state.engine.caches.fault.pointee
      listed.slot = fault.slot
      listed.stage = fault.stage
      listed.level = fault.level
      describe(fault, &listed)
    }
    return listed
  }

  /// Lists the rest of the group behind the access that stopped it. Returns where the group ends.
  private func list(_ batch: Batch, from first: Int, count: Int) -> Int {
    batch.results[first] = pgk_result_v1()
    batch.results[first].outcome = UInt8(PGK_OUTCOME_LISTED)
    var i = first
    while state.groupsAreMarked, batch.accesses[i].flags & UInt8(PGK_END_OF_GROUP) == 0, i + 1 < count {
      i += 1
      state.pending.append(PendingOperation(listed: neighbour(batch.accesses[i], batch.values?[i]), answer: nil))
      batch.results[i] = pgk_result_v1()
      batch.results[i].outcome = UInt8(PGK_OUTCOME_LISTED)
    }
    return i + 1
  }

  /// An access behind the one that stopped its group: innocent, or with a fault of its own.
  private func neighbour(_ access: pgk_access_v1, _ value: pgk_value_v1?) -> pgk_listed_v1 {
    guard !access.isSpecial, let end = judgeNeighbour(access, value) else { return collateral(access, value) }
    return listing(end, access, value)
  }

  private func collateral(_ access: pgk_access_v1, _ value: pgk_value_v1?) -> pgk_listed_v1 {
    var listed = pgk_listed_v1()
    listed.access = access
    listed.class_ = UInt8(PGK_CLASS_COLLATERAL)
    listed.fault_address = access.address
    listed.slot = PGK_NO_ENTRY
    if let value, access.flags & UInt8(PGK_HAS_VALUE) != 0 || access.isWrite || access.isSpecial {
      listed.value = value
      listed.flags |= UInt8(PGK_LISTED_HAS_VALUE)
    }
    return listed
  }

  // MARK: resume

  /// Finishes the list as the verdicts say. Returns the operations that came to an end.
  func resume(_ verdicts: UnsafeBufferPointer<pgk_verdict_v1>) throws(Refusal) -> [pgk_completion_v1] {
    guard !state.pending.isEmpty else { throw Refusal(PGK_E_PENDING, "no operation is pending") }
    guard verdicts.count <= state.pending.count else {
      throw Refusal(PGK_E_ARGUMENT, "\(verdicts.count) verdicts for a list of \(state.pending.count)")
    }
    try checkOrder(verdicts)
    for (i, verdict) in verdicts.enumerated() { try check(verdict, item: i) }
    var items = state.pending
    for (i, verdict) in verdicts.enumerated() where UInt32(verdict.kind) != PGK_VERDICT_LEAVE { items[i].answer = verdict }
    state.pending = []
    return finish(items)
  }

  /// An answer is final, and once an item goes to the guest, what follows goes with it: of both nothing more is said.
  private func checkOrder(_ verdicts: UnsafeBufferPointer<pgk_verdict_v1>) throws(Refusal) {
    var reflected: Int?
    for (i, verdict) in verdicts.enumerated() {
      let answer = state.pending[i].answer
      if UInt32(verdict.kind) != PGK_VERDICT_LEAVE {
        if answer != nil { throw Refusal(PGK_E_VERDICT, "item \(i) is answered, and an answer is final; leave it") }
        if let reflected {
          throw Refusal(PGK_E_VERDICT, "item \(reflected) goes to the guest, and item \(i) behind it goes with it; leave it")
        }
      }
      if reflected == nil, UInt32(answer?.kind ?? verdict.kind) == PGK_VERDICT_REFLECT { reflected = i }
    }
  }

  private func check(_ verdict: pgk_verdict_v1, item: Int) throws(Refusal) {
    guard Self.definition.verdicts.contains(UInt32(verdict.kind)) else {
      throw Refusal(PGK_E_VERDICT, "item \(item): \(Self.definition.title) has no verdict \(Self.verdictName(verdict.kind))")
    }
    guard UInt32(verdict.kind) == PGK_VERDICT_REFLECT else { return }
    guard Int(verdict.outcome) < Self.definition.outcomes.count else {
      throw Refusal(PGK_E_VERDICT, "item \(item): outcome \(verdict.outcome) is not declared; the last is \(Self.definition.outcomes.count - 1)")
    }
    guard verdict.outcome != 0 || state.pending[item].listed.outcome != 0 else {
      throw Refusal(PGK_E_VERDICT, "item \(item): nothing to reflect: it has no fault of its own, and the verdict names no outcome")
    }
  }

  static func verdictName(_ kind: UInt8) -> String {
    let names = ["leave", "replay", "complete", "replace", "drop", "reflect", "replayIgnoringWriteProtection"]
    return Int(kind) < names.count ? names[Int(kind)] : "\(kind)"
  }

  private func finish(_ items: [PendingOperation]) -> [pgk_completion_v1] {
    var completions: [pgk_completion_v1] = []
    for (i, item) in items.enumerated() {
      let listed = item.listed
      var completion = pgk_completion_v1()
      completion.tag = listed.access.tag
      switch UInt32(item.answer?.kind ?? UInt8(PGK_VERDICT_REPLAY)) {
      case PGK_VERDICT_COMPLETE:
        completion.value = item.answer?.value ?? pgk_value_v1()
      case PGK_VERDICT_DROP:
        completion.result.outcome = UInt8(PGK_OUTCOME_DROPPED)
      case PGK_VERDICT_REFLECT:
        reflect(items[i...], &completions)
        return completions
      default:
        let isReplaced = UInt32(item.answer?.kind ?? 0) == PGK_VERDICT_REPLACE
        var value = isReplaced ? item.answer?.value ?? pgk_value_v1() : listed.value
        guard let result = replay(listed, &value) else {
          // The fresh item describes the new event only; the rest stays behind it, answers and all.
          state.pending += items[(i + 1)...].map(Self.marked)
          return completions
        }
        completion.result = result
        completion.value = value
      }
      completions.append(completion)
    }
    return completions
  }

  /// An item with an answer that stands says so.
  private static func marked(_ item: PendingOperation) -> PendingOperation {
    var item = item
    if item.answer != nil { item.listed.flags |= UInt8(PGK_LISTED_ANSWERED) }
    return item
  }

  /// Performs an operation again from the start. Nil if it is listed anew.
  private func replay(_ listed: pgk_listed_v1, _ value: inout pgk_value_v1) -> pgk_result_v1? {
    var access = listed.access
    if access.isSpecial { return replaySpecial(listed, &value) }
    var result = pgk_result_v1()
    let given = value
    let end = withUnsafeMutablePointer(to: &value) { value in
      translate(Batch(accesses: &access, values: value, results: &result), from: 0, to: 1, observer: state.observer)
    }
    if end.stop == .end { return result }
    append(listing(end, access, given))
    return nil
  }

  private func replaySpecial(_ listed: pgk_listed_v1, _ value: inout pgk_value_v1) -> pgk_result_v1? {
    state.engine.caches.counters.pointee.accesses &+= 1
    let given = value
    switch perform(listed.access, &value, isAnswered: true) {
    case .finished: return pgk_result_v1()
    case .listed(var fresh):
      fresh.access = listed.access
      fresh.value = given
      append(fresh)
      return nil
    case .refused:
      // It was accepted when it was listed; a value that software put in its place is wrong. It goes back to software.
      var again = listed
      again.value = given
      append(again)
      return nil
    }
  }

  /// Delivers an item to the guest, and with it what follows, which is not performed.
  private func reflect(_ items: ArraySlice<PendingOperation>, _ completions: inout [pgk_completion_v1]) {
    state.reflected = []
    for (i, item) in zip(items.indices, items) {
      var listed = item.listed
      if i == items.startIndex {
        if let verdict = item.answer, verdict.outcome != 0 { Self.apply(verdict, &listed) }
      } else if listed.class_ != UInt8(PGK_CLASS_GUEST_FAULT) {
        listed = collateral(listed.access, listed.value)
      }
      state.reflected.append(listed)
      var completion = pgk_completion_v1()
      completion.tag = listed.access.tag
      completion.result.outcome = listed.outcome == 0 ? UInt8(PGK_OUTCOME_DROPPED) : listed.outcome
      completion.result.output = listed.fault_address
      completion.result.level = listed.level
      completion.result.entry_reads = listed.entry_reads
      completions.append(completion)
    }
    deliver(state.reflected)
  }

  /// The fault as the guest shall see it.
  private static func apply(_ verdict: pgk_verdict_v1, _ listed: inout pgk_listed_v1) {
    listed.outcome = verdict.outcome
    listed.code = verdict.code
    listed.words = verdict.words
    listed.class_ = UInt8(PGK_CLASS_GUEST_FAULT)
    if verdict.fault_address != 0 { listed.fault_address = verdict.fault_address }
  }
}
