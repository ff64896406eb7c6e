// What a kernel does with the trap cellar: reads it as memory, makes operations of it, performs them again.
import CPagingKit
import PagingKit

extension ElbrusUnit {
  /// TRAP_COUNT, then the records, then the extensions of packed ones.
  func readFaults(known: [Request]) throws(Refusal) -> [Request] {
    guard hasCellar else { return [] }
    guard let first = known.first else { return [Self.below(Self.request(.readRegister, address: 0x06 << 4))] }
    let count = min(Int(first.value.low / CellarRecord.doubleWords), CellarRecord.most)
    let words = count * Int(CellarRecord.doubleWords)
    if known.count == 1 { return (0..<words).map { physicalLoad(UInt64($0) * 8) } }
    guard known.count == 1 + words else { return [] }
    return (0..<count).filter { records(known)[$0].isPacked }.flatMap { index in
      let place = CellarRecord.extensionOffset + UInt64(index) * CellarRecord.byteCount
      return [physicalLoad(place + 8), physicalLoad(place + 16)]
    }
  }

  private func physicalLoad(_ offset: UInt64) -> Request {
    Self.below(Self.request(.loadPhysical, address: values[RegisterIndex.trapPoint] + offset))
  }

  /// A guest's TRAP_POINT is a physical address of the host's: who reads through it is below the guest.
  static func below(_ request: Request) -> Request {
    var request = request
    request.access.flags |= UInt8(PGK_HYPERVISOR)
    return request
  }

  /// The records without extensions.
  private func records(_ answers: [Request]) -> [CellarRecord] {
    let words = answers.dropFirst().map(\.value.low)
    let count = min(Int(answers[0].value.low / CellarRecord.doubleWords), CellarRecord.most, words.count / 3)
    return (0..<count).map { CellarRecord(address: words[3 * $0], data: words[3 * $0 + 1], condition: ConditionWord(bits: words[3 * $0 + 2])) }
  }

  /// The records as operations. Fetches, which have none, are what the trap info register was given.
  ///
  /// The cellar is the guest's memory, so anything may stand in it; what is no operation is refused.
  func decodeFaults(_ answers: [Request]) throws(Refusal) -> [pgk_listed_v1] {
    guard !answers.isEmpty else { return state.reflected }
    var records = records(answers)
    var next = 1 + records.count * Int(CellarRecord.doubleWords)
    for i in records.indices where records[i].isPacked {
      guard next + 1 < answers.count else { throw Refusal(PGK_E_ARGUMENT, "record \(i) of the trap cellar is packed, but its extension was not read") }
      records[i].dataHigh = answers[next].value.low
      records[i].mask = answers[next + 1].value.low
      next += 2
    }
    return try operations(of: records)
  }

  /// What the host says of the accesses besides goes along with them: what was reflected last is at the end.
  private func operations(of records: [CellarRecord]) throws(Refusal) -> [pgk_listed_v1] {
    let known = state.reflected.filter { !$0.access.isFetch }
    // TRAP_COUNT is 0 when the records have been taken.
    guard !records.isEmpty else { return state.reflected.filter(\.access.isFetch) }
    guard records.count >= known.count || records.count == CellarRecord.most else {
      throw Refusal(PGK_E_ARGUMENT, "the trap cellar ends after \(records.count) operations of \(known.count) that went to it")
    }
    let before = max(0, records.count - known.count)
    var list: [pgk_listed_v1] = []
    for (i, record) in records.enumerated() {
      let index = i - before
      list.append(operation(record, like: known.indices.contains(index) ? known[index] : nil))
    }
    // Fetches, which have no record, and more operations than the cellar has room for.
    return list + known.dropFirst(records.count) + state.reflected.filter(\.access.isFetch)
  }

  private func operation(_ record: CellarRecord, like known: pgk_listed_v1?) -> pgk_listed_v1 {
    let condition = record.condition
    var listed = pgk_listed_v1()
    let isSpecial = AccessQualifier.isSpecial(
      mas: condition[ConditionWord.mas], channel: condition[ConditionWord.chan], isStore: record.isStore,
      isSpeculative: condition[ConditionWord.spec] == 1)
    let hasDestination = condition[ConditionWord.vr] | condition[ConditionWord.vl] != 0
    let qualifier = AccessQualifier(
      mas: condition[ConditionWord.mas], channel: condition[ConditionWord.chan],
      destination: hasDestination ? condition[ConditionWord.address] : nil, isPacked: record.isPacked
    ).with(
      isHalf: record.isQuad, isSpillOrFill: condition[ConditionWord.s_f] == 1, isChainStack: condition[ConditionWord.sru] == 1,
      isStackClearing: condition[ConditionWord.clw] == 1)
    if isSpecial {
      let code = condition[ConditionWord.mas] | condition[ConditionWord.store] << 8
      let request = Request(
        special: code, low: CellarRecord.rotated(record.data, by: 8 - record.address & 7), high: record.address, privilege: UInt8(condition[ConditionWord.pm]))
      (listed.access, listed.value) = (request.access, request.value)
      listed.flags = UInt8(PGK_LISTED_HAS_VALUE)
    } else {
      decode(record, &listed)
    }
    listed.value.qualifier = qualifier.bits
    if let known {
      keep(known, &listed)
      listed.flags = listed.flags & ~UInt8(PGK_LISTED_LATER_PART) | known.flags & UInt8(PGK_LISTED_LATER_PART)
    }
    describe(record, &listed)
    return listed
  }

