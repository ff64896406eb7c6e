// Where a walker finds its tables. The type says which stage one is in; nothing tells the walker.

/// Memory that holds tables, addressed in its own space.
public protocol TableMemory {
  associatedtype Space

  /// Table entries read so far, all stages.
  var reads: UInt32 { get }

  /// Why a load or an exchange was refused; the walk ends with it.
  var fault: WalkFault { get }

  /// Reads an entry, and says where it lies in physical memory. False if it cannot be read.
  mutating func load(
    _ slot: Address<Space>, level: Int, byteCount: UInt64, _ entry: inout UInt64, _ place: inout UInt64) -> Bool

  /// Replaces an entry if it still holds `expected`.
  mutating func exchange(
    _ slot: Address<Space>, place: UInt64, level: Int, byteCount: UInt64, expected: UInt64, desired: UInt64) -> Exchange
}

/// What became of an update of an entry.
@frozen public enum Exchange: Sendable { case done, lost, refused }

/// Tables in host memory.
@frozen public struct PhysicalTables: TableMemory {
  public typealias Space = Physical

  @usableFromInline let memory: PhysicalMemory
  @usableFromInline let cache: EntryWalkCache
  @usableFromInline let stage: UInt8
  /// What an entry at an address without memory reads as; nil if reading it is a fault.
  @usableFromInline let openBus: UInt64?
  public var reads: UInt32 = 0
  public var fault = WalkFault()

  @inlinable @inline(__always)
  public init(_ memory: PhysicalMemory, cache: EntryWalkCache, stage: UInt8, openBus: UInt64?) {
    self.memory = memory
    self.cache = cache
    self.stage = stage
    self.openBus = openBus
  }

  @inlinable @inline(__always)
  public mutating func load(
    _ slot: Address<Physical>, level: Int, byteCount: UInt64, _ entry: inout UInt64, _ place: inout UInt64
  ) -> Bool {
    place = slot.bits
    if !cache.isAbsent && cache.find(slot: slot.bits, &entry) { return true }
    reads &+= 1
    if memory.load(slot.bits, byteCount: byteCount, &entry) { return true }
    return readHole(slot, level, &entry)
  }

  @inline(never) @usableFromInline
  mutating func readHole(_ slot: Address<Physical>, _ level: Int, _ entry: inout UInt64) -> Bool {
    if let openBus {
      entry = openBus
      return true
    }
    fault = WalkFault(.entryHole, stage: stage)
    fault.level = UInt8(truncatingIfNeeded: level)
    fault.slot = slot.bits
    return false
  }

  @inlinable
  public mutating func exchange(
    _ slot: Address<Physical>, place: UInt64, level: Int, byteCount: UInt64, expected: UInt64, desired: UInt64
  ) -> Exchange {
    switch memory.exchange(place, byteCount: byteCount, expected: expected, desired: desired) {
    case .done: return .done
    case .lost: return .lost
    case .noMemory: return openBus == nil ? refuse(slot, level) : .done
    }
  }

  @inline(never) @usableFromInline mutating func refuse(_ slot: Address<Physical>, _ level: Int) -> Exchange {
    var unused: UInt64 = 0
    _ = readHole(slot, level, &unused)
    return .refused
  }
}

/// The second stage, as an address translator for the tables and the final address of the first.
public protocol SecondStage {
  /// Entries of second-stage tables and of first-stage tables read so far.
  var reads: UInt32 { get set }
  var fault: WalkFault { get }
  var memory: PhysicalMemory { get }

  /// Whether updating an entry needs more than reading it did: another right, another dirty flag.
  var translatesForUpdate: Bool { get }

  /// Physical address of a guest-physical one, or false with `fault` set.
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
  @inlinable public init() {}
}

/// Tables in guest-physical memory: every slot goes through the second stage before it is read.
@frozen public struct GuestTables<Second: SecondStage>: TableMemory {
  public typealias Space = GuestPhysical

  public var second: Second
  /// What an entry at an address without memory reads as; nil if reading it is a fault.
  @usableFromInline let openBus: UInt64?
  public var fault = WalkFault()

  @inlinable public init(_ second: Second, openBus: UInt64?) {
    self.second = second
    self.openBus = openBus
  }

  @inlinable public var reads: UInt32 { second.reads }

  @inlinable
  public mutating func load(
    _ slot: Address<GuestPhysical>, level: Int, byteCount: UInt64, _ entry: inout UInt64, _ place: inout UInt64
  ) -> Bool {
    guard translate(slot, level, for: .tableRead, &place) else { return false }
    second.reads &+= 1
    if second.memory.load(place, byteCount: byteCount, &entry) { return true }
    return readHole(slot, level, &entry)
  }

  @inlinable
  mutating func translate(_ slot: Address<GuestPhysical>, _ level: Int, for purpose: Purpose, _ place: inout UInt64) -> Bool {
    var output = SecondStageOutput()
    guard second.translate(slot, for: purpose, &output) else {
      fault = second.fault
      return false
    }
    place = output.address.bits
    return true
  }

  @inline(never) @usableFromInline
  mutating func readHole(_ slot: Address<GuestPhysical>, _ level: Int, _ entry: inout UInt64) -> Bool {
    if let openBus {
      entry = openBus
      return true
    }
    fault = WalkFault(.entryHole, stage: 1)
    fault.level = UInt8(truncatingIfNeeded: level)
    fault.slot = slot.bits
    return false
  }

  @inlinable
  public mutating func exchange(
    _ slot: Address<GuestPhysical>, place: UInt64, level: Int, byteCount: UInt64, expected: UInt64, desired: UInt64
  ) -> Exchange {
    var place = place
    if second.translatesForUpdate {
      guard translate(slot, level, for: .tableUpdate, &place) else { return .refused }
    }
    switch second.memory.exchange(place, byteCount: byteCount, expected: expected, desired: desired) {
    case .done: return .done
    case .lost: return .lost
    case .noMemory:
      var unused: UInt64 = 0
      return readHole(slot, level, &unused) ? .done : .refused
    }
  }
}
