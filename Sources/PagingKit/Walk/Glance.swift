// The usual walk: every entry is there and marked, so nothing is to be done but to read. The same formats and the same
// steps as the walker's; where anything else is found, it says so, and the walker walks.
public import CPagingKit

/// Tables that are only read, from memory with bytes.
public protocol QuietTables {
  /// Table entries read so far, all stages.
  var reads: UInt32 { get }

  /// Reads an entry if that needs nothing but reading.
  mutating func load(_ slot: UInt64, byteCount: UInt64, _ entry: inout UInt64) -> Bool
}

/// Host memory, in its largest region.
@frozen public struct QuietMemory: QuietTables {
  public let memory: PhysicalMemory
  public var reads: UInt32 = 0

  @inlinable @inline(__always) public init(_ memory: PhysicalMemory) { self.memory = memory }

  @inlinable @inline(__always)
  public mutating func load(_ slot: UInt64, byteCount: UInt64, _ entry: inout UInt64) -> Bool {
    guard let pointer = memory.fastPointer(slot) else { return false }
    reads &+= 1
    entry = byteCount == 8 ? pointer.load(as: UInt64.self) : UInt64(truncatingIfNeeded: pointer.load(as: UInt32.self))
    return true
  }
}

/// What a walk found if it needed nothing done.
@frozen public struct Glance<Format: PageTableFormat>: Sendable {
  public var output: UInt64 = 0
  public var pageShift: UInt64 = 12
  public var level = 0
  public var rights: Rights
  public var leaf = Entry(0)
  /// Every entry was there, valid and marked. If not, nothing else here means anything.
  public var isPlain = false
  /// What walk caches by prefix keep of the pointers read at levels 1 to 4.
  public var link1: UInt64 = 0
  public var link2: UInt64 = 0
  public var link3: UInt64 = 0
  public var link4: UInt64 = 0

  @inlinable @inline(__always) init(output: UInt64, pageShift: UInt64, rights: Rights, leaf: Entry) {
    self.output = output
    self.pageShift = pageShift
    self.rights = rights
    self.leaf = leaf
    isPlain = true
  }

  /// Goes down from a table.
  @inlinable @inline(__always)
  public init<Tables: QuietTables>(
    _ input: UInt64, from start: WalkStart, isWritten: Bool, _ controls: Format.Controls, _ tables: inout Tables
  ) {
    rights = start.rights
    var table = start.table
    if Format.radix.levelCount > 4 && start.level >= 4 {
      if look(4, input, isWritten, controls, &tables, &table) { return }
      link4 = PrefixWalkCache.payload(table: table, rights: rights)
    }
    if Format.radix.levelCount > 3 && start.level >= 3 {
      if look(3, input, isWritten, controls, &tables, &table) { return }
      link3 = PrefixWalkCache.payload(table: table, rights: rights)
    }
    if Format.radix.levelCount > 2 && start.level >= 2 {
      if look(2, input, isWritten, controls, &tables, &table) { return }
      link2 = PrefixWalkCache.payload(table: table, rights: rights)
    }
    if start.level >= 1 {
      if look(1, input, isWritten, controls, &tables, &table) { return }
      link1 = PrefixWalkCache.payload(table: table, rights: rights)
    }
    _ = look(0, input, isWritten, controls, &tables, &table)
  }

  /// One level. True if the walk ends here.
  @inlinable @inline(__always)
  mutating func look<Tables: QuietTables>(
    _ level: Int, _ input: UInt64, _ isWritten: Bool, _ controls: Format.Controls, _ tables: inout Tables, _ table: inout UInt64
  ) -> Bool {
    let slot = table &+ Format.radix.offset(of: input, at: level)
    var bits: UInt64 = 0
    guard tables.load(slot, byteCount: Format.radix.entryBytes, &bits) else { return true }
    let entry = Entry(bits)
    switch Format.plainStep(entry, at: level, isWritten: isWritten, controls) {
    case .table(let next):
      rights.formIntersection(Format.rights(of: entry, at: level, isLeaf: false, controls))
      table = next
      return false
    case .leaf(let base, let pageShift):
      rights.formIntersection(Format.rights(of: entry, at: level, isLeaf: true, controls))
      output = base | input & ((1 &<< pageShift) &- 1)
      self.pageShift = pageShift
      self.level = level
      leaf = entry
      isPlain = true
      return true
    case .absent, .refused:
      return true
    }
  }
}