  private func decode(_ record: CellarRecord, _ listed: inout pgk_listed_v1) {
    let condition = record.condition
    let format = condition[ConditionWord.fmt]
    guard format != 0, format != 6, !record.isStore || condition[ConditionWord.chan] & 1 == 1 else {
      // Nothing that can be performed: its recovery operation is refused.
      listed.access = Request(special: Operation.none, privilege: Privilege.user).access
      return
    }
    listed.access.address = record.firstByte
    listed.access.kind = UInt8(record.isStore ? PGK_WRITE : PGK_READ)
    listed.access.size_log2 = record.isPacked ? 4 : record.isQuad ? 3 : UInt8(format - 1)
    listed.access.privilege = UInt8(condition[ConditionWord.pm])
    listed.access.flags = UInt8(PGK_HAS_VALUE) | (condition[ConditionWord.spec] == 1 ? UInt8(PGK_SPECULATIVE) : 0)
    listed.flags = UInt8(PGK_LISTED_HAS_VALUE)
    // Out of the lanes of memory again.
    let rotation = 8 - listed.access.address & 7
    listed.value.low = CellarRecord.rotated(record.data, by: rotation)
    if record.isPacked {
      listed.value.high = CellarRecord.rotated(record.dataHigh, by: rotation)
      listed.value.mask = UInt16(truncatingIfNeeded: record.mask)
    }
    if record.isLaterHalf { listed.flags |= UInt8(PGK_LISTED_LATER_PART) }
  }

  /// What no record says: the host's tag and flags, and kinds that the memory unit does not tell apart.
  private func keep(_ known: pgk_listed_v1, _ listed: inout pgk_listed_v1) {
    listed.access.tag = known.access.tag
    guard !known.access.isSpecial, !listed.access.isSpecial else { return }
    let isStore = [PGK_WRITE, PGK_STORE_CONDITIONAL].contains(UInt32(known.access.kind))
    if isStore == (UInt32(listed.access.kind) == PGK_WRITE) { listed.access.kind = known.access.kind }
    listed.access.flags |= known.access.flags & UInt8(PGK_TRANSLATE_ONLY | PGK_END_OF_GROUP)
    if known.access.isTranslateOnly { listed.access.size_log2 = known.access.size_log2 }
    listed.entry_reads = known.entry_reads
    if UInt32(known.access.kind) == PGK_MODIFY { listed.value = known.value }
  }

  /// Class and outcome from the fault bits; illegal_page makes the others meaningless.
  private func describe(_ record: CellarRecord, _ listed: inout pgk_listed_v1) {
    let faultType = record.condition[ConditionWord.fault_type]
    let isSecondPage = record.condition[ConditionWord.num_align] == 1
    listed.fault_address = isSecondPage ? (listed.access.address & ~0xfff) &+ 0x1000 : listed.access.address
    listed.slot = PGK_NO_ENTRY
    listed.sevenWords = [0, 0, record.address, record.data, record.condition.bits, record.dataHigh, record.mask]
    listed.word_count = UInt8(ItemWords.count)
    let first: Outcome? = faultType & Outcome.illegalPage.faultType != 0
      ? .illegalPage : Outcome.allCases.first { $0.faultType & faultType != 0 }
    guard let outcome = first else {
      listed.class_ = UInt8(PGK_CLASS_COLLATERAL)
      return
    }
    listed.class_ = UInt8(PGK_CLASS_GUEST_FAULT)
    listed.outcome = outcome.rawValue
    listed.code = UInt32(outcome.definition.number)
    listed.stage = 1
    listed.level = UInt8(record.condition[ConditionWord.miss_lvl])
  }

  /// A recovery operation. A lock becomes a plain load: hardware locks again when the program goes on.
  func reexecute(_ listed: pgk_listed_v1) throws(Refusal) -> [Request] {
    if listed.access.isSpecial && listed.access.address == Operation.none {
      throw Refusal(PGK_E_ARGUMENT, "a record of the trap cellar is no operation: condition 0x\(String(listed.words.4, radix: 16))")
    }
    var request = Request(listed.access, listed.value)
    guard !listed.access.isSpecial else { return [request] }
    let own = qualifier(of: listed.access, listed.value)
    if UInt32(listed.access.kind) == PGK_LOAD_LOCKED || own.isLock(listed.access, iset: model.iset) {
      request.access.kind = UInt8(PGK_READ)
      request.access.flags |= UInt8(PGK_HAS_VALUE)
      request.value.qualifier = own.plain.bits
    }
    return [request]
  }

  /// TRAP_COUNT back to 0.
  func acknowledge() throws(Refusal) -> [Request] {
    hasCellar ? [Self.write(RegisterIndex.trapCount, 0)] : []
  }
}
