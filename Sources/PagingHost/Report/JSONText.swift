// How JSON is written: by RFC 8259, escapes in strings kept to what it demands.

extension JSON {
  /// On one line, for a file of one value a line.
  public var compact: String {
    var text = ""
    write(to: &text, indent: nil)
    return text
  }

  /// Two blanks for each depth, for people and files that are compared.
  public var indented: String {
    var text = ""
    write(to: &text, indent: 0)
    return text
  }

  private func write(to text: inout String, indent: Int?) {
    switch self {
    case .null: text += "null"
    case .bool(let value): text += value ? "true" : "false"
    case .integer(let value): text += "\(value)"
    case .unsigned(let value): text += "\(value)"
    // JSON has no infinity and no NaN: a ratio over nothing is no number.
    case .number(let value): text += value.isFinite ? "\(value)" : "null"
    case .text(let value): text += Self.quoted(value)
    case .array(let values):
      Self.writeList(values, in: "[", "]", to: &text, indent: indent) { $0.write(to: &$1, indent: $2) }
    case .object(let object):
      Self.writeList(object.members, in: "{", "}", to: &text, indent: indent) { member, text, indent in
        text += Self.quoted(member.key) + (indent == nil ? ":" : ": ")
        member.value.write(to: &text, indent: indent)
      }
    }
  }

  private static func writeList<Item>(
    _ items: [Item], in open: String, _ close: String, to text: inout String, indent: Int?,
    _ write: (Item, inout String, Int?) -> Void
  ) {
    text += open
    let inner = indent.map { $0 + 2 }
    for (index, item) in items.enumerated() {
      if index > 0 { text += "," }
      if let inner { text += "\n" + String(repeating: " ", count: inner) }
      write(item, &text, inner)
    }
    if let indent, !items.isEmpty { text += "\n" + String(repeating: " ", count: indent) }
    text += close
  }

  static func quoted(_ value: String) -> String {
    var text = "\""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text + "\""
  }
}
