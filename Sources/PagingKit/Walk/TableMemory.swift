// Where a walker finds its tables. The type says which stage one is in; nothing tells the walker.

/// Memory that holds tables, addressed in its own space.
///
/// A refusal leaves its reason and place in the unit's `TranslationCaches.fault`.
public protocol TableMemory {
  associatedtype Space

  /// Table entries read so far, all stages.
  var reads: UInt32 { get }

  /// Reads an entry, and says where it lies in physical memory. False if it cannot be read.
  mutating func load(
    _ slot: Address<Space>, level: Int, byteCount: UInt64, _ entry: inout UInt64, _ place: inout UInt64) -> Bool

  /// Whether the last entry that could not be read has no memory, rather than being out of reach.
  var hasHole: Bool { get }

  /// Replaces an entry if it still holds `expected`.
  mutating func exchange(
    _ slot: Address<Space>, place: UInt64, level: Int, byteCount: UInt64, expected: UInt64, desired: UInt64) -> Exchange
}

/// What became of an update of an entry.
@frozen public enum Exchange: Sendable { case done, lost, refused }

/// What reading an entry gives where there is no memory.
@frozen public enum Hole: Sendable {
  /// The bus reads as ones.
  case ones
  /// Reading is a fault of its own.
  case fault
}

extension TranslationCaches {
  /// An entry that has no memory: ones, or false and the fault noted.
  @inline(never) @usableFromInline
  func readHole(_ hole: Hole, slot: UInt64, level: Int, stage: UInt8, _ entry: inout UInt64) -> Bool {
    if hole == .ones {
      entry = .max
      return true
    }
    fault.pointee = WalkFault(.entryHole, stage: stage)
    fault.pointee.level = UInt8(truncatingIfNeeded: level)
    fault.pointee.slot = slot
    return false
  }
}

/// Tables in host memory.
@frozen public struct PhysicalTables: TableMemory {
  public typealias Space = Physical

  @usableFromInline let memory: PhysicalMemory
  @usableFromInline let caches: TranslationCaches
  @usableFromInline let stage: UInt8
  @usableFromInline let hole: Hole
  @usableFromInline let hasEntries: Bool
  public var reads: UInt32 = 0
  @inlinable @inline(__always) public var hasHole: Bool { true }

  @inlinable @inline(__always)
  public init(_ memory: PhysicalMemory, _ caches: TranslationCaches, stage: UInt8, hole: Hole) {
    hasEntries = caches.hasEntries
    self.memory = memory
    self.caches = caches
    self.stage = stage
    self.hole = hole
  }

  @inlinable @inline(__always)
  public mutating func load(
    _ slot: Address<Physical>, level: Int, byteCount: UInt64, _ entry: inout UInt64, _ place: inout UInt64
  ) -> Bool {
    place = slot.bits
    if hasEntries && findEntry(slot, &entry) { return true }
    reads &+= 1
    if let pointer = memory.fastPointer(slot.bits) {
      entry = byteCount == 8
        ? pointer.load(as: UInt64.self) : UInt64(truncatingIfNeeded: pointer.load(as: UInt32.self))
      return true
    }
    var slow: UInt64 = 0
    let isThere = memory.slowLoad(slot.bits, byteCount: byteCount, &slow)
      || caches.readHole(hole, slot: slot.bits, level: level, stage: stage, &slow)
    entry = slow
    return isThere
  }

  @inline(never) @inlinable
  func findEntry(_ slot: Address<Physical>, _ entry: inout UInt64) -> Bool {
    var found: UInt64 = 0
    guard caches.entries.find(slot: slot.bits, &found) else { return false }
    entry = found
    return true
  }

  @inlinable
  public mutating func exchange(
    _ slot: Address<Physical>, place: UInt64, level: Int, byteCount: UInt64, expected: UInt64, desired: UInt64
  ) -> Exchange {
    switch memory.exchange(place, byteCount: byteCount, expected: expected, desired: desired) {
    case .done: return .done
    case .lost: return .lost
    case .noMemory:
      var unused: UInt64 = 0
      return caches.readHole(hole, slot: slot.bits, level: level, stage: stage, &unused) ? .done : .refused
    }
  }
}

/// The second stage, as an address translator for the tables and the final address of the first.
///
/// A refusal is noted in the unit's `TranslationCaches.fault`.
public protocol SecondStage {
  /// Entries of second-stage tables and of first-stage tables read so far.
  var reads: UInt32 { get set }
  var memory: PhysicalMemory { get }
  var caches: TranslationCaches { get }

  /// Whether updating an entry needs more than reading it did: another right, another dirty flag.
  var translatesForUpdate: Bool { get }

  /// Physical address of a guest-physical one, or false.
  mutating func translate(_ address: Address<GuestPhysical>, for purpose: Purpose, _ output: inout SecondStageOutput) -> Bool
}

/// What a second stage says of an address.
@frozen public struct SecondStageOutput: Sendable {
  public var address = Address<Physical>(0)
  public var pageShift: UInt64 = 12
  /// Only the bits of the second stage and `dirty` are meant.
  public var rights: Rights = .all
  /// The rights as the second stage's own walk collected them, for a nested TLB.
  public var collected: Rights = .all
  @inlinable @inline(__always) public init() {}
}

/// Tables in guest-physical memory: every slot goes through the second stage before it is read.
@frozen public struct GuestTables<Second: SecondStage>: TableMemory {
  public typealias Space = GuestPhysical

  public var second: Second
  @usableFromInline let hole: Hole

  @inlinable @inline(__always) public init(_ second: Second, hole: Hole) {
    self.second = second
    self.hole = hole
  }

  @inlinable @inline(__always) public var reads: UInt32 { second.reads }
  /// The second stage notes its refusals as its own, and shows them, but for an address that is too wide to look up.
  @inlinable public var hasHole: Bool {
    let fault = second.caches.fault.pointee
    return fault.stage != 2 || fault.reason == .tooWide && fault.slot == .max
  }

  @inlinable @inline(__always)
  public mutating func load(
    _ slot: Address<GuestPhysical>, level: Int, byteCount: UInt64, _ entry: inout UInt64, _ place: inout UInt64
  ) -> Bool {
    var output = SecondStageOutput()
    guard second.translate(slot, for: .tableRead, &output) else { return false }
    place = output.address.bits
    second.reads &+= 1
    if second.memory.load(place, byteCount: byteCount, &entry) { return true }
    var slow: UInt64 = 0
    let isThere = second.caches.readHole(hole, slot: slot.bits, level: level, stage: 1, &slow)
    entry = slow
    return isThere
  }

  @inlinable
  public mutating func exchange(
    _ slot: Address<GuestPhysical>, place: UInt64, level: Int, byteCount: UInt64, expected: UInt64, desired: UInt64
  ) -> Exchange {
    var place = place
    if second.translatesForUpdate {
      var output = SecondStageOutput()
      guard second.translate(slot, for: .tableUpdate, &output) else { return .refused }
      place = output.address.bits
    }
    switch second.memory.exchange(place, byteCount: byteCount, expected: expected, desired: desired) {
    case .done: return .done
    case .lost: return .lost
    case .noMemory:
      var unused: UInt64 = 0
      return second.caches.readHole(hole, slot: slot.bits, level: level, stage: 1, &unused) ? .done : .refused
    }
  }
}
