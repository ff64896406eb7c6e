import PagingKit

/// Page-based 34-bit guest physical addressing: Sv32 with a root of 16 KiB.
enum Sv32x4: RV32Format {
  static var radix: Radix { Radix(12, 10, entryBytes: 4) }
  static var isSecondStage: Bool { true }
  static var numberParts: [Field] { [Field("PPN[1]", 31, 20), Field("PPN[0]", 19, 10)] }
  static var definition: FormatDefinition {
    makeDefinition(
      name: "sv32x4", title: "Sv32x4, page-based 34-bit guest physical addressing",
      section: "Guest Physical Address Translation")
  }
}