/// Where the last entry of a walk lies, and what the walk down to it allows.
@frozen public struct Approach: @unchecked Sendable {
  // SAFETY: points into the physical map, which stays as it is during a batch.
  public let place: UnsafeMutableRawPointer
  public let rights: Rights
  /// Entries read on the way.
  public let reads: UInt32

  @inlinable @inline(__always) public init(place: UnsafeMutableRawPointer, rights: Rights, reads: UInt32) {
    self.place = place
    self.rights = rights
    self.reads = reads
  }
}

extension Approach {
  /// Goes down from the root to the last table, if every entry on the way is plain and points on. Reads nothing of the
  /// last table, and asks the processor for it.
  @inlinable @inline(__always)
  public static func find<Format: PageTableFormat>(
    _ input: UInt64, from start: WalkStart, _ format: Format.Type, _ controls: Format.Controls, _ memory: PhysicalMemory
  ) -> Approach? {
    var table = start.table
    var rights = start.rights
    if Format.radix.levelCount > 4 && start.level >= 4 && !goDown(4, input, format, controls, memory, &table, &rights) { return nil }
    if Format.radix.levelCount > 3 && start.level >= 3 && !goDown(3, input, format, controls, memory, &table, &rights) { return nil }
    if Format.radix.levelCount > 2 && start.level >= 2 && !goDown(2, input, format, controls, memory, &table, &rights) { return nil }
    if start.level >= 1 && !goDown(1, input, format, controls, memory, &table, &rights) { return nil }
    guard let place = memory.fastPointer(table &+ Format.radix.offset(of: input, at: 0)) else { return nil }
    pgk_prefetch(place)
    return Approach(place: place, rights: rights, reads: UInt32(truncatingIfNeeded: start.level))
  }

  @inlinable @inline(__always)
  static func goDown<Format: PageTableFormat>(
    _ level: Int, _ input: UInt64, _ format: Format.Type, _ controls: Format.Controls, _ memory: PhysicalMemory,
    _ table: inout UInt64, _ rights: inout Rights
  ) -> Bool {
    guard let place = memory.fastPointer(table &+ Format.radix.offset(of: input, at: level)) else { return false }
    let entry = Entry(bits(of: format, at: place))
    guard case .table(let next) = Format.plainStep(entry, at: level, isWritten: false, controls) else { return false }
    rights.formIntersection(Format.rights(of: entry, at: level, isLeaf: false, controls))
    table = next
    return true
  }

  @inlinable @inline(__always)
  static func bits<Format: PageTableFormat>(of format: Format.Type, at place: UnsafeMutableRawPointer) -> UInt64 {
    Format.radix.entryBytes == 8 ? place.load(as: UInt64.self) : UInt64(truncatingIfNeeded: place.load(as: UInt32.self))
  }

  /// The last entry, if it is plain.
  @inlinable @inline(__always)
  public func arrive<Format: PageTableFormat>(
    _ input: UInt64, isWritten: Bool, _ format: Format.Type, _ controls: Format.Controls
  ) -> Glance<Format>? {
    let entry = Entry(Self.bits(of: format, at: place))
    guard case .leaf(let base, let pageShift) = Format.plainStep(entry, at: 0, isWritten: isWritten, controls) else { return nil }
    return Glance(
      output: base | input & ((1 &<< pageShift) &- 1), pageShift: pageShift,
      rights: rights.intersection(Format.rights(of: entry, at: 0, isLeaf: true, controls)), leaf: entry)
  }
}
