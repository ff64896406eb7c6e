import PagingKit

/// Page-based 32-bit virtual addressing.
enum Sv32: RV32Format {
  static var radix: Radix { Radix(10, 10, entryBytes: 4) }
  static var isSecondStage: Bool { false }
  static var numberParts: [Field] { [Field("PPN[1]", 31, 20), Field("PPN[0]", 19, 10)] }
  static var definition: FormatDefinition {
    makeDefinition(
      name: "sv32", title: "Sv32, page-based 32-bit virtual addressing",
      section: "Sv32: Page-Based 32-bit Virtual-Memory Systems")
  }
}
