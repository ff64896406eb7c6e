// INTC_INFO_MU and INTC_PTR_MU: the pending list as a hypervisor of this architecture reads and edits it. There is one list;
// what is written here becomes answers in it. Kernel header kvm/mmu_hv_regs_access.h.
import CPagingKit
import PagingKit

/// How far the window onto the list is, and what is being written through it.
struct InterceptWindow {
  static let wordsPerItem = ItemWords.count
  /// Items that the hardware has room for.
  static let mostItems = 11

  /// INTC_PTR_MU: double words.
  var pointer = 0
  /// The list as it was before software began to write it anew; nil while it has not.
  var before: [PendingOperation]?
  /// The next operation of `before` that an item may stand for.
  var next = 0
  var written: [UInt64] = []

  mutating func clear() { self = InterceptWindow() }
}

extension ElbrusUnit {
  /// An operation for the hypervisor is in the list; faults of the guest's own alone stay with the guest.
  var isIntercepted: Bool {
    isGuest && state.pending.contains { ![PGK_CLASS_COLLATERAL, PGK_CLASS_GUEST_FAULT].contains(UInt32($0.listed.class_)) }
  }

  func didList() {
    window.clear()
    if isIntercepted { window.pointer = InterceptWindow.wordsPerItem * present.count }
  }

  /// Positions of the items that are still in the list.
  private var present: [Int] { state.pending.indices.filter { !state.pending[$0].isDropped } }

  /// Reading says how many double words there are, and goes back to the first.
  func readPointer() -> UInt64 {
    let value = UInt64(window.pointer)
    window.clear()
    return value
  }

  func readWindow() -> UInt64 {
    let (item, word) = window.pointer.quotientAndRemainder(dividingBy: InterceptWindow.wordsPerItem)
    advance()
    let present = present
    return item < present.count ? state.pending[present[item]].listed.sevenWords[word] : 0
  }

  private func advance() {
    window.pointer = min(window.pointer + 1, InterceptWindow.wordsPerItem * InterceptWindow.mostItems)
  }

  /// The first word written at the beginning starts the list anew: what is not written again is out of it.
  func writeWindow(_ word: UInt64) throws(Refusal) {
    if let before = window.before, before.count != state.pending.count { window.clear() }
    let start = window.pointer - window.written.count
    if window.pointer == 0 && window.before == nil {
      window.before = state.pending
      window.next = 0
      for i in present { setAnswer(drop, at: i) }
    }
    window.written.append(word)
    advance()
    guard window.written.count == InterceptWindow.wordsPerItem else { return }
    let words = window.written
    window.written = []
    try put(words, at: start / InterceptWindow.wordsPerItem)
  }

  private var drop: pgk_verdict_v1 {
    var verdict = pgk_verdict_v1()
    verdict.kind = UInt8(PGK_VERDICT_DROP)
    return verdict
  }

  private func put(_ words: [UInt64], at place: Int) throws(Refusal) {
    guard let i = position(of: words, at: place) else {
      throw Refusal(PGK_E_ARGUMENT, "item \(place) of INTC_INFO_MU is none of the listed operations: condition 0x\(String(words[4], radix: 16))")
    }
    let old = window.before?[i] ?? state.pending[i]
    let verdict = try verdict(of: words, over: old.listed, item: place)
    state.putBack(old, at: i)
    if let verdict { setAnswer(verdict, at: i) }
    window.next = i + 1
  }

  /// The operation that an item stands for: which one it is, its words still say, and the order is kept.
  private func position(of words: [UInt64], at place: Int) -> Int? {
    guard let before = window.before else {
      let present = present
      return place < present.count && isSame(words, state.pending[present[place]].listed) ? present[place] : nil
    }
    return before.indices.dropFirst(window.next).first { !before[$0].isDropped && isSame(words, before[$0].listed) }
  }

  private func isSame(_ words: [UInt64], _ listed: pgk_listed_v1) -> Bool {
    let event = ConditionWord.fault_type.mask | ConditionWord.miss_lvl.mask
    return words[2] == listed.words.2 && (words[4] ^ listed.words.4) & ~event == 0
  }

  /// What an edit says, as an answer; nil if nothing was changed.
  private func verdict(of words: [UInt64], over listed: pgk_listed_v1, item: Int) throws(Refusal) -> pgk_verdict_v1? {
    guard words != listed.sevenWords else { return nil }
    var verdict = pgk_verdict_v1()
    let code = Entry(words[0])[ItemHeader.event_code]
    let known = listed[header: ItemHeader.event_code]
    switch code {
    case Outcome.forcedGuestFault.code:
      verdict.kind = UInt8(PGK_VERDICT_REFLECT)
      verdict.outcome = Outcome.forcedGuestFault.rawValue
      verdict.words = (words[0], words[1], words[2], words[3], words[4], words[5], words[6], 0)
    case Outcome.readIntercept.code:
      verdict.kind = UInt8(PGK_VERDICT_COMPLETE)
      verdict.value.low = words[3]
      verdict.value.high = words[5]
    case _ where code == known || code <= 8 && !listed.access.isSpecial:
      let isIgnoring = Entry(words[0])[ItemHeader.ignore_wr_rights] == 1
      let isChanged = words[3] != listed.words.3 || words[5] != listed.words.5
      verdict.kind = UInt8(
        isIgnoring ? PGK_VERDICT_REPLAY_IGNORING_WRITE_PROTECTION : isChanged ? PGK_VERDICT_REPLACE : PGK_VERDICT_REPLAY)
      let back: UInt64 = listed.access.isSpecial ? 0 : 8 - listed.access.address & 7
      verdict.value.low = CellarRecord.rotated(words[3], by: back)
      verdict.value.high = listed.access.isSpecial ? words[2] : CellarRecord.rotated(words[5], by: back)
    default:
      throw Refusal(PGK_E_ARGUMENT, "item \(item) of INTC_INFO_MU: event code \(code) cannot stand in the place of \(known)")
    }
    return verdict
  }

