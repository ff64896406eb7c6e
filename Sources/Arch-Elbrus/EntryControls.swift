// What model and policies say about entries, and the bits that all formats of this architecture share.
import PagingKit

/// Computed when a unit is opened; no register changes it. Formats get it by pointer: the unit owns it, for longer than any
/// batch.
struct EntryControls: Sendable {
  /// Bit n: HUGE at level n maps a page. Level 3 never does, level 2 from v5 on.
  var largeLevels: UInt64 = 0b010
  /// What a walk ORs into every entry, and into the leaf of a store; 0 if hardware leaves A and D alone.
  var accessed = EntryBits.accessed
  var dirty = EntryBits.dirty
  /// Taken as dirty without being marked so.
  var isAlwaysDirty = false
  /// P is looked at before VALID.
  var isPresentFirst = false

  init() {}
}

enum EntryBits {
  @inline(__always) static var present: UInt64 { 1 << 0 }
  @inline(__always) static var writable: UInt64 { 1 << 1 }
  @inline(__always) static var accessed: UInt64 { 1 << 5 }
  @inline(__always) static var dirty: UInt64 { 1 << 6 }
  @inline(__always) static var huge: UInt64 { 1 << 7 }
  @inline(__always) static var global: UInt64 { 1 << 8 }
}

/// What the three formats have in common: four levels of 512 entries, and the places of P, W, A, D and HUGE.
protocol ElbrusFormat: PageTableFormat where Controls == UnsafePointer<EntryControls> {
  /// Page frame number in its place.
  static var frameMask: UInt64 { get }
}

extension ElbrusFormat {
  @inline(__always) static var radix: Radix { Radix(9, 9, 9, 9) }

  /// A page or the next table. Frame bits below a large page, and HUGE where no page can be, are ignored.
  @inline(__always)
  static func target(_ bits: UInt64, _ level: Int, _ controls: UnsafePointer<EntryControls>) -> Step {
    let frame = bits & frameMask
    if level == 0 { return .leaf(frame, pageShift: 12) }
    if bits & EntryBits.huge != 0, (controls.pointee.largeLevels &>> UInt64(truncatingIfNeeded: level)) & 1 != 0 {
      let shift = radix.shift(level)
      return .leaf(frame & ~((1 &<< shift) &- 1), pageShift: shift)
    }
    return .table(frame)
  }

  @inline(__always)
  static func marked(_ entry: Entry, at level: Int, isLeaf: Bool, isWritten: Bool, _ controls: UnsafePointer<EntryControls>) -> Entry {
    Entry(entry.bits | controls.pointee.accessed | (isLeaf && isWritten ? controls.pointee.dirty : 0))
  }
}

/// What a TLB keeps of a leaf besides frame and rights, 8 bits.
///
/// Memory type 2:0 (V6: MT; V3: PWT, CD1, CD2), INT_PR 3, NWA 4, G 5, D 6.
struct CachedAttributes {
  var bits: UInt8
  var type: UInt64 { UInt64(bits & 7) }
  var isIntegerProtected: Bool { bits & 8 != 0 }
  var forbidsAddresses: Bool { bits & 16 != 0 }
  var isGlobal: Bool { bits & 32 != 0 }
  var isDirty: Bool { bits & 64 != 0 }
}
