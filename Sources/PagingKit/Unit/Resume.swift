// resume: the list is finished as the verdicts say. The same for every back end.
import CPagingKit

extension UnitModel {
  /// Finishes the list as the verdicts say. Returns the operations that came to an end.
  func resume(_ verdicts: UnsafeBufferPointer<pgk_verdict_v1>) throws(Refusal) -> [pgk_completion_v1] {
    guard !state.pending.isEmpty else { throw Refusal(PGK_E_PENDING, "no operation is pending") }
    try answer(verdicts)
    willResume()
    let items = state.pending
    state.pending = []
    return finish(items)
  }

  /// Writes answers into the list.
  func answer(_ verdicts: UnsafeBufferPointer<pgk_verdict_v1>) throws(Refusal) {
    guard verdicts.count <= state.pending.count else {
      throw Refusal(PGK_E_ARGUMENT, "\(verdicts.count) verdicts for a list of \(state.pending.count)")
    }
    try checkOrder(verdicts)
    for (i, verdict) in verdicts.enumerated() { try check(verdict, item: i) }
    for (i, verdict) in verdicts.enumerated() where UInt32(verdict.kind) != PGK_VERDICT_LEAVE { setAnswer(verdict, at: i) }
  }

  /// Gives an item an answer, which it shows.
  public func setAnswer(_ verdict: pgk_verdict_v1, at i: Int) {
    state.pending[i].answer = verdict
    state.pending[i].listed.flags |= UInt8(PGK_LISTED_ANSWERED)
    if UInt32(verdict.kind) == PGK_VERDICT_DROP { state.pending[i].listed.flags |= UInt8(PGK_LISTED_DROPPED) }
    show(verdict, in: &state.pending[i].listed)
  }

  /// An answer is final, and once an item goes to the guest, what follows goes with it: of it nothing more is said but
  /// that it has a fault of the guest's own too.
  private func checkOrder(_ verdicts: UnsafeBufferPointer<pgk_verdict_v1>) throws(Refusal) {
    var reflected: Int?
    for (i, verdict) in verdicts.enumerated() {
      let answer = state.pending[i].answer
      if UInt32(verdict.kind) != PGK_VERDICT_LEAVE {
        if answer != nil { throw Refusal(PGK_E_VERDICT, "item \(i) is answered, and an answer is final; leave it") }
        if let reflected, UInt32(verdict.kind) != PGK_VERDICT_REFLECT {
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
      let verdict = item.answer ?? verdictWhenLeft(item.listed)
      switch UInt32(verdict?.kind ?? UInt8(PGK_VERDICT_REPLAY)) {
      case PGK_VERDICT_COMPLETE:
        completions.append(item.completion(verdict?.value ?? pgk_value_v1()))
      case PGK_VERDICT_DROP:
        var completion = item.completion(pgk_value_v1())
        completion.result.outcome = UInt8(PGK_OUTCOME_DROPPED)
        completions.append(completion)
      case PGK_VERDICT_REFLECT:
        reflect(items[i...], &completions)
        return completions
      default:
        guard let completion = replay(item, verdict) else {
          goOn(behind: items[(i + 1)...], &completions)
          return completions
        }
        completions.append(completion)
      }
    }
    return completions
  }

  /// An item was listed anew: the fresh one describes the new event only, and the rest stays behind it, answers and all.
  /// A fault of the guest's own that hardware delivers takes the rest with it.
  private func goOn(behind rest: ArraySlice<PendingOperation>, _ completions: inout [pgk_completion_v1]) {
    let isDelivered = state.pending.first.map { deliversItself($0.listed) } ?? false
    state.pending += rest
    guard isDelivered else { return didList() }
    let items = state.pending
    state.pending = []
    reflect(items[...], &completions)
  }

  private func replay(_ item: PendingOperation, _ verdict: pgk_verdict_v1?) -> pgk_completion_v1? {
    let kind = UInt32(verdict?.kind ?? UInt8(PGK_VERDICT_REPLAY))
    var value = kind == PGK_VERDICT_REPLACE ? replaced(item.listed.value, by: verdict) : item.listed.value
    var result: pgk_result_v1?
    if kind == PGK_VERDICT_REPLAY_IGNORING_WRITE_PROTECTION {
      withoutWriteProtection { result = replay(item.listed, &value) }
    } else {
      result = replay(item.listed, &value)
    }
    guard let result else { return nil }
    var completion = item.completion(value)
    completion.result = result
    return completion
  }

  /// Data that software puts in the place of an operation's own; what qualifies it stays.
  private func replaced(_ own: pgk_value_v1, by verdict: pgk_verdict_v1?) -> pgk_value_v1 {
    guard var value = verdict?.value else { return own }
    if value.qualifier == 0 { value.qualifier = own.qualifier }
    return value
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
    var fresh = listing(end, access, given)
    fresh.flags |= listed.flags & UInt8(PGK_LISTED_LATER_PART)
    append(fresh)
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
      again.flags &= ~UInt8(PGK_LISTED_ANSWERED)
      again.value = given
      append(again)
      return nil
    }
  }

  /// Delivers an item to the guest, and with it what follows, which is not performed. What does not follow is finished then.
  private func reflect(_ items: ArraySlice<PendingOperation>, _ completions: inout [pgk_completion_v1]) {
    let going = items.indices.filter { $0 == items.startIndex || goes(items[$0]) }
    deliver(going.map { items[$0] }[...], &completions)
    guard going.count < items.count else { return }
    completions += finish(items.indices.filter { !going.contains($0) }.map { items[$0] })
  }

  private func goes(_ item: PendingOperation) -> Bool {
    UInt32(item.answer?.kind ?? 0) == PGK_VERDICT_REFLECT || item.listed.class_ == UInt8(PGK_CLASS_GUEST_FAULT) || follows(item.listed)
  }

  private func deliver(_ items: ArraySlice<PendingOperation>, _ completions: inout [pgk_completion_v1]) {
    state.reflected = []
    for (i, item) in zip(items.indices, items) {
      var listed = item.listed
      // Dropped by software, it happens no more for the guest either.
      if item.isDropped {
        var completion = item.completion(pgk_value_v1())
        completion.result.outcome = UInt8(PGK_OUTCOME_DROPPED)
        completions.append(completion)
        continue
      }
      if let verdict = item.answer, UInt32(verdict.kind) == PGK_VERDICT_REFLECT {
        if verdict.outcome != 0 { Self.apply(verdict, &listed) }
      } else if i != items.startIndex, listed.class_ != UInt8(PGK_CLASS_GUEST_FAULT) {
        listed = innocent(listed)
      }
      state.reflected.append(listed)
      var completion = item.completion(pgk_value_v1())
      completion.result.outcome = listed.outcome == 0 ? UInt8(PGK_OUTCOME_DROPPED) : listed.outcome
      completion.result.output = listed.fault_address
      completion.result.level = listed.level
      completion.result.entry_reads = listed.entry_reads
      completions.append(completion)
    }
    deliver(state.reflected)
  }

  /// The operation without what happened to it.
  private func innocent(_ listed: pgk_listed_v1) -> pgk_listed_v1 {
    var plain = collateral(listed.access, listed.value)
    plain.flags |= listed.flags & UInt8(PGK_LISTED_LATER_PART)
    return plain
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
