// 4-level paging. Intel SDM volume 3A, "4-Level Paging and 5-Level Paging".
import PagingKit

@usableFromInline enum FourLevel: LongModeEntry {
  @inline(__always) @usableFromInline static var radix: Radix { Radix(9, 9, 9, 9) }

  @inline(__always) @usableFromInline
  static func step(_ entry: Entry, at level: Int, _ controls: UnsafePointer<EntryControls>) -> Step { longModeStep(entry, at: level, controls) }

  @inline(__always) @usableFromInline
  static func rights(of entry: Entry, at level: Int, isLeaf: Bool, _ controls: UnsafePointer<EntryControls>) -> Rights {
    longModeRights(entry, isLeaf: isLeaf)
  }

  @inline(__always) @usableFromInline
  static func marked(_ entry: Entry, at level: Int, isLeaf: Bool, isWritten: Bool, _ controls: UnsafePointer<EntryControls>) -> Entry {
    markedEntry(entry, isLeaf: isLeaf, isWritten: isWritten)
  }

  @inline(__always) @usableFromInline
  static func marksWhileDescending(_ controls: UnsafePointer<EntryControls>) -> Bool { controls.pointee.isEager }

  @inline(__always) @usableFromInline
  static func attributes(of leaf: Entry, _ controls: UnsafePointer<EntryControls>) -> UInt8 { UInt8(truncatingIfNeeded: leaf.bits &>> 59) & 15 }

  @inline(__always) @usableFromInline
  static func isGlobal(_ leaf: Entry, _ controls: UnsafePointer<EntryControls>) -> Bool { controls.pointee.hasGlobal && leaf.bits & 0x100 != 0 }

  static let definition = FormatDefinition(
    name: "4level", title: "4-level paging", reference: "Intel SDM volume 3A (080), 4-Level Paging and 5-Level Paging",
    radix: radix, outputBits: 52, isSignExtended: true, attributes: X86Attributes.longMode,
    levels: [.init("PTE", mayBeLeaf: true), .init("PDE", mayBeLeaf: true), .init("PDPTE", mayBeLeaf: true), .init("PML4E", mayBeLeaf: false)],
    layouts: LongModeFields.layouts(levels: 4))
}
