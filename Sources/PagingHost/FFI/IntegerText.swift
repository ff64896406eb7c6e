// Integers as people type them: decimal, 0x hexadecimal, a minus sign, underscores between digits.

/// An integer of either sign, up to 64 bits of magnitude.
public struct IntegerText: Hashable, Sendable {
  public let magnitude: UInt64
  public let isNegative: Bool

  public init?(_ text: some StringProtocol) {
    var digits = Substring(text)
    isNegative = digits.first == "-"
    if isNegative { digits = digits.dropFirst() }
    let isHexadecimal = digits.hasPrefix("0x") || digits.hasPrefix("0X")
    if isHexadecimal { digits = digits.dropFirst(2) }
    guard let first = digits.utf8.first, first != UInt8(ascii: "_"), first != UInt8(ascii: "+"), first != UInt8(ascii: "-"),
      digits.utf8.last != UInt8(ascii: "_"),
      let magnitude = UInt64(digits.filter { $0 != "_" }, radix: isHexadecimal ? 16 : 10)
    else { return nil }
    self.magnitude = magnitude
  }

  /// Nil if it is negative.
  public var unsigned: UInt64? { isNegative && magnitude != 0 ? nil : magnitude }

  /// Nil if it does not fit into 64 signed bits.
  public var signed: Int64? {
    isNegative ? (magnitude <= 1 << 63 ? Int64(truncatingIfNeeded: 0 &- magnitude) : nil) : Int64(exactly: magnitude)
  }
}
