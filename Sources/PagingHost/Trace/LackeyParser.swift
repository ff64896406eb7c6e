import CPagingKit

/// Reads single lines of lackey text. Every function stops at the line feed that ends the line.
enum LackeyParser {
  /// Most bytes of one access that a trace may hold: a page, so that no access touches three.
  static let largestSize: UInt32 = 4096

  /// The access of the line at `at`, which moves to the next line; nil, and no move, if the line has another form.
  @inline(__always)
  static func line(_ at: inout UnsafePointer<UInt8>) -> LackeyLine? {
    guard let kind = kind(at[0], at[1], at[2]) else { return nil }
    var cursor = at + 3
    guard let address = hexadecimal(&cursor), cursor[0] == UInt8(ascii: ",") else { return nil }
    cursor += 1
    guard let size = size(&cursor) else { return nil }
    if cursor[0] == UInt8(ascii: "\r") { cursor += 1 }
    guard cursor[0] == UInt8(ascii: "\n"), address &+ UInt64(size &- 1) >= address else { return nil }
    at = cursor + 1
    return LackeyLine(address: address, byteCount: size, kind: kind)
  }

  @inline(__always)
  private static func kind(_ first: UInt8, _ second: UInt8, _ third: UInt8) -> UInt8? {
    guard third == UInt8(ascii: " ") else { return nil }
    if first == UInt8(ascii: "I"), second == UInt8(ascii: " ") { return UInt8(PGK_FETCH) }
    guard first == UInt8(ascii: " ") else { return nil }
    switch second {
    case UInt8(ascii: "L"): return UInt8(PGK_READ)
    case UInt8(ascii: "S"): return UInt8(PGK_WRITE)
    case UInt8(ascii: "M"): return UInt8(PGK_MODIFY)
    default: return nil
    }
  }

  /// One to sixteen digits.
  @inline(__always)
  private static func hexadecimal(_ cursor: inout UnsafePointer<UInt8>) -> UInt64? {
    let start = cursor
    var value: UInt64 = 0
    while true {
      var digit = cursor[0] &- UInt8(ascii: "0")
      if digit > 9 {
        let letter = (cursor[0] | 0x20) &- UInt8(ascii: "a")
        guard letter < 6 else { break }
        digit = letter &+ 10
      }
      value = value &<< 4 | UInt64(digit)
      cursor += 1
    }
    let digits = cursor - start
    return digits > 0 && digits <= 16 ? value : nil
  }

  @inline(__always)
  private static func size(_ cursor: inout UnsafePointer<UInt8>) -> UInt32? {
    var value: UInt32 = 0
    while true {
      let digit = cursor[0] &- UInt8(ascii: "0")
      guard digit < 10 else { break }
      value = value &* 10 &+ UInt32(digit)
      // Stops before the value could wrap.
      guard value <= largestSize else { return nil }
      cursor += 1
    }
    return value > 0 ? value : nil
  }

  /// Moves over a line that is no access but harmless: empty, or a message that valgrind mixes in.
  static func passOver(_ at: inout UnsafePointer<UInt8>) -> Bool {
    guard isEmpty(at) || isMessage(at) else { return false }
    at = lineFeed(at) + 1
    return true
  }

  private static func isEmpty(_ at: UnsafePointer<UInt8>) -> Bool {
    at[0] == UInt8(ascii: "\n") || at[0] == UInt8(ascii: "\r") && at[1] == UInt8(ascii: "\n")
  }

  /// `==PID==`, or `--PID--` for a warning, `**PID**` for a message of the program.
  private static func isMessage(_ at: UnsafePointer<UInt8>) -> Bool {
    let mark = at[0]
    guard mark == UInt8(ascii: "=") || mark == UInt8(ascii: "-") || mark == UInt8(ascii: "*"), at[1] == mark else {
      return false
    }
    var cursor = at + 2
    while cursor[0] &- UInt8(ascii: "0") < 10 { cursor += 1 }
    return cursor > at + 2 && cursor[0] == mark && cursor[1] == mark
  }

  private static func lineFeed(_ at: UnsafePointer<UInt8>) -> UnsafePointer<UInt8> {
    var cursor = at
    while cursor[0] != UInt8(ascii: "\n") { cursor += 1 }
    return cursor
  }

  /// What is wrong with a line that `line` refuses.
  static func problem(_ at: UnsafePointer<UInt8>, file: String, line: UInt64) -> InputError {
    let text = quoted(UnsafeRawBufferPointer(start: at, count: lineFeed(at) - at))
    return InputError(file: file, place: .line(line), expected: expectation(at), found: text)
  }

  private static func expectation(_ at: UnsafePointer<UInt8>) -> String {
    let form = "\"I  ADDRESS,SIZE\", \" L ADDRESS,SIZE\", \" S ADDRESS,SIZE\" or \" M ADDRESS,SIZE\""
    guard kind(at[0], at[1], at[2]) != nil else { return form }
    var cursor = at + 3
    guard let address = hexadecimal(&cursor) else { return "an address of 1 to 16 hexadecimal digits" }
    guard cursor[0] == UInt8(ascii: ",") else { return "a comma behind the address" }
    cursor += 1
    guard let size = size(&cursor) else { return "a size from 1 to \(largestSize) bytes" }
    guard address &+ UInt64(size - 1) >= address else { return "an access that ends below 2^64" }
    return "the end of the line behind the size"
  }
}
