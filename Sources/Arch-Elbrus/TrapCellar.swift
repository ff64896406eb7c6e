// The trap cellar: records of the operations that a fault dropped, in memory at TRAP_POINT. Kernel header mmu_types.h,
// "trap_cellar_t"; mm/fault.c.
import CPagingKit
import PagingKit

/// One record, 24 bytes at TRAP_POINT, and its extension 512 bytes behind.
struct CellarRecord: Equatable, Sendable {
  var address: UInt64
  /// Store data in the byte lanes of memory: rotated left by the address within its word.
  var data: UInt64
  var condition: ConditionWord
  // The extension, meant for packed operations alone.
  var dataHigh: UInt64 = 0
  var mask: UInt64 = 0

  static let byteCount: UInt64 = 24
  static let extensionOffset: UInt64 = 512
  /// Double words that TRAP_COUNT counts for a record, and records that it can count.
  static let doubleWords: UInt64 = 3
  static let most = 21

  var isPacked: Bool { condition[ConditionWord.fmt] == 7 }
  var isQuad: Bool { condition[ConditionWord.fmt] == 5 }
  var isStore: Bool { condition[ConditionWord.store] == 1 }

  /// Half of a pair on the upper channel.
  var isLaterHalf: Bool { isQuad && (isStore ? condition[ConditionWord.chan] == 3 : condition[ConditionWord.chan] & 1 == 1) }

  /// First byte of the operation. The second page's fault moves the recorded address on by one word, or two.
  var firstByte: UInt64 {
    condition[ConditionWord.num_align] == 0 ? address : address &- (isPacked || isQuad ? 16 : 8)
  }

  static func rotated(_ data: UInt64, by byteCount: UInt64) -> UInt64 {
    let shift = byteCount & 7 * 8
    return shift == 0 ? data : data << shift | data >> (64 - shift)
  }
}

extension ElbrusUnit {
  /// The record of an operation, which is what its words say; none for a fetch, which faults precisely.
  func record(of listed: pgk_listed_v1) -> CellarRecord? {
    if listed.access.isFetch { return nil }
    var listed = listed
    if listed.words.4 == 0 { describeReflected(&listed) }
    // What goes to a register stands in the lanes of memory in a record, but not in an item of the list.
    let stored = listed.access.isSpecial ? CellarRecord.rotated(listed.words.3, by: listed.words.2) : listed.words.3
    return CellarRecord(
      address: listed.words.2, data: listed.condition[ConditionWord.store] == 1 ? stored : 0, condition: listed.condition,
      dataHigh: listed.words.5, mask: listed.words.6)
  }

  /// A fault that software has found in the guest's tables and names by outcome alone.
  private func describeReflected(_ listed: inout pgk_listed_v1) {
    var condition = condition(of: listed.access, listed.value)
    condition[ConditionWord.fault_type] = Outcome(rawValue: listed.outcome)?.faultType ?? 0
    if (listed.fault_address ^ listed.access.address) >> 12 != 0 { condition[ConditionWord.num_align] = 1 }
    setWords(&listed, code: 0, condition)
  }

  // MARK: Delivery

  /// Software has said where the cellar is, and there is memory.
  var hasCellar: Bool { values[RegisterIndex.trapPoint] != 0 && state.engine.memory.answers(values[RegisterIndex.trapPoint]) }

  /// Records into the cellar, in order, and the exception into the trap info register.
  func deliver(_ operations: [pgk_listed_v1]) {
    raise(operations[0])
    guard hasCellar else { return }
    for record in operations.compactMap(record) {
      let count = values[RegisterIndex.trapCount] / CellarRecord.doubleWords
      guard count < UInt64(CellarRecord.most) else { return }
      store(record, at: values[RegisterIndex.trapPoint] + count * CellarRecord.byteCount)
      values[RegisterIndex.trapCount] += CellarRecord.doubleWords
    }
  }

  /// data_page for records; a fetch's own exception, with its address.
  private func raise(_ listed: pgk_listed_v1) {
    let number = listed.access.isFetch ? UInt64(listed.code & 63) : 29
    values[RegisterIndex.trapInfoHigh] = 1 << number
    values[RegisterIndex.trapInfoLow] = listed.access.isFetch ? listed.fault_address & 0xffff_ffff_ffff : 0
  }

  private func store(_ record: CellarRecord, at place: UInt64) {
    let memory = state.engine.memory
    for (i, word) in [record.address, record.data, record.condition.bits].enumerated() {
      memory.storeBytes(place + UInt64(8 * i), 8, word)
    }
    guard record.isPacked else { return }
    memory.storeBytes(place + CellarRecord.extensionOffset + 8, 8, record.dataHigh)
    memory.storeBytes(place + CellarRecord.extensionOffset + 16, 8, record.mask)
  }

  func deliver(_ listed: pgk_listed_v1) { deliver([listed]) }

  // MARK: Groups

  /// Translation and rights of an access that a neighbour keeps from being performed. A and D wait for the performance.
  func judgeNeighbour(_ access: pgk_access_v1, _ value: pgk_value_v1?) -> EngineEnd? {
    var access = access
    access.flags |= UInt8(PGK_TRANSLATE_ONLY)
    var value = value ?? pgk_value_v1()
    var result = pgk_result_v1()
    let marks = controls.pointee
    (controls.pointee.accessed, controls.pointee.dirty) = (0, 0)
    defer { controls.pointee = marks }
    let end = withUnsafeMutablePointer(to: &value) {
      translate(Batch(accesses: &access, values: $0, results: &result), from: 0, to: 1, observer: nil)
    }
    return end.stop == .fault ? end : nil
  }
}
