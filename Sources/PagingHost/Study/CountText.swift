// Counts as people type them.

public enum CountText {
  /// 1000000, 1_000_000, 0xf4240, 1e6 or 2.5e6; nil if it is no whole number of at most 63 bits.
  public static func value(_ text: String) -> UInt64? {
    if let number = IntegerText(text)?.unsigned { return number }
    let parts = text.lowercased().split(separator: "e", omittingEmptySubsequences: false)
    guard parts.count == 2, let exponent = Int(parts[1]), (0...18).contains(exponent) else { return nil }
    let digits = parts[0].split(separator: ".", omittingEmptySubsequences: false)
    guard digits.count <= 2, let whole = UInt64(digits[0]) else { return nil }
    let fraction = digits.count == 2 ? digits[1] : ""
    guard fraction.count <= exponent, fraction.allSatisfy({ $0.isASCII && $0.isNumber }) else { return nil }
    let zeros = String(repeating: "0", count: exponent - fraction.count)
    return UInt64("\(whole)\(fraction)\(zeros)").flatMap { $0 <= UInt64(Int64.max) ? $0 : nil }
  }
}
