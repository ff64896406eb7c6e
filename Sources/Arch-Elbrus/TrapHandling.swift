// What a kernel does with the trap cellar: reads it as memory, makes operations of it, performs them again.
import CPagingKit
import PagingKit

extension ElbrusUnit {
  /// TRAP_COUNT, then the records, then the extensions of packed ones.
  func readFaults(known: [Request]) throws(Refusal) -> [Request] {
    guard hasCellar else { return [] }
    guard let first = known.first else { return [Self.request(.readRegister, address: 0x06 << 4)] }
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
    Self.request(.loadPhysical, address: values[RegisterIndex.trapPoint] + offset)
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

  /// Pairs of quad records are one operation. What the host says of the accesses besides goes along with them.
  private func operations(of records: [CellarRecord]) throws(Refusal) -> [pgk_listed_v1] {
    var list: [pgk_listed_v1] = []
    var left = records[...]
    for known in state.reflected {
      if known.access.isFetch {
        list.append(known)
        continue
      }
      // More operations than the cellar has room for.
      guard let record = left.popFirst() else { return records.count == CellarRecord.most ? list + rest(after: list.count) : try missing(list) }
      list.append(try operation(record, &left, like: known))
    }
    while let record = left.popFirst() { list.append(try operation(record, &left, like: nil)) }
    return list
  }

  private func rest(after count: Int) -> [pgk_listed_v1] { Array(state.reflected.dropFirst(count)) }

  private func missing(_ list: [pgk_listed_v1]) throws(Refusal) -> [pgk_listed_v1] {
    throw Refusal(PGK_E_ARGUMENT, "the trap cellar ends after \(list.count) operations of \(state.reflected.count) that went to it")
  }

  private func operation(
    _ record: CellarRecord, _ left: inout ArraySlice<CellarRecord>, like known: pgk_listed_v1?
  ) throws(Refusal) -> pgk_listed_v1 {
    let condition = record.condition
    var listed = pgk_listed_v1()
    let isSpecial = condition[ConditionWord.mas] & 7 == 7 && condition[ConditionWord.mas] != 7
    let hasDestination = condition[ConditionWord.vr] | condition[ConditionWord.vl] != 0
    let qualifier = AccessQualifier(
      mas: condition[ConditionWord.mas], channel: condition[ConditionWord.chan],
      destination: hasDestination ? condition[ConditionWord.address] : nil, isPacked: record.isPacked)
    if isSpecial {
      let code = condition[ConditionWord.mas] | condition[ConditionWord.store] << 8
      let request = Request(special: code, low: record.data, high: record.address, privilege: Privilege.kernel)
      (listed.access, listed.value) = (request.access, request.value)
      listed.flags = UInt8(PGK_LISTED_HAS_VALUE)
    } else {
      try decode(record, &left, &listed)
    }
    listed.value.qualifier = qualifier.bits
    if let known { keep(known, &listed) }
    describe(record, &listed)
    return listed
  }

  private func decode(_ record: CellarRecord, _ left: inout ArraySlice<CellarRecord>, _ listed: inout pgk_listed_v1) throws(Refusal) {
    let condition = record.condition
    let format = condition[ConditionWord.fmt]
    guard format != 0, format != 6, !record.isStore || condition[ConditionWord.chan] & 1 == 1 else {
      throw Refusal(PGK_E_ARGUMENT, "a record of the trap cellar is no operation: condition 0x\(String(condition.bits, radix: 16))")
    }
    listed.access.address = record.firstByte
    listed.access.kind = UInt8(record.isStore ? PGK_WRITE : PGK_READ)
    listed.access.size_log2 = record.isPacked ? 4 : UInt8(format - 1)
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
    guard record.isQuad else { return }
    guard let second = left.popFirst(), second.isQuad, second.firstByte == record.firstByte &+ 8 else {
      throw Refusal(PGK_E_ARGUMENT, "a pair of 8 bytes at 0x\(String(record.firstByte, radix: 16)) has no second record")
    }
    listed.value.high = CellarRecord.rotated(second.data, by: rotation)
  }

  /// What no record says: the host's tag and flags, and kinds that the memory unit does not tell apart.
  private func keep(_ known: pgk_listed_v1, _ listed: inout pgk_listed_v1) {
    listed.access.tag = known.access.tag
    guard !known.access.isSpecial, !listed.access.isSpecial else { return }
    let isStore = [PGK_WRITE, PGK_STORE_CONDITIONAL].contains(UInt32(known.access.kind))
    if isStore == (UInt32(listed.access.kind) == PGK_WRITE) { listed.access.kind = known.access.kind }
    listed.access.flags |= known.access.flags & UInt8(PGK_TRANSLATE_ONLY | PGK_END_OF_GROUP)
    if UInt32(known.access.kind) == PGK_MODIFY { listed.value = known.value }
  }

  /// Class and outcome from the fault bits; illegal_page makes the others meaningless.
  private func describe(_ record: CellarRecord, _ listed: inout pgk_listed_v1) {
    let faultType = record.condition[ConditionWord.fault_type]
    let isSecondPage = record.condition[ConditionWord.num_align] == 1
    listed.fault_address = isSecondPage ? (listed.access.address & ~0xfff) &+ 0x1000 : listed.access.address
    listed.slot = PGK_NO_ENTRY
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
    listed.words.0 = faultType
    listed.words.1 = record.condition[ConditionWord.miss_lvl]
    listed.words.4 = record.condition.bits
    listed.word_count = UInt8(Outcome.words.count)
  }

  /// A recovery operation. A lock becomes a plain load: hardware locks again when the program goes on.
  func reexecute(_ listed: pgk_listed_v1) throws(Refusal) -> [Request] {
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
