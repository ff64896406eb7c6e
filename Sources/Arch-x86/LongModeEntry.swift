// Entries of PAE, 4-level and 5-level paging: 8 bytes, the same bits at every level but for the large-page formats.
//
// Intel SDM volume 3A, edition 080, chapter "Paging": "4-Level Paging and 5-Level Paging", "PAE Paging".
import PagingKit

/// What registers and model say about entries, computed when they change.
@frozen @usableFromInline struct EntryControls {
  /// Reserved in every entry: address bits above MAXPHYADDR, and XD while EFER.NXE is 0.
  @usableFromInline var reserved: UInt64 = 0
  /// Reserved besides in an entry that points to a table, at level 2 and above (AMD: bit 8).
  @usableFromInline var reservedUpper: UInt64 = 0
  /// Reserved besides in an entry that maps 2 MiB, and 1 GiB; all ones if the size is not there.
  @usableFromInline var reserved2MiB: UInt64 = 0
  @usableFromInline var reserved1GiB: UInt64 = 0
  /// 2-level paging: CR4.PSE, and what is reserved in a 4 MiB page.
  @usableFromInline var hasPSE = false
  @usableFromInline var reserved4MiB: UInt64 = 0
  /// PDPTE bits that must be 0 (PAE).
  @usableFromInline var reservedPDPTE: UInt64 = 0
  @usableFromInline var isEager = false
  @usableFromInline var hasGlobal = false

  @usableFromInline init() {}
}

/// The bits that PAE, 4-level and 5-level entries share.
@usableFromInline protocol LongModeEntry: PageTableFormat where Controls == UnsafePointer<EntryControls> {}

@usableFromInline enum EntryBits {
  @usableFromInline static let present: UInt64 = 1 << 0
  @usableFromInline static let writable: UInt64 = 1 << 1
  @usableFromInline static let user: UInt64 = 1 << 2
  @usableFromInline static let accessed: UInt64 = 1 << 5
  @usableFromInline static let dirty: UInt64 = 1 << 6
  @usableFromInline static let pageSize: UInt64 = 1 << 7
  @usableFromInline static let global: UInt64 = 1 << 8
  @usableFromInline static let address: UInt64 = 0x000f_ffff_ffff_f000
}

extension LongModeEntry {
  /// P first; then reserved bits; only then does the entry mean something.
  @inline(__always) @usableFromInline
  static func longModeStep(_ entry: Entry, at level: Int, _ controls: UnsafePointer<EntryControls>) -> Step {
    let bits = entry.bits
    guard bits & 1 != 0 else { return .absent }
    guard bits & controls.pointee.reserved == 0 else { return .refused(.reserved) }
    if level == 0 { return .leaf(bits & 0x000f_ffff_ffff_f000, pageShift: 12) }
    if bits & 0x80 != 0 { return largePage(bits, level, controls) }
    guard level < 2 || bits & controls.pointee.reservedUpper == 0 else { return .refused(.reserved) }
    return .table(bits & 0x000f_ffff_ffff_f000)
  }

  /// PS is set: a large page at levels 1 and 2, reserved above.
  @inline(__always) @usableFromInline
  static func largePage(_ bits: UInt64, _ level: Int, _ controls: UnsafePointer<EntryControls>) -> Step {
    if level == 1 && bits & controls.pointee.reserved2MiB == 0 { return .leaf(bits & 0x000f_ffff_ffe0_0000, pageShift: 21) }
    if level == 2 && bits & controls.pointee.reserved1GiB == 0 { return .leaf(bits & 0x000f_ffff_c000_0000, pageShift: 30) }
    return .refused(.reserved)
  }

  /// A pointer, or a 4 KiB page, that is as it should be in one comparison.
  @inline(__always) @usableFromInline
  static func longModePlainStep(_ entry: Entry, at level: Int, isWritten: Bool, _ controls: UnsafePointer<EntryControls>) -> Step {
    let bits = entry.bits
    let reserved = controls.pointee.reserved
    if level == 0 {
      let flags: UInt64 = isWritten ? 0x61 : 0x21
      return bits & (flags | reserved) == flags ? .leaf(bits & 0x000f_ffff_ffff_f000, pageShift: 12) : .absent
    }
    let clear = level < 2 ? reserved : reserved | controls.pointee.reservedUpper
    if bits & (0xa1 | clear) == 0x21 { return .table(bits & 0x000f_ffff_ffff_f000) }
    return bits & 0x80 == 0 ? .absent : markedStep(entry, at: level, isWritten: isWritten, controls)
  }

  /// R/W and U/S count at every level, XD at any.
  @inline(__always) @usableFromInline
  static func longModeRights(_ entry: Entry, isLeaf: Bool) -> Rights {
    let bits = entry.bits
    let collected = 0xe1 | bits & 2 | (bits & 4) &<< 1 | (~bits &>> 63) &<< 2
    let dirty = isLeaf ? (bits & 0x40) &>> 2 : 0x10
    return Rights(rawValue: UInt8(truncatingIfNeeded: collected | dirty))
  }

