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

/// The way from a root to a leaf in one format and one memory.
@frozen public enum Walker<Format: PageTableFormat, Memory: TableMemory> {
  /// Goes down until a leaf, an absent entry or a refusal. Judges no rights and, but for formats that mark while
  /// descending, writes nothing. `path` has room for every level of the format.
  @inlinable @inline(__always)
  public static func descend<Observer: WalkObserver>(
    _ input: UInt64, from start: WalkStart, isWritten: Bool, stage: UInt8, _ controls: Format.Controls,
    _ memory: inout Memory, path: UnsafeMutablePointer<PathStep>, _ observer: Observer
  ) -> Descent {
    var descent = Descent()
    var table = start.table
    var level = start.level
    var rights = start.rights
    // Formats give no table at level 0; the bound lets the compiler unroll.
    while level >= 0 {
      let slot = table &+ Format.radix.offset(of: input, at: level)
      var bits: UInt64 = 0
      var place: UInt64 = 0
      guard memory.load(Address(slot), level: level, byteCount: Format.radix.entryBytes, &bits, &place) else {
        descent.reason = .entryHole
        descent.isRefusedByMemory = true
        descent.level = level
        observer.didStep(
          PGK_STEP_REFUSED, slot: slot, entry: 0, input: input, output: 0, level: level, stage: stage, .entryHole)
        return descent
      }
      let entry = Entry(bits)
      path[level] = PathStep(slot: slot, place: place, entry: entry)
      switch Format.step(entry, at: level, controls) {
      case .table(let next):
        observer.didStep(
          PGK_STEP_TABLE, slot: slot, entry: bits, input: input, output: next, level: level, stage: stage, .none)
        rights.formIntersection(Format.rights(of: entry, at: level, isLeaf: false, controls))
        if Format.marked(entry, at: level, isLeaf: false, isWritten: false, controls) != entry {
          if Format.marksWhileDescending(controls) {
            var copy = memory
            let exchange = markOne(&copy, input, level, stage, controls, path, observer)
            memory = copy
            if exchange != .done {
              descent.reason = exchange == .lost ? .contention : .entryHole
              descent.isRefusedByMemory = exchange == .refused
              descent.level = level
              return descent
            }
          } else {
            descent.isUnmarked = true
          }
        }
        table = next
        level &-= 1
      case .leaf(let base, let pageShift):
        rights.formIntersection(Format.rights(of: entry, at: level, isLeaf: true, controls))
        descent.output = base | input & ((1 &<< pageShift) &- 1)
        descent.pageShift = pageShift
        descent.level = level
        descent.rights = rights
        descent.leaf = entry
        if Format.marked(entry, at: level, isLeaf: true, isWritten: isWritten, controls) != entry { descent.isUnmarked = true }
        observer.didStep(
          PGK_STEP_LEAF, slot: slot, entry: bits, input: input, output: descent.output, level: level, stage: stage, .none)
        return descent
      case .absent:
        descent.reason = .notPresent
        descent.level = level
        descent.rights = rights
        descent.leaf = entry
        observer.didStep(
          PGK_STEP_REFUSED, slot: slot, entry: bits, input: input, output: 0, level: level, stage: stage, .notPresent)
        return descent
      case .refused(let reason):
        descent.reason = reason
        descent.level = level
        descent.rights = rights
        descent.leaf = entry
        observer.didStep(
          PGK_STEP_REFUSED, slot: slot, entry: bits, input: input, output: 0, level: level, stage: stage, reason)
        return descent
      }
    }
    preconditionFailure("a format gave a table below its last level")
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
