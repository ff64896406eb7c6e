import PagingKit

/// Page-based 59-bit guest physical addressing: Sv57 with a root of 16 KiB.
enum Sv57x4: RV64Format {
  static var radix: Radix { Radix(11, 9, 9, 9, 9) }
  static var isSecondStage: Bool { true }
  static var numberParts: [Field] { [Field("PPN[4]", 53, 46), Field("PPN[3]", 45, 37), Field("PPN[2]", 36, 28), Field("PPN[1]", 27, 19), Field("PPN[0]", 18, 10)] }
  static var definition: FormatDefinition {
    makeDefinition(
      name: "sv57x4", title: "Sv57x4, page-based 59-bit guest physical addressing",
      section: "Guest Physical Address Translation")
  }
}
