// PAE paging: 32-bit linear addresses, three levels, of which the first is four PDPTEs.
//
// Intel SDM volume 3A, "PAE Paging". Natively the PDPTEs are registers, loaded by MOV to CR3, and a walk starts below
// them. Under AMD nested paging (APM volume 2, "Nested Paging and VMRUN/#VMEXIT") a walk reads them from memory.
import PagingKit

@usableFromInline enum PAE: LongModeEntry {
  @inline(__always) @usableFromInline static var radix: Radix { Radix(2, 9, 9) }

  @inline(__always) @usableFromInline
  static func step(_ entry: Entry, at level: Int, _ controls: UnsafePointer<EntryControls>) -> Step {
    if level < 2 { return longModeStep(entry, at: level, controls) }
    guard entry.bits & 1 != 0 else { return .absent }
    guard entry.bits & controls.pointee.reservedPDPTE == 0 else { return .refused(.reserved) }
    return .table(entry.bits & 0x000f_ffff_ffff_f000)
  }

  @inline(__always) @usableFromInline
  static func plainStep(_ entry: Entry, at level: Int, isWritten: Bool, _ controls: UnsafePointer<EntryControls>) -> Step {
    level < 2
      ? longModePlainStep(entry, at: level, isWritten: isWritten, controls)
      : markedStep(entry, at: level, isWritten: isWritten, controls)
  }

  /// PDPTEs carry no rights.
  @inline(__always) @usableFromInline
  static func rights(of entry: Entry, at level: Int, isLeaf: Bool, _ controls: UnsafePointer<EntryControls>) -> Rights {
    level < 2 ? longModeRights(entry, isLeaf: isLeaf) : .all
  }

  /// PDPTEs have no accessed flag.
  @inline(__always) @usableFromInline
  static func marked(_ entry: Entry, at level: Int, isLeaf: Bool, isWritten: Bool, _ controls: UnsafePointer<EntryControls>) -> Entry {
    level < 2 ? markedEntry(entry, isLeaf: isLeaf, isWritten: isWritten) : entry
  }

  /// Leaves of PAE have no keys.
  @inline(__always) @usableFromInline
  static func attributes(of leaf: Entry, _ controls: UnsafePointer<EntryControls>) -> UInt8 { 0 }

  static let definition = FormatDefinition(
    name: "pae", title: "PAE paging", reference: "Intel SDM volume 3A (080), PAE Paging",
    radix: radix, outputBits: 52, isSignExtended: false, rootAlignmentShift: 5, attributes: X86Attributes.pae,
    levels: [.init("PTE", mayBeLeaf: true), .init("PDE", mayBeLeaf: true), .init("PDPTE", mayBeLeaf: false)],
    layouts: [
      EntryLayout("PDPTE", .table, levels: [2], [
        Field("Reserved", 63, 52), Field("Address", 51, 12), Field("Ign.", 11, 9), Field("Reserved", 8, 5), Field("PCD", 4),
        Field("PWT", 3), Field("Reserved", 2, 1), Field("P", 0),
      ]),
      EntryLayout("PDE that references a page table", .table, levels: [1],
        [Field("XD", 63), Field("Reserved", 62, 52), Field("Address", 51, 12)] + LongModeFields.lowTable),
      EntryLayout("PDE that maps a 2-MByte page", .leaf, levels: [1],
        [Field("XD", 63), Field("Reserved", 62, 52), Field("Address", 51, 21), Field("Reserved", 20, 13), Field("PAT", 12)] + LongModeFields.lowLarge),
      EntryLayout("PTE", .leaf, levels: [0],
        [Field("XD", 63), Field("Reserved", 62, 52), Field("Address", 51, 12)] + LongModeFields.lowPage),
    ])
}
