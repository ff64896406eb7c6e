import PagingKit

/// Page-based 48-bit virtual addressing.
enum Sv48: RV64Format {
  static var radix: Radix { Radix(9, 9, 9, 9) }
  static var isSecondStage: Bool { false }
  static var numberParts: [Field] { [Field("PPN[3]", 53, 37), Field("PPN[2]", 36, 28), Field("PPN[1]", 27, 19), Field("PPN[0]", 18, 10)] }
  static var definition: FormatDefinition {
    makeDefinition(
      name: "sv48", title: "Sv48, page-based 48-bit virtual addressing",
      section: "Sv48: Page-Based 48-bit Virtual-Memory System")
  }
}
