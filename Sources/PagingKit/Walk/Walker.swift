// From root to leaf, by asking format and memory. The only walker there is.
//
// Read it as if TLB and walk caches always missed: they decide where it starts, never what it does. What is rare stands
// in functions of its own, so that the way down stays in registers.
public import CPagingKit

/// Where a walk begins: the root, or a lower table that a walk cache knows.
@frozen public struct WalkStart: Sendable {
  public var table: UInt64
  public var level: Int
  public var rights: Rights

  @inlinable @inline(__always) public init(table: UInt64, level: Int, rights: Rights = .all) {
    self.table = table
    self.level = level
    self.rights = rights
  }
}

/// One entry on the way, with its slot: what marks, fills and explains. A path is indexed by level.
@frozen public struct PathStep: Sendable {
  public var slot: UInt64
  /// The slot in physical memory.
  public var place: UInt64
  public var entry: Entry

  @inlinable @inline(__always) public init(slot: UInt64, place: UInt64, entry: Entry) {
    self.slot = slot
    self.place = place
    self.entry = entry
  }
}

/// How a walk went down. The path holds its entries, from the level where it began to `level`.
@frozen public struct Descent: Sendable {
  public var output: UInt64 = 0
  public var pageShift: UInt64 = 12
  /// Where it began: the level, and the rights of the way down to it.
  public var top = 0
  public var topRights: Rights = .all
  /// Level of the leaf, or of the entry that was refused.
  public var level = 0
  public var rights: Rights = .all
  public var leaf = Entry(0)
  /// An entry on the path wants its accessed or dirty flag set.
  public var isUnmarked = false
  /// The reason is the memory's, which has noted it.
  public var isRefusedByMemory = false
  /// `.none` if a leaf was found; else why not. `.contention` means: start again.
  public var reason: FaultReason = .none

  @inlinable @inline(__always) public init() {}
}

/// The last but one table that a look-ahead came through, for all addresses with the same upper bits.
@frozen public struct PrefetchedTable: Sendable {
  public var prefix: UInt64
  public var table: UInt64

  @inlinable @inline(__always) public init(prefix: UInt64 = .max, table: UInt64 = 0) {
    self.prefix = prefix
    self.table = table
  }
}

/// The way from a root to a leaf in one format and one memory.
@frozen public enum Walker<Format: PageTableFormat, Memory: TableMemory> {
  /// Goes down until a leaf, an absent entry or a refusal. Judges no rights and, but for formats that mark while
  /// descending, writes nothing. `path` has room for every level of the format.
  ///
  /// One line a level, so that shifts and checks of a level are constants; levels that a format has not compile away.
  @inlinable @inline(__always)
  public static func descend<Observer: WalkObserver>(
    _ input: UInt64, from start: WalkStart, isWritten: Bool, stage: UInt8, _ controls: Format.Controls,
    _ memory: inout Memory, path: UnsafeMutablePointer<PathStep>, _ observer: Observer
  ) -> Descent {
    var descent = Descent()
    descent.top = start.level
    descent.topRights = start.rights
    descent.level = start.level
    descent.rights = start.rights
    var table = start.table
    if Format.radix.levelCount > 4 && descent.level == 4
      && goDown(4, input, isWritten, stage, controls, &memory, path, observer, &table, &descent)
    {
      return descent
    }
    if Format.radix.levelCount > 3 && descent.level == 3
      && goDown(3, input, isWritten, stage, controls, &memory, path, observer, &table, &descent)
    {
      return descent
    }
    if Format.radix.levelCount > 2 && descent.level == 2
      && goDown(2, input, isWritten, stage, controls, &memory, path, observer, &table, &descent)
    {
      return descent
    }
    if descent.level == 1 && goDown(1, input, isWritten, stage, controls, &memory, path, observer, &table, &descent) {
      return descent
    }
    let isEnd = goDown(0, input, isWritten, stage, controls, &memory, path, observer, &table, &descent)
    precondition(isEnd, "a format gave a table below its last level")
    return descent
  }

  /// One level. True if the walk ends here, at a leaf or refused; otherwise `table` is the next one.
  @inlinable @inline(__always)
  static func goDown<Observer: WalkObserver>(
    _ level: Int, _ input: UInt64, _ isWritten: Bool, _ stage: UInt8, _ controls: Format.Controls, _ memory: inout Memory,
    _ path: UnsafeMutablePointer<PathStep>, _ observer: Observer, _ table: inout UInt64, _ descent: inout Descent
  ) -> Bool {
    let slot = table &+ Format.radix.offset(of: input, at: level)
    var bits: UInt64 = 0
    var place: UInt64 = 0
    guard memory.load(Address(slot), level: level, byteCount: Format.radix.entryBytes, &bits, &place) else {
      descent.reason = .entryHole
      descent.isRefusedByMemory = true
      // A second stage that refused the slot has shown it.
      if memory.hasHole {
        observer.didStep(
          PGK_STEP_REFUSED, slot: slot, entry: 0, input: input, output: 0, level: level, stage: stage, .entryHole)
      }
      return true
    }
    let entry = Entry(bits)
    path[level] = PathStep(slot: slot, place: place, entry: entry)
    switch Format.step(entry, at: level, controls) {
    case .table(let next):
      observer.didStep(
        PGK_STEP_TABLE, slot: slot, entry: bits, input: input, output: next, level: level, stage: stage, .none)
      descent.rights.formIntersection(Format.rights(of: entry, at: level, isLeaf: false, controls))
      if Format.marked(entry, at: level, isLeaf: false, isWritten: false, controls) != entry {
        if Format.marksWhileDescending(controls) {
          var copy = memory
          let exchange = markOne(&copy, input, level, stage, controls, path, observer)
          memory = copy
          if exchange != .done {
            descent.reason = exchange == .lost ? .contention : .entryHole
            descent.isRefusedByMemory = exchange == .refused
            return true
          }
        } else {
          descent.isUnmarked = true
        }
      }
      table = next
      descent.level = level &- 1
      return false
    case .leaf(let base, let pageShift):
      descent.rights.formIntersection(Format.rights(of: entry, at: level, isLeaf: true, controls))
      descent.output = base | input & ((1 &<< pageShift) &- 1)
      descent.pageShift = pageShift
      descent.leaf = entry
      if Format.marked(entry, at: level, isLeaf: true, isWritten: isWritten, controls) != entry { descent.isUnmarked = true }
      observer.didStep(
        PGK_STEP_LEAF, slot: slot, entry: bits, input: input, output: descent.output, level: level, stage: stage, .none)
      return true
    case .absent:
      descent.reason = .notPresent
    case .refused(let reason):
      descent.reason = reason
    }
    descent.leaf = entry
    observer.didStep(
      PGK_STEP_REFUSED, slot: slot, entry: bits, input: input, output: 0, level: level, stage: stage, descent.reason)
    return true
  }

