// 32-bit paging: two levels of 4-byte entries, 4 MiB pages with CR4.PSE, and PSE-36.
//
// Intel SDM volume 3A, "32-Bit Paging".
import PagingKit

@usableFromInline enum TwoLevel: PageTableFormat {
  @usableFromInline typealias Controls = UnsafePointer<EntryControls>

  @inline(__always) @usableFromInline static var radix: Radix { Radix(10, 10, entryBytes: 4) }

  /// Without CR4.PSE bit 7 of a PDE means nothing.
  @inline(__always) @usableFromInline
  static func step(_ entry: Entry, at level: Int, _ controls: UnsafePointer<EntryControls>) -> Step {
    let bits = entry.bits
    guard bits & 1 != 0 else { return .absent }
    if level == 0 { return .leaf(bits & 0xffff_f000, pageShift: 12) }
    guard controls.pointee.hasPSE && bits & 0x80 != 0 else { return .table(bits & 0xffff_f000) }
    guard bits & controls.pointee.reserved4MiB == 0 else { return .refused(.reserved) }
    return .leaf(bits & 0xffc0_0000 | (bits & 0x001f_e000) &<< 19, pageShift: 22)
  }

  @inline(__always) @usableFromInline
  static func rights(of entry: Entry, at level: Int, isLeaf: Bool, _ controls: UnsafePointer<EntryControls>) -> Rights {
    let bits = entry.bits
    let collected = 0xe5 | bits & 2 | (bits & 4) &<< 1 | (isLeaf ? (bits & 0x40) &>> 2 : 0x10)
    return Rights(rawValue: UInt8(truncatingIfNeeded: collected))
  }

  @inline(__always) @usableFromInline
  static func marked(_ entry: Entry, at level: Int, isLeaf: Bool, isWritten: Bool, _ controls: UnsafePointer<EntryControls>) -> Entry {
    Entry(entry.bits | 0x20 | (isLeaf && isWritten ? 0x40 : 0))
  }

  @inline(__always) @usableFromInline
  static func marksWhileDescending(_ controls: UnsafePointer<EntryControls>) -> Bool { controls.pointee.isEager }

  @inline(__always) @usableFromInline
  static func isGlobal(_ leaf: Entry, _ controls: UnsafePointer<EntryControls>) -> Bool { controls.pointee.hasGlobal && leaf.bits & 0x100 != 0 }

  static let definition = FormatDefinition(
    name: "2level", title: "32-bit paging", reference: "Intel SDM volume 3A (080), 32-Bit Paging",
    radix: radix, outputBits: 40, isSignExtended: false, attributes: X86Attributes.twoLevel,
    levels: [.init("PTE", mayBeLeaf: true), .init("PDE", mayBeLeaf: true)],
    layouts: [
      EntryLayout("PDE that references a page table", .table, levels: [1], [Field("Address", 31, 12)] + LongModeFields.lowTable),
      EntryLayout("PDE that maps a 4-MByte page", .leaf, levels: [1],
        [Field("Address 31:22", 31, 22), Field("Reserved", 21), Field("Address 39:32", 20, 13), Field("PAT", 12)] + LongModeFields.lowLarge),
      EntryLayout("PTE", .leaf, levels: [0], [Field("Address", 31, 12)] + LongModeFields.lowPage),
    ])
}
