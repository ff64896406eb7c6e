// Numbers as a report shows them, without a locale: the same on every machine.

public enum NumberText {
  /// Digits in threes: 1,536.
  public static func grouped(_ value: some BinaryInteger) -> String {
    let digits = String(value.magnitude)
    var text = ""
    for (index, digit) in digits.enumerated() {
      if index > 0 && (digits.count - index) % 3 == 0 { text += "," }
      text.append(digit)
    }
    return value < 0 ? "-" + text : text
  }

  /// A fixed number of decimals, at most 9, halves away from zero; a dash for what is no number.
  public static func fixed(_ value: Double, decimals: Int) -> String {
    guard value.isFinite else { return "-" }
    precondition((0...9).contains(decimals), "\(decimals) decimals")
    let scale = (0..<decimals).reduce(UInt64(1)) { scale, _ in scale * 10 }
    let scaled = (value.magnitude * Double(scale)).rounded()
    guard scaled < 0x1p63 else { return "\(value)" }
    let (whole, rest) = UInt64(scaled).quotientAndRemainder(dividingBy: scale)
    let sign = value < 0 && scaled > 0 ? "-" : ""
    if decimals == 0 { return "\(sign)\(whole)" }
    let digits = String(rest)
    return "\(sign)\(whole)." + String(repeating: "0", count: decimals - digits.count) + digits
  }

  /// A part of a whole in percent; a dash if the whole is zero.
  public static func percent(_ part: UInt64, of whole: UInt64, decimals: Int = 2) -> String {
    whole == 0 ? "-" : fixed(Double(part) / Double(whole) * 100, decimals: decimals) + "%"
  }
}
