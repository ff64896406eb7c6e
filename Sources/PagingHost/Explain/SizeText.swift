// Sizes that are powers of two, as manuals write them: 4 KiB, 2 MiB, 1 GiB.

public enum SizeText {
  private static let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]

  /// `shift` is log2 of the bytes.
  public static func text(shift: Int) -> String {
    guard (0..<units.count * 10).contains(shift) else { return "2^\(shift) B" }
    return "\(1 << (shift % 10)) \(units[shift / 10])"
  }

  /// The largest unit that leaves a whole number.
  public static func text(bytes: UInt64) -> String {
    guard bytes > 0 else { return "0 B" }
    let unit = min(bytes.trailingZeroBitCount / 10, units.count - 1)
    return "\(bytes >> UInt64(unit * 10)) \(units[unit])"
  }

  /// Bytes of `64`, `4KiB`, `4 KiB` or `4k`; nil if it is none of these or beyond 64 bits.
  public static func bytes(_ text: String) -> UInt64? {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    guard let count = UInt64(digits) else { return nil }
    let unit = text.dropFirst(digits.count).drop { $0 == " " }.lowercased()
    if unit.isEmpty { return count }
    guard let power = units.firstIndex(where: { $0.lowercased() == unit || $0.prefix(1).lowercased() == unit }) else { return nil }
    let (value, overflow) = count.multipliedReportingOverflow(by: 1 << UInt64(power * 10))
    return overflow ? nil : value
  }

  /// log2 of the bytes of `2MiB`; nil if that is no power of two.
  public static func shift(_ text: String) -> Int? {
    guard let bytes = bytes(text), bytes.nonzeroBitCount == 1 else { return nil }
    return bytes.trailingZeroBitCount
  }
}