  // MARK: GLAUNCH

  /// Hardware takes the items that are in the window.
  func willResume() {
    guard isIntercepted else { return window.clear() }
    for i in present.dropFirst(window.pointer / InterceptWindow.wordsPerItem) { setAnswer(drop, at: i) }
    window.clear()
  }

  /// A fault of the guest's own is moved to the guest's cellar, and a read gets what stands in the item. All else is done
  /// again.
  func verdictWhenLeft(_ listed: pgk_listed_v1) -> pgk_verdict_v1? {
    guard isGuest else { return nil }
    var verdict = pgk_verdict_v1()
    switch listed[header: ItemHeader.event_code] {
    case Outcome.forcedGuestFault.code: verdict.kind = UInt8(PGK_VERDICT_REFLECT)
    case Outcome.readIntercept.code:
      verdict.kind = UInt8(PGK_VERDICT_COMPLETE)
      verdict.value.low = listed.words.3
    default: return nil
    }
    return verdict
  }

  func deliversItself(_ listed: pgk_listed_v1) -> Bool {
    isGuest && UInt32(listed.class_) == PGK_CLASS_GUEST_FAULT
  }

  /// How software that writes the words itself would have answered.
  func show(_ answer: pgk_verdict_v1, in listed: inout pgk_listed_v1) {
    guard isGuest else { return }
    switch UInt32(answer.kind) {
    case PGK_VERDICT_COMPLETE:
      listed[header: ItemHeader.event_code] = Outcome.readIntercept.code
      listed.words.3 = answer.value.low & Self.bytes(listed.access.byteCount)
      if listed.access.size_log2 == 4 && !listed.access.isSpecial { listed.words.5 = answer.value.high }
    case PGK_VERDICT_REPLACE:
      listed.words.3 = listed.access.isSpecial
        ? answer.value.low : CellarRecord.rotated(answer.value.low, by: listed.access.address)
    case PGK_VERDICT_REPLAY_IGNORING_WRITE_PROTECTION: listed[header: ItemHeader.ignore_wr_rights] = 1
    case PGK_VERDICT_REFLECT:
      if answer.outcome != 0 { listed.words = answer.words }
      listed[header: ItemHeader.event_code] = Outcome.forcedGuestFault.code
    case PGK_VERDICT_DROP: if window.before == nil { window.pointer = max(0, window.pointer - InterceptWindow.wordsPerItem) }
    default: break
    }
  }

  private static func bytes(_ count: UInt64) -> UInt64 { count >= 8 ? .max : (1 << (8 * count)) - 1 }

  var commitsBeforeFault: Bool { model.commitsBeforeFault }

  /// Behind an item that goes to the guest: all, or the innocent neighbours alone.
  func follows(_ listed: pgk_listed_v1) -> Bool {
    !isGuest || model.followsAll || UInt32(listed.class_) == PGK_CLASS_COLLATERAL
  }

  // MARK: Room

  /// A guest's group that the list could not hold is not begun.
  func admit(_ batch: Batch, from first: Int, to end: Int) throws(Refusal) {
    guard isGuest, end - first > InterceptWindow.mostItems / 2 else { return }
    var count = 0
    for i in first..<end {
      let access = batch.accesses[i]
      if access.isSpecial && access.flags & UInt8(PGK_HYPERVISOR) != 0 { continue }
      let value = batch.values?[i] ?? pgk_value_v1()
      count += isPair(access, qualifier(of: access, value)) ? 2 : 1
    }
    guard count <= InterceptWindow.mostItems else {
      throw Refusal(PGK_E_CAPACITY, "list-overflow: a guest's group of \(count) operations; INTC_INFO_MU holds \(InterceptWindow.mostItems)")
    }
  }

  func withoutWriteProtection(_ body: () -> Void) {
    setIgnoringWriteProtection(true)
    body()
    setIgnoringWriteProtection(false)
  }

  private func setIgnoringWriteProtection(_ isIgnoring: Bool) {
    first.pointee.judgement.ignoresWrite = isIgnoring
    second.pointee.ignoresWrite = isIgnoring
    state.engine.permissions.clear()
  }
}