  /// Asks the processor for the last table's entry of an address that will be walked soon: goes down through plain entries,
  /// from the last but one table of the address before if that serves this one too, and changes and counts nothing.
  @inlinable @inline(__always)
  public static func prefetch(
    _ input: UInt64, from start: WalkStart, _ controls: Format.Controls, _ memory: PhysicalMemory, _ before: inout PrefetchedTable
  ) {
    let prefix = Format.radix.levelCount > 2 ? input &>> Format.radix.shift(2) : 0
    var table = before.table
    if prefix != before.prefix {
      table = start.table
      if Format.radix.levelCount > 4 && !passThrough(4, input, controls, memory, &table) { return }
      if Format.radix.levelCount > 3 && !passThrough(3, input, controls, memory, &table) { return }
      if Format.radix.levelCount > 2 && start.level >= 2 && !passThrough(2, input, controls, memory, &table) { return }
      before = PrefetchedTable(prefix: prefix, table: table)
    }
    if !passThrough(1, input, controls, memory, &table) { return }
    if let pointer = memory.fastPointer(table &+ Format.radix.offset(of: input, at: 0)) { pgk_prefetch(pointer) }
  }

  @inlinable @inline(__always)
  static func passThrough(
    _ level: Int, _ input: UInt64, _ controls: Format.Controls, _ memory: PhysicalMemory, _ table: inout UInt64
  ) -> Bool {
    guard let pointer = memory.fastPointer(table &+ Format.radix.offset(of: input, at: level)) else { return false }
    let bits = Format.radix.entryBytes == 8
      ? pointer.load(as: UInt64.self) : UInt64(truncatingIfNeeded: pointer.load(as: UInt32.self))
    guard case .table(let next) = Format.plainStep(Entry(bits), at: level, isWritten: false, controls) else { return false }
    table = next
    return true
  }

  /// Sets the accessed flag of one table entry on the way down.
  @inline(never) @inlinable
  static func markOne<Observer: WalkObserver>(
    _ memory: inout Memory, _ input: UInt64, _ level: Int, _ stage: UInt8, _ controls: Format.Controls,
    _ path: UnsafeMutablePointer<PathStep>, _ observer: Observer
  ) -> Exchange {
    let step = path[level]
    let marked = Format.marked(step.entry, at: level, isLeaf: false, isWritten: false, controls)
    let exchange = memory.exchange(
      Address(step.slot), place: step.place, level: level, byteCount: Format.radix.entryBytes, expected: step.entry.bits,
      desired: marked.bits)
    guard exchange == .done else { return exchange }
    path[level].entry = marked
    observer.didStep(
      PGK_STEP_UPDATED, slot: step.slot, entry: marked.bits, input: input, output: 0, level: level, stage: stage, .none)
    return .done
  }

  /// Sets the accessed flags of the path, from the top, and the dirty flag of a leaf that is written.
  ///
  /// `.lost` means that an entry had changed since it was read: the walk starts again.
  @inline(never) @inlinable
  public static func mark<Observer: WalkObserver>(
    from top: Int, to leaf: Int, input: UInt64, isWritten: Bool, stage: UInt8, _ controls: Format.Controls,
    _ memory: inout Memory, path: UnsafeMutablePointer<PathStep>, _ observer: Observer, updates: UnsafeMutablePointer<UInt64>
  ) -> Exchange {
    var level = top
    while level >= leaf {
      let step = path[level]
      let isLeaf = level == leaf
      let marked = Format.marked(step.entry, at: level, isLeaf: isLeaf, isWritten: isLeaf && isWritten, controls)
      if marked != step.entry {
        let exchange = memory.exchange(
          Address(step.slot), place: step.place, level: level, byteCount: Format.radix.entryBytes,
          expected: step.entry.bits, desired: marked.bits)
        if exchange != .done { return exchange }
        updates.pointee &+= 1
        path[level].entry = marked
        observer.didStep(
          PGK_STEP_UPDATED, slot: step.slot, entry: marked.bits, input: input, output: 0, level: level, stage: stage, .none)
      }
      level &-= 1
    }
    return .done
  }
}
