import PagingKit

/// Page-based 41-bit guest physical addressing: Sv39 with a root of 16 KiB.
enum Sv39x4: RV64Format {
  static var radix: Radix { Radix(11, 9, 9) }
  static var isSecondStage: Bool { true }
  static var numberParts: [Field] { [Field("PPN[2]", 53, 28), Field("PPN[1]", 27, 19), Field("PPN[0]", 18, 10)] }
  static var definition: FormatDefinition {
    makeDefinition(
      name: "sv39x4", title: "Sv39x4, page-based 41-bit guest physical addressing",
      section: "Guest Physical Address Translation")
  }
}
