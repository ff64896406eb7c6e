// 5-level paging: CR4.LA57, one more level above the PML4. Intel SDM volume 3A, "4-Level Paging and 5-Level Paging".
import PagingKit

@usableFromInline enum FiveLevel: LongModeEntry {
  @inline(__always) @usableFromInline static var radix: Radix { Radix(9, 9, 9, 9, 9) }

  static let definition = FormatDefinition(
    name: "5level", title: "5-level paging", reference: "Intel SDM volume 3A (080), 4-Level Paging and 5-Level Paging",
    radix: radix, outputBits: 52, isSignExtended: true, attributes: X86Attributes.longMode,
    levels: [.init("PTE", mayBeLeaf: true), .init("PDE", mayBeLeaf: true), .init("PDPTE", mayBeLeaf: true), .init("PML4E", mayBeLeaf: false), .init("PML5E", mayBeLeaf: false)],
    layouts: LongModeFields.layouts(levels: 5))
}
