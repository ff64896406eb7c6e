import PagingKit

/// Page-based 57-bit virtual addressing.
enum Sv57: RV64Format {
  static var radix: Radix { Radix(9, 9, 9, 9, 9) }
  static var isSecondStage: Bool { false }
  static var numberParts: [Field] { [Field("PPN[4]", 53, 46), Field("PPN[3]", 45, 37), Field("PPN[2]", 36, 28), Field("PPN[1]", 27, 19), Field("PPN[0]", 18, 10)] }
  static var definition: FormatDefinition {
    makeDefinition(
      name: "sv57", title: "Sv57, page-based 57-bit virtual addressing",
      section: "Sv57: Page-Based 57-bit Virtual-Memory System")
  }
}
