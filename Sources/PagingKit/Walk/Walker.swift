// From root to leaf, by asking format and memory. The only walker there is.
//
// Read it as if TLB and walk caches always missed: they decide where it starts, never what it does.
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

/// One entry on the way, with its slot: what marks, fills and explains.
@frozen public struct PathStep: Sendable {
  public var slot: UInt64
  /// The slot in physical memory.
  public var place: UInt64
  public var entry: Entry
  /// Address of the next table; 0 for the leaf.
  public var next: UInt64
  /// Rights of the way down to and with this entry.
  public var rights: Rights
  public var level: UInt8

  @inlinable @inline(__always)
  public init(slot: UInt64, place: UInt64, entry: Entry, next: UInt64, rights: Rights, level: Int) {
    self.slot = slot
    self.place = place
    self.entry = entry
    self.next = next
    self.rights = rights
    self.level = UInt8(truncatingIfNeeded: level)
  }
}

/// How a walk went down.
@frozen public struct Descent: Sendable {
  public var output: UInt64 = 0
  public var pageShift: UInt64 = 12
  public var level = 0
  public var rights: Rights = .all
  public var leaf = Entry(0)
  /// Entries on the path, and how many of them point to tables.
  public var count = 0
  public var tableCount = 0
  /// An entry on the path wants its accessed or dirty flag set.
  public var isUnmarked = false
  /// The memory refused an entry; it knows why.
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
    while true {
      let slot = table &+ Format.radix.offset(of: input, at: level)
      var bits: UInt64 = 0
      var place: UInt64 = 0
      guard memory.load(Address(slot), level: level, byteCount: Format.radix.entryBytes, &bits, &place) else {
        descent.reason = memory.fault.reason
        descent.isRefusedByMemory = true
        descent.level = level
        observer.didStep(PGK_STEP_REFUSED, slot: slot, entry: 0, input: input, output: 0, level: level, stage: stage, descent.reason)
        return descent
      }
      var entry = Entry(bits)
      switch Format.step(entry, at: level, controls) {
      case .table(let next):
        observer.didStep(PGK_STEP_TABLE, slot: slot, entry: bits, input: input, output: next, level: level, stage: stage, .none)
        rights.formIntersection(Format.rights(of: entry, at: level, isLeaf: false, controls))
        let marked = Format.marked(entry, at: level, isLeaf: false, isWritten: false, controls)
        if marked != entry {
          if Format.marksWhileDescending(controls) {
            let exchange = memory.exchange(
              Address(slot), place: place, level: level, byteCount: Format.radix.entryBytes, expected: bits, desired: marked.bits)
            guard exchange == .done else {
              descent.reason = exchange == .lost ? .contention : memory.fault.reason
              descent.isRefusedByMemory = exchange == .refused
              descent.level = level
              return descent
            }
            observer.didStep(PGK_STEP_UPDATED, slot: slot, entry: marked.bits, input: input, output: next, level: level, stage: stage, .none)
            entry = marked
          } else {
            descent.isUnmarked = true
          }
        }
        path[descent.count] = PathStep(slot: slot, place: place, entry: entry, next: next, rights: rights, level: level)
        descent.count &+= 1
        descent.tableCount = descent.count
        table = next
        level &-= 1
      case .leaf(let base, let pageShift):
        rights.formIntersection(Format.rights(of: entry, at: level, isLeaf: true, controls))
        path[descent.count] = PathStep(slot: slot, place: place, entry: entry, next: 0, rights: rights, level: level)
        descent.count &+= 1
        descent.output = base | input & ((1 &<< pageShift) &- 1)
        descent.pageShift = pageShift
        descent.level = level
        descent.rights = rights
        descent.leaf = entry
        if Format.marked(entry, at: level, isLeaf: true, isWritten: isWritten, controls) != entry { descent.isUnmarked = true }
        observer.didStep(PGK_STEP_LEAF, slot: slot, entry: bits, input: input, output: descent.output, level: level, stage: stage, .none)
        return descent
      case .absent:
        return refused(.notPresent, slot, entry, input, level, stage, rights, &descent, path, observer)
      case .refused(let reason):
        return refused(reason, slot, entry, input, level, stage, rights, &descent, path, observer)
      }
    }
  }

  @inline(never) @inlinable
  static func refused<Observer: WalkObserver>(
    _ reason: FaultReason, _ slot: UInt64, _ entry: Entry, _ input: UInt64, _ level: Int, _ stage: UInt8, _ rights: Rights,
    _ descent: inout Descent, _ path: UnsafeMutablePointer<PathStep>, _ observer: Observer
  ) -> Descent {
    descent.reason = reason
    descent.level = level
    descent.leaf = entry
    descent.rights = rights
    // The refused entry lies behind the path, for who describes the fault.
    path[descent.count] = PathStep(slot: slot, place: slot, entry: entry, next: 0, rights: rights, level: level)
    observer.didStep(PGK_STEP_REFUSED, slot: slot, entry: entry.bits, input: input, output: 0, level: level, stage: stage, reason)
    return descent
  }

  /// Sets the accessed flags of the path, from the top, and the dirty flag of a leaf that is written.
  ///
  /// `.lost` means that an entry had changed since it was read: the walk starts again.
  @inline(never) @inlinable
  public static func mark<Observer: WalkObserver>(
    _ descent: Descent, input: UInt64, isWritten: Bool, stage: UInt8, _ controls: Format.Controls, _ memory: inout Memory,
    path: UnsafeMutablePointer<PathStep>, _ observer: Observer, updates: UnsafeMutablePointer<UInt64>
  ) -> Exchange {
    for i in 0..<descent.count {
      let step = path[i]
      let isLeaf = i == descent.count &- 1
      let marked = Format.marked(step.entry, at: Int(step.level), isLeaf: isLeaf, isWritten: isLeaf && isWritten, controls)
      if marked == step.entry { continue }
      let exchange = memory.exchange(
        Address(step.slot), place: step.place, level: Int(step.level), byteCount: Format.radix.entryBytes,
        expected: step.entry.bits, desired: marked.bits)
      if exchange != .done { return exchange }
      updates.pointee &+= 1
      path[i].entry = marked
      observer.didStep(
        PGK_STEP_UPDATED, slot: step.slot, entry: marked.bits, input: input, output: step.next, level: Int(step.level),
        stage: stage, .none)
    }
    return .done
  }
}
