// The usual walk: every entry is there and marked, so nothing is to be done but to read. The same formats and the same
// steps as the walker's; where anything else is found, it says so, and the walker walks.

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

  /// Goes down from a table. With a path, entries are noted there by level.
  @inlinable @inline(__always)
  public init<Tables: QuietTables>(
    _ input: UInt64, from start: WalkStart, isWritten: Bool, _ controls: Format.Controls, _ tables: inout Tables,
    path: UnsafeMutablePointer<PathStep>?
  ) {
    rights = start.rights
    var table = start.table
    if Format.radix.levelCount > 4 && start.level >= 4 && look(4, input, isWritten, controls, &tables, path, &table) { return }
    if Format.radix.levelCount > 3 && start.level >= 3 && look(3, input, isWritten, controls, &tables, path, &table) { return }
    if Format.radix.levelCount > 2 && start.level >= 2 && look(2, input, isWritten, controls, &tables, path, &table) { return }
    if start.level >= 1 && look(1, input, isWritten, controls, &tables, path, &table) { return }
    _ = look(0, input, isWritten, controls, &tables, path, &table)
  }

  /// One level. True if the walk ends here.
  @inlinable @inline(__always)
  mutating func look<Tables: QuietTables>(
    _ level: Int, _ input: UInt64, _ isWritten: Bool, _ controls: Format.Controls, _ tables: inout Tables,
    _ path: UnsafeMutablePointer<PathStep>?, _ table: inout UInt64
  ) -> Bool {
    let slot = table &+ Format.radix.offset(of: input, at: level)
    var bits: UInt64 = 0
    guard tables.load(slot, byteCount: Format.radix.entryBytes, &bits) else { return true }
    let entry = Entry(bits)
    switch Format.step(entry, at: level, controls) {
    case .table(let next):
      guard Format.marked(entry, at: level, isLeaf: false, isWritten: false, controls) == entry else { return true }
      rights.formIntersection(Format.rights(of: entry, at: level, isLeaf: false, controls))
      if let path { path[level] = PathStep(slot: slot, place: slot, entry: entry) }
      table = next
      return false
    case .leaf(let base, let pageShift):
      guard Format.marked(entry, at: level, isLeaf: true, isWritten: isWritten, controls) == entry else { return true }
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
