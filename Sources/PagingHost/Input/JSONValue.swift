/// A value of a parsed line; it points into the line and into the parser, so it lives no longer than both.
struct JSONValue {
  let nodes: UnsafePointer<JSONNode>
  let text: UnsafePointer<UInt8>
  let index: Int

  @inline(__always)
  init(nodes: UnsafePointer<JSONNode>, text: UnsafePointer<UInt8>, index: Int) {
    self.nodes = nodes
    self.text = text
    self.index = index
  }

  var kind: JSONKind { nodes[index].kind }

  /// The text as it stands: a string without its quotes, its escapes as written.
  var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: text + Int(nodes[index].start), count: Int(nodes[index].count))
  }

  /// For error messages.
  var quotedText: String { kind == .string ? quoted(bytes) : String(decoding: bytes.prefix(60), as: UTF8.self) }

  var hasEscapes: Bool { nodes[index].hasEscapes }

  /// A string with its escapes replaced, or the text of any other value.
  var string: String {
    guard hasEscapes else { return String(decoding: bytes, as: UTF8.self) }
    var units: [UInt16] = []
    var cursor = bytes.makeIterator()
    var plain: [UInt8] = []
    func flush() {
      units += Array(String(decoding: plain, as: UTF8.self).utf16)
      plain = []
    }
    while let byte = cursor.next() {
      guard byte == UInt8(ascii: "\\"), let mark = cursor.next() else {
        plain.append(byte)
        continue
      }
      flush()
      switch mark {
      case UInt8(ascii: "b"): units.append(0x08)
      case UInt8(ascii: "f"): units.append(0x0c)
      case UInt8(ascii: "n"): units.append(0x0a)
      case UInt8(ascii: "r"): units.append(0x0d)
      case UInt8(ascii: "t"): units.append(0x09)
      case UInt8(ascii: "u"):
        var unit: UInt16 = 0
        for _ in 0..<4 { unit = unit << 4 | UInt16(cursor.next()!.hexadecimalDigit!) }
        units.append(unit)
      default: units.append(UInt16(mark))
      }
    }
    flush()
    return String(decoding: units, as: UTF16.self)
  }

  /// A number without sign, fraction or exponent, or a string of `0x` and one to sixteen hexadecimal digits.
  var unsigned: UInt64? {
    switch kind {
    case .number: decimal
    case .string: hexadecimal
    default: nil
    }
  }

  private var decimal: UInt64? {
    var value: UInt64 = 0
    for byte in bytes {
      let digit = byte &- UInt8(ascii: "0")
      guard digit < 10 else { return nil }
      let (tens, high) = value.multipliedReportingOverflow(by: 10)
      let (sum, low) = tens.addingReportingOverflow(UInt64(digit))
      guard !high, !low else { return nil }
      value = sum
    }
    return value
  }

  private var hexadecimal: UInt64? {
    let bytes = bytes
    guard bytes.count > 2, bytes.count <= 18, bytes[0] == UInt8(ascii: "0"), bytes[1] == UInt8(ascii: "x") else {
      return nil
    }
    var value: UInt64 = 0
    for index in 2..<bytes.count {
      guard let digit = bytes[index].hexadecimalDigit else { return nil }
      value = value &<< 4 | UInt64(digit)
    }
    return value
  }

  /// Names and values of an object; empty for any other value.
  var members: JSONMembers {
    JSONMembers(nodes: nodes, text: text, at: index + 1, end: kind == .object ? Int(nodes[index].next) : index + 1)
  }

  /// Elements of an array; empty for any other value.
  var elements: JSONElements {
    JSONElements(nodes: nodes, text: text, at: index + 1, end: kind == .array ? Int(nodes[index].next) : index + 1)
  }
}

struct JSONMembers: Sequence, IteratorProtocol {
  let nodes: UnsafePointer<JSONNode>
  let text: UnsafePointer<UInt8>
  var at: Int
  let end: Int

  @inline(__always)
  mutating func next() -> (name: JSONValue, value: JSONValue)? {
    guard at < end else { return nil }
    let name = JSONValue(nodes: nodes, text: text, index: at)
    let value = JSONValue(nodes: nodes, text: text, index: at &+ 1)
    at = Int(nodes[at &+ 1].next)
    return (name, value)
  }
}

struct JSONElements: Sequence, IteratorProtocol {
  let nodes: UnsafePointer<JSONNode>
  let text: UnsafePointer<UInt8>
  var at: Int
  let end: Int

  @inline(__always)
  mutating func next() -> JSONValue? {
    guard at < end else { return nil }
    let value = JSONValue(nodes: nodes, text: text, index: at)
    at = Int(nodes[at].next)
    return value
  }
}

extension UInt8 {
  @inline(__always)
  var hexadecimalDigit: UInt8? {
    let digit = self &- UInt8(ascii: "0")
    if digit < 10 { return digit }
    let letter = (self | 0x20) &- UInt8(ascii: "a")
    return letter < 6 ? letter &+ 10 : nil
  }
}
