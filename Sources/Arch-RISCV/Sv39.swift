import PagingKit

/// Page-based 39-bit virtual addressing.
enum Sv39: RV64Format {
  static var radix: Radix { Radix(9, 9, 9) }
  static var isSecondStage: Bool { false }
  static var numberParts: [Field] { [Field("PPN[2]", 53, 28), Field("PPN[1]", 27, 19), Field("PPN[0]", 18, 10)] }
  static var definition: FormatDefinition {
    makeDefinition(
      name: "sv39", title: "Sv39, page-based 39-bit virtual addressing",
      section: "Sv39: Page-Based 39-bit Virtual-Memory System")
  }
}
