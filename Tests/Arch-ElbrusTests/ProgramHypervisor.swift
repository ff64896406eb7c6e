// The hypervisor of random programs: it maps what is missing, emulates the device, follows the guest's tables, and answers
// in the order that is asked of software.
import CPagingKit
import PagingKit

@testable import Arch_Elbrus

extension ProgramMachine {
  /// Every read of a register is answered before the guest goes on: hardware delivers what stands in the item. Of the
  /// others the first is enough; an eager hypervisor answers as many as the order allows.
  func hypervisorAnswers() throws -> [Int: pgk_verdict_v1] {
    var answers: [Int: pgk_verdict_v1] = [:]
    var front = Front()
    for (place, item) in unit.bench.unit.pending().enumerated() where UInt32(item.flags) & PGK_LISTED_DROPPED == 0 {
      let isRead = UInt32(item.class_) == PGK_CLASS_REGISTER_READ
      if !item.isAnswered, isRead || front.isEmpty || program.isEager { answers[place] = try answer(item, front) }
      front.isEmpty = false
      // Behind what goes to the guest, nothing more is said but that others go there too.
      let kind = UInt32(answers[place]?.kind ?? 0)
      if kind == PGK_VERDICT_REFLECT || item.eventName == "FORCED_GVA" || refusal(item) != 0 { front.mayGoToGuest = true }
      if kind != PGK_VERDICT_DROP && kind != PGK_VERDICT_COMPLETE && !isRead && (item.condition[ConditionWord.store] == 1 || isDevice(item)) {
        front.hasStore = true
      }
      if UInt32(item.class_) == PGK_CLASS_REGISTER_WRITE || item.access.address == 0x147 { front.controls[item.words.2 >> 4] = item.words.3 }
    }
    return answers
  }

  /// What stands unfinished in front of an item.
  struct Front {
    var isEmpty = true
    var mayGoToGuest = false
    var hasStore = false
    /// Registers that will have been written.
    var controls: [UInt64: UInt64] = [:]
  }

  private func isDevice(_ item: pgk_listed_v1) -> Bool {
    !item.access.isSpecial && item.access.address >> 12 == ProgramWorld.address(ProgramWorld.devicePage) >> 12
  }

  private func answer(_ item: pgk_listed_v1, _ front: Front) throws -> pgk_verdict_v1? {
    switch UInt32(item.class_) {
    case PGK_CLASS_REGISTER_READ:
      // A value is given only if nothing in front can still go to the guest: then this goes with it.
      if front.mayGoToGuest { return nil }
      let number = item.words.2 >> 4
      let value = try front.controls[number] ?? unit.bench.register(number == 0x0e ? "hw0" : "mtrr0")
      return WideUnit.verdict(PGK_VERDICT_COMPLETE, value)
    case PGK_CLASS_INVALIDATION:
      if mode == .shadowTables { try forget(item.words.3 & 0xffff_ffff_f000) }
      return nil
    case PGK_CLASS_SECOND_STAGE: return try answerSecondStage(item, front)
    case PGK_CLASS_SHADOW: return try answerShadow(item, front)
    default: return nil
    }
  }

  // MARK: GP tables

  private func answerSecondStage(_ item: pgk_listed_v1, _ front: Front) throws -> pgk_verdict_v1? {
    let address = item.words.1
    if address >> 12 == ProgramWorld.device >> 12 {
      return !front.mayGoToGuest && !front.hasStore ? emulate(item, at: address) : nil
    }
    second.map(address & ~0xfff, to: host(address & ~0xfff))
    try unit.flush(item.access.address)
    return nil
  }

  // MARK: Shadow tables

  private func answerShadow(_ item: pgk_listed_v1, _ front: Front) throws -> pgk_verdict_v1? {
    let refusal = refusal(item)
    if refusal != 0 {
      var verdict = WideUnit.guestFault(item, refusal)
      // Which page is at fault, the guest's tables say.
      var words = item
      words.words = verdict.words
      let isSecond = self.refusal(page: item.access.address, item) == 0
      var condition = words.condition
      condition[ConditionWord.num_align] = isSecond ? 1 : 0
      words.condition = condition
      let isWide = condition[ConditionWord.fmt] == 5 || condition[ConditionWord.fmt] == 7
      words.words.2 = item.access.address + (isSecond ? (isWide ? 16 : 8) : 0)
      verdict.words = words.words
      return verdict
    }
    if isDevice(item) {
      guard !front.mayGoToGuest && !front.hasStore else { return nil }
      return emulate(item, at: ProgramWorld.device + item.access.address & 0xfff)
    }
    if item.access.address >> 12 == ProgramWorld.address(ProgramWorld.tablePage) >> 12, item.faultType == 1 << 9 {
      guard front.isEmpty else { return nil }
      // A table of the guest: the shadow of the page forgets, and the replay makes the store.
      let index = Int(item.access.address & 0xfff) / 8 - Int(tables.slot(ProgramWorld.base) & 0xfff) / 8
      try forget(ProgramWorld.address(index))
      return WideUnit.verdict(PGK_VERDICT_REPLAY_IGNORING_WRITE_PROTECTION)
    }
    try fill(item.access.address)
    if item.access.byteCount > 4096 - item.access.address & 0xfff { try fill(item.access.address + item.access.byteCount - 1) }
    return nil
  }

  /// The fault bits that the guest's own tables give an item; 0 if they let it through.
  private func refusal(_ item: pgk_listed_v1) -> UInt64 {
    if item.access.isSpecial { return 0 }
    let first = refusal(page: item.access.address, item)
    guard first == 0, item.access.byteCount > 4096 - item.access.address & 0xfff else { return first }
    return refusal(page: item.access.address + item.access.byteCount - 1, item)
  }

  private func refusal(page address: UInt64, _ item: pgk_listed_v1) -> UInt64 {
    let entry = tables[address]
    if entry & tables.valid == 0 { return 1 << 8 }
    if entry & 1 == 0 { return 1 << 10 }
    return UInt32(item.access.kind) == PGK_WRITE && entry & Tables.writable == 0 ? 1 << 9 : 0
  }

  /// A shadow entry from the guest's own. Tables of the guest are write-protected.
  private func fill(_ address: UInt64) throws {
    let entry = tables[address]
    let isTable = address >> 12 == ProgramWorld.address(ProgramWorld.tablePage) >> 12
    let bits = entry & 0xfff & ~(isTable ? Tables.writable : 0)
    second.map(address & ~0xfff, to: host(entry & 0xffff_ffff_f000), bits | Tables.accessed | Tables.dirty)
    try unit.flush(address)
  }

  private func forget(_ address: UInt64) throws {
    second[address & ~0xfff] = second.valid
    try unit.flush(address)
  }
}

extension WideUnit {
  /// The hypervisor's own flush of a page of the guest's, while a list is pending.
  func flush(_ address: UInt64) throws {
    let operand = FlushOperand(page: address, context: 0)
    var request = ElbrusUnit.below(ElbrusUnit.request(.flushPage, data: operand.bits, address: FlushKind.page))
    request.value.qualifier = 5 | ElbrusUnit.namesMachine
    try bench.perform([request])
  }
}
