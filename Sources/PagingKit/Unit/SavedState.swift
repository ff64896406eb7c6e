// The state of a unit as bytes: checked before a single one is believed.
import CPagingKit

/// Writes and reads 64-bit words, little-endian.
struct WordCoder {
  private(set) var words: [UInt64] = []
  private var position = 0

  init() {}
  init(_ words: [UInt64]) { self.words = words }

  mutating func put(_ word: UInt64) { words.append(word) }
  mutating func put(list: [UInt64]) {
    words.append(UInt64(list.count))
    words += list
  }
  /// Any C record, padded with zero bytes to whole words.
  mutating func put<Record: BitwiseCopyable>(record: Record) {
    withUnsafeBytes(of: record) { bytes in
      for start in stride(from: 0, to: bytes.count, by: 8) {
        words.append((0..<min(8, bytes.count - start)).reduce(0) { $0 | UInt64(bytes[start + $1]) << UInt64(8 * $1) })
      }
    }
  }

  mutating func word() throws(Refusal) -> UInt64 {
    guard position < words.count else { throw Refusal(PGK_E_STATE, "the saved state ends early, after \(words.count) words") }
    position += 1
    return words[position - 1]
  }
  mutating func list(limit: Int = 1 << 26) throws(Refusal) -> ArraySlice<UInt64> {
    let count = try word()
    guard count <= UInt64(min(limit, words.count - position)) else {
      throw Refusal(PGK_E_STATE, "the saved state has a list of \(count) words where \(words.count - position) are left")
    }
    position += Int(count)
    return words[(position - Int(count))..<position]
  }
  mutating func record<Record: BitwiseCopyable>(_ record: inout Record) throws(Refusal) {
    let byteCount = MemoryLayout<Record>.size
    var bytes: [UInt8] = []
    for _ in 0..<((byteCount + 7) / 8) {
      let word = try word()
      for i in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(8 * i))) }
    }
    withUnsafeMutableBytes(of: &record) { $0.copyBytes(from: bytes.prefix(byteCount)) }
  }
  var isAtEnd: Bool { position == words.count }
}

extension UnitModel {
  static var stateMagic: UInt64 { 0x3153_6b67_5061_0002 }

  /// Registers, hidden state, pending list, and the caches if asked.
  func save(_ what: UInt32) -> [UInt8] {
    var coder = WordCoder()
    coder.put(Self.stateMagic)
    coder.put(checksum(of: Array((Self.definition.name + ";" + state.fingerprint).utf8)))
    coder.put(list: Self.definition.registers.indices.map(readRegister))
    coder.put(list: hiddenState)
    coder.put(state.engine.reservation.pointee)
    coder.put(UInt64(state.pending.count))
    for item in state.pending {
      coder.put(record: item.listed)
      coder.put(item.answer == nil ? 0 : 1)
      coder.put(record: item.answer ?? pgk_verdict_v1())
    }
    coder.put(UInt64(state.reflected.count))
    for listed in state.reflected { coder.put(record: listed) }
    coder.put(what & PGK_SAVE_CACHES == 0 ? 0 : 1)
    if what & PGK_SAVE_CACHES != 0 { saveCaches(&coder) }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(coder.words.count * 8 + 8)
    for word in coder.words { appendBytes(word, &bytes) }
    appendBytes(checksum(of: bytes), &bytes)
    return bytes
  }

  private func saveCaches(_ coder: inout WordCoder) {
    coder.put(UInt64(state.contexts.all.count))
    for context in state.contexts.all {
      coder.put(UInt64(context.machine) | UInt64(context.space) << 32)
      coder.put(UInt64(context.stage) | (context.isGlobal ? 1 << 8 : 0))
      coder.put(context.root)
    }
    for cache in savedCaches { coder.put(list: cache.snapshot()) }
  }

  /// Every cache, in the order of saving.
  private var savedCaches: [any SavedCache] {
    let caches = state.engine.caches
    let tlbs: [any SavedCache] = [caches.l1, caches.l1i, caches.l2, caches.nested]
    return tlbs + caches.prefix.arrays + caches.secondPrefix.arrays + [caches.entries.array]
  }