  @inline(__always) @usableFromInline
  static func markedEntry(_ entry: Entry, isLeaf: Bool, isWritten: Bool) -> Entry {
    Entry(entry.bits | 0x20 | (isLeaf && isWritten ? 0x40 : 0))
  }
}

/// What 4-level and 5-level paging have in common: everything but the number of levels. PAE says for itself what its
/// pointers to directories make different.
extension LongModeEntry {
  @inline(__always) @usableFromInline
  static func step(_ entry: Entry, at level: Int, _ controls: UnsafePointer<EntryControls>) -> Step {
    longModeStep(entry, at: level, controls)
  }

  @inline(__always) @usableFromInline
  static func plainStep(_ entry: Entry, at level: Int, isWritten: Bool, _ controls: UnsafePointer<EntryControls>) -> Step {
    longModePlainStep(entry, at: level, isWritten: isWritten, controls)
  }

  @inline(__always) @usableFromInline
  static func rights(of entry: Entry, at level: Int, isLeaf: Bool, _ controls: UnsafePointer<EntryControls>) -> Rights {
    longModeRights(entry, isLeaf: isLeaf)
  }

  @inline(__always) @usableFromInline
  static func marked(
    _ entry: Entry, at level: Int, isLeaf: Bool, isWritten: Bool, _ controls: UnsafePointer<EntryControls>
  ) -> Entry {
    markedEntry(entry, isLeaf: isLeaf, isWritten: isWritten)
  }

  @inline(__always) @usableFromInline
  static func marksWhileDescending(_ controls: UnsafePointer<EntryControls>) -> Bool { controls.pointee.isEager }

  /// The protection key.
  @inline(__always) @usableFromInline
  static func attributes(of leaf: Entry, _ controls: UnsafePointer<EntryControls>) -> UInt8 {
    UInt8(truncatingIfNeeded: leaf.bits &>> 59) & 15
  }

  @inline(__always) @usableFromInline
  static func isGlobal(_ leaf: Entry, _ controls: UnsafePointer<EntryControls>) -> Bool {
    controls.pointee.hasGlobal && leaf.bits & EntryBits.global != 0
  }
}

/// Fields by the manual's names, for entries that have them all.
enum LongModeFields {
  static let lowTable = [
    Field("Ign.", 11, 8), Field("PS", 7), Field("Ign.", 6), Field("A", 5), Field("PCD", 4), Field("PWT", 3),
    Field("U/S", 2), Field("R/W", 1), Field("P", 0),
  ]
  /// At levels that map no pages.
  static let lowTop = lowTable.map { $0.high == 7 ? Field("Reserved", 7) : $0 }
  static let lowLarge = [
    Field("Ign.", 11, 9), Field("G", 8), Field("PS", 7), Field("D", 6), Field("A", 5), Field("PCD", 4), Field("PWT", 3),
    Field("U/S", 2), Field("R/W", 1), Field("P", 0),
  ]
  static let lowPage = [
    Field("Ign.", 11, 9), Field("G", 8), Field("PAT", 7), Field("D", 6), Field("A", 5), Field("PCD", 4), Field("PWT", 3),
    Field("U/S", 2), Field("R/W", 1), Field("P", 0),
  ]
  static let tableTop = [Field("XD", 63), Field("Ign.", 62, 52), Field("Address", 51, 12)]
  static let leafTop = [Field("XD", 63), Field("Prot. Key", 62, 59), Field("Ign.", 58, 52)]

  /// Layouts of 4-level and 5-level paging.
  static func layouts(levels: Int) -> [EntryLayout] {
    (levels > 4 ? [EntryLayout("PML5E that references a PML4 table", .table, levels: [4], tableTop + lowTop)] : []) + [
      EntryLayout("PML4E that references a page-directory-pointer table", .table, levels: [3], tableTop + lowTop),
      EntryLayout("PDPTE that references a page directory", .table, levels: [2], tableTop + lowTable),
      EntryLayout("PDE that references a page table", .table, levels: [1], tableTop + lowTable),
      EntryLayout("PDPTE that maps a 1-GByte page", .leaf, levels: [2],
        leafTop + [Field("Address", 51, 30), Field("Reserved", 29, 13), Field("PAT", 12)] + lowLarge),
      EntryLayout("PDE that maps a 2-MByte page", .leaf, levels: [1],
        leafTop + [Field("Address", 51, 21), Field("Reserved", 20, 13), Field("PAT", 12)] + lowLarge),
      EntryLayout("PTE that maps a 4-KByte page", .leaf, levels: [0], leafTop + [Field("Address", 51, 12)] + lowPage),
    ]
  }
}
