// run: accesses in batches, group by group. The same for every back end.
import CPagingKit

extension UnitModel {
  /// Takes accesses until one group stops. Returns how many were consumed, or a PGK_E_... code with the reason.
  func run(_ batch: Batch, count: Int) throws(Refusal) -> Int {
    if !state.pending.isEmpty { return try runBesideList(batch, count: count) }
    guard state.groupsAreMarked else { return try runAccesses(batch, from: 0, to: count) }
    var start = 0
    while start < count {
      let end = endOfGroup(batch, from: start, count: count)
      do throws(Refusal) {
        try admit(batch, from: start, to: end)
      } catch {
        // What is finished is told first; the group is refused when it comes first.
        if start > 0 { return start }
        throw error
      }
      if !commitsBeforeFault && listWhole(batch, from: start, to: end) { return end }
      let done = try runAccesses(batch, from: start, to: end)
      if done < end || !state.pending.isEmpty { return done }
      start = end
    }
    return count
  }

  /// A group with a fault anywhere is dropped as a whole; false if it has none.
  private func listWhole(_ batch: Batch, from start: Int, to end: Int) -> Bool {
    let list = (start..<end).map { neighbour(batch.accesses[$0], batch.values?[$0]) }
    guard list.contains(where: { $0.class_ != UInt8(PGK_CLASS_COLLATERAL) }) else { return false }
    for (i, listed) in zip(start..<end, list) {
      append(listed)
      batch.results[i] = pgk_result_v1()
      batch.results[i].outcome = UInt8(PGK_OUTCOME_LISTED)
    }
    didList()
    return true
  }

  private func endOfGroup(_ batch: Batch, from start: Int, count: Int) -> Int {
    var end = start
    while end < count - 1, batch.accesses[end].flags & UInt8(PGK_END_OF_GROUP) == 0 { end += 1 }
    return end + 1
  }

  /// Special accesses of who is below the operating system, while it has a list to answer.
  private func runBesideList(_ batch: Batch, count: Int) throws(Refusal) -> Int {
    for i in 0..<count where !batch.accesses[i].isSpecial || batch.accesses[i].flags & UInt8(PGK_HYPERVISOR) == 0 {
      throw Refusal(PGK_E_PENDING, "\(state.pending.count) operations are pending; answer them with resume before run")
    }
    for i in 0..<count {
      var value = batch.values?[i] ?? pgk_value_v1()
      switch perform(batch.accesses[i], &value, isAnswered: true) {
      case .finished: batch.results[i] = pgk_result_v1()
      case .listed(let listed):
        batch.results[i] = pgk_result_v1()
        batch.results[i].outcome = listed.outcome
      case .refused(let refusal):
        if i > 0 { return i }
        throw refusal
      }
      state.engine.caches.counters.pointee.accesses &+= 1
      batch.values?[i] = value
    }
    return count
  }

  private func runAccesses(_ batch: Batch, from first: Int, to count: Int) throws(Refusal) -> Int {
    var i = first
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
        append(listing(end, batch.accesses[end.next], batch.values?[end.next]))
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
    let privileges = Self.definition.privileges
    guard Int(access.privilege) < privileges.count else {
      return Refusal(PGK_E_ARGUMENT, "privilege \(access.privilege) is none; the description has \(privileges.count)")
    }
    let kind = ["read", "write", "modify", "loadLocked", "storeConditional", "fetch", "special"][Int(access.kind)]
    return Refusal(PGK_E_ARGUMENT, "privilege \(privileges[Int(access.privilege)].name) makes no access of kind \(kind) here")
  }

  /// Performs a special access of a batch, or puts it into the list.
  private func runSpecial(_ batch: Batch, _ i: Int) -> SpecialEnd {
    let access = batch.accesses[i]
    let given = batch.values?[i] ?? pgk_value_v1()
    var value = given
    let end = perform(access, &value, isAnswered: false)
    switch end {
    case .finished:
      state.engine.caches.counters.pointee.accesses &+= 1
      batch.values?[i] = value
      batch.results[i] = pgk_result_v1()
    case .listed(var listed):
      state.engine.caches.counters.pointee.accesses &+= 1
      listed.access = access
      listed.value = given
      append(listed)
    case .refused: break
    }
    return end
  }

  /// Lists the rest of the group behind the access that stopped it. Returns where the group ends.
  private func list(_ batch: Batch, from first: Int, count: Int) -> Int {
    batch.results[first] = pgk_result_v1()
    batch.results[first].outcome = UInt8(PGK_OUTCOME_LISTED)
    var i = first
    while state.groupsAreMarked, batch.accesses[i].flags & UInt8(PGK_END_OF_GROUP) == 0, i + 1 < count {
      i += 1
      for part in parts(of: neighbour(batch.accesses[i], batch.values?[i])) {
        state.pending.append(PendingOperation(listed: part, answer: nil))
      }
      batch.results[i] = pgk_result_v1()
      batch.results[i].outcome = UInt8(PGK_OUTCOME_LISTED)
    }
    didList()
    return i + 1
  }
}