  /// Puts saved bytes back. Refuses damaged bytes, and those of another architecture, version or set of options.
  func restore(_ bytes: UnsafeBufferPointer<UInt8>) throws(Refusal) {
    var coder = try Self.checkedWords(bytes)
    guard try coder.word() == Self.stateMagic else { throw Refusal(PGK_E_STATE, "the bytes are no saved state of this version") }
    guard try coder.word() == checksum(of: Array((Self.definition.name + ";" + state.fingerprint).utf8)) else {
      throw Refusal(PGK_E_STATE, "the state was saved by another architecture, or by a unit with other options")
    }
    let registers = Array(try coder.list())
    guard registers.count == Self.definition.registers.count else {
      throw Refusal(PGK_E_STATE, "the state has \(registers.count) registers, expected \(Self.definition.registers.count)")
    }
    let hidden = Array(try coder.list())
    let reservation = try coder.word()
    let pending = try restoredPending(&coder)
    let reflected = try restoredReflected(&coder)
    let caches = try coder.word() == 0 ? nil : try restoredCaches(&coder)
    guard coder.isAtEnd else { throw Refusal(PGK_E_STATE, "the saved state has words behind its end") }
    restoreRegisters(registers)
    hiddenState = hidden
    state.engine.reservation.pointee = reservation
    state.pending = pending
    state.reflected = reflected
    state.engine.caches.removeAll()
    if let caches { put(caches) }
    state.engine.permissions.clear()
    restoreRegisters(registers)
  }

  private static func checkedWords(_ bytes: UnsafeBufferPointer<UInt8>) throws(Refusal) -> WordCoder {
    guard bytes.count >= 16, bytes.count % 8 == 0 else {
      throw Refusal(PGK_E_STATE, "\(bytes.count) bytes are no saved state: expected a multiple of 8")
    }
    var words: [UInt64] = []
    words.reserveCapacity(bytes.count / 8)
    for start in stride(from: 0, to: bytes.count, by: 8) {
      words.append((0..<8).reduce(0) { $0 | UInt64(bytes[start + $1]) << UInt64(8 * $1) })
    }
    let sum = words.removeLast()
    guard sum == checksum(of: Array(bytes.dropLast(8))) else { throw Refusal(PGK_E_STATE, "the saved state is damaged: its checksum differs") }
    return WordCoder(words)
  }

  private func restoredPending(_ coder: inout WordCoder) throws(Refusal) -> [PendingOperation] {
    let count = try coder.word()
    guard count <= 4096 else { throw Refusal(PGK_E_STATE, "a list of \(count) pending operations") }
    var list: [PendingOperation] = []
    for _ in 0..<count {
      var listed = pgk_listed_v1()
      try coder.record(&listed)
      let isAnswered = try coder.word() != 0
      var verdict = pgk_verdict_v1()
      try coder.record(&verdict)
      guard listed.access.kind < PGK_KIND_COUNT, listed.access.size_log2 <= 4, !isAnswered || verdict.kind < PGK_VERDICT_COUNT else {
        throw Refusal(PGK_E_STATE, "a pending operation is none: kind \(listed.access.kind), size \(listed.access.size_log2)")
      }
      list.append(PendingOperation(listed: listed, answer: isAnswered ? verdict : nil))
    }
    return list
  }

  private func restoredReflected(_ coder: inout WordCoder) throws(Refusal) -> [pgk_listed_v1] {
    let count = try coder.word()
    guard count <= 4096 else { throw Refusal(PGK_E_STATE, "a record of \(count) operations") }
    var list: [pgk_listed_v1] = []
    for _ in 0..<count {
      var listed = pgk_listed_v1()
      try coder.record(&listed)
      list.append(listed)
    }
    return list
  }

  private func restoredCaches(_ coder: inout WordCoder) throws(Refusal) -> (ContextNumbers, [ArraySlice<UInt64>]) {
    var contexts = ContextNumbers()
    let count = try coder.word()
    guard count < 0x2000 else { throw Refusal(PGK_E_STATE, "\(count) contexts") }
    for _ in 0..<count {
      let identifiers = try coder.word()
      let kind = try coder.word()
      let root = try coder.word()
      _ = contexts.tag(of: ContextIdentifiers(
        machine: UInt32(truncatingIfNeeded: identifiers), space: UInt32(truncatingIfNeeded: identifiers >> 32),
        isGlobal: kind & 256 != 0, stage: UInt8(truncatingIfNeeded: kind), root: root))
    }
    var lists: [ArraySlice<UInt64>] = []
    for cache in savedCaches {
      let list = try coder.list()
      guard cache.accepts(list) else {
        throw Refusal(PGK_E_STATE, "a cache of \(list.count) words that is none of \(cache.snapshot().count) words, or whose order of use is none")
      }
      lists.append(list)
    }
    return (contexts, lists)
  }

  private func put(_ saved: (ContextNumbers, [ArraySlice<UInt64>])) {
    state.contexts = saved.0
    for (cache, list) in zip(savedCaches, saved.1) { cache.restore(list) }
  }
}

/// A cache as words.
private protocol SavedCache {
  func snapshot() -> [UInt64]
  func accepts(_ list: ArraySlice<UInt64>) -> Bool
  func restore(_ list: ArraySlice<UInt64>)
}

extension TLB: SavedCache {}
extension AssociativeArray: SavedCache {}

private func appendBytes(_ word: UInt64, _ bytes: inout [UInt8]) {
  for i in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(8 * i))) }
}

/// FNV-1a, 64 bits.
private func checksum(of bytes: [UInt8]) -> UInt64 {
  bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
}
