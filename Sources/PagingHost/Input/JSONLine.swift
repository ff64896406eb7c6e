/// What is wrong with a line of JSON.
struct JSONProblem: Error {
  let expected: String
  /// Where, from the start of the line.
  let offset: Int
}

enum JSONKind: UInt8 {
  case object, array, string, number, yes, no, null
}

/// One value in a parsed line. Values lie in the order of the text; `next` skips a whole subtree.
struct JSONNode {
  var kind: JSONKind
  var hasEscapes = false
  /// The text: without quotes for a string, all of it for a container.
  var start: UInt32
  var count: UInt32 = 0
  var next: UInt32 = 0
}

/// A strict JSON parser for one line at a time, made for files of many small lines.
///
/// It keeps places in the line instead of copies and reuses its storage, so a line costs no allocation. The line must
/// end with a line feed, which no JSON text within a line can contain: every loop stops there.
final class JSONLine {
  static let deepest = 64

  private var nodes: UnsafeMutablePointer<JSONNode>
  private var capacity = 1024
  private var count = 0
  private var text = UnsafePointer<UInt8>(bitPattern: 1)!
  private var cursor = UnsafePointer<UInt8>(bitPattern: 1)!

  init() { nodes = .allocate(capacity: capacity) }

  deinit { nodes.deallocate() }

  /// The value of a line, valid until the next call and as long as the line is.
  func parse(_ line: UnsafeRawBufferPointer) throws(JSONProblem) -> JSONValue {
    precondition(line.last == UInt8(ascii: "\n") && line.count < Int(UInt32.max))
    text = line.baseAddress!.assumingMemoryBound(to: UInt8.self)
    cursor = text
    count = 0
    skipBlanks()
    try value(depth: 0)
    skipBlanks()
    guard cursor[0] == UInt8(ascii: "\n") else { throw problem("the end of the line") }
    return JSONValue(nodes: nodes, text: text, index: 0)
  }

  private func problem(_ expected: String) -> JSONProblem { JSONProblem(expected: expected, offset: cursor - text) }

  @inline(__always)
  private func skipBlanks() {
    while cursor[0] == UInt8(ascii: " ") || cursor[0] == UInt8(ascii: "\t") || cursor[0] == UInt8(ascii: "\r") {
      cursor += 1
    }
  }

  private func add(_ kind: JSONKind) -> Int {
    if count == capacity { grow() }
    nodes[count] = JSONNode(kind: kind, start: UInt32(truncatingIfNeeded: cursor - text))
    count &+= 1
    return count &- 1
  }

  private func grow() {
    let larger = UnsafeMutablePointer<JSONNode>.allocate(capacity: capacity * 2)
    larger.update(from: nodes, count: count)
    nodes.deallocate()
    nodes = larger
    capacity *= 2
  }

  @inline(__always)
  private func close(_ node: Int) {
    nodes[node].count = UInt32(truncatingIfNeeded: cursor - text) &- nodes[node].start
    nodes[node].next = UInt32(truncatingIfNeeded: count)
  }

  private func value(depth: Int) throws(JSONProblem) {
    switch cursor[0] {
    case UInt8(ascii: "\""): try string()
    case UInt8(ascii: "{"): try object(depth: depth)
    case UInt8(ascii: "["): try array(depth: depth)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): try number()
    case UInt8(ascii: "t"): try word("true", .yes)
    case UInt8(ascii: "f"): try word("false", .no)
    case UInt8(ascii: "n"): try word("null", .null)
    default: throw problem("a JSON value")
    }
  }

  private func object(depth: Int) throws(JSONProblem) {
    guard depth < Self.deepest else { throw problem("at most \(Self.deepest) levels of JSON") }
    let node = add(.object)
    cursor += 1
    skipBlanks()
    if cursor[0] != UInt8(ascii: "}") {
      while true {
        guard cursor[0] == UInt8(ascii: "\"") else { throw problem("a name in quotes") }
        try string()
        skipBlanks()
        guard cursor[0] == UInt8(ascii: ":") else { throw problem("a colon") }
        cursor += 1
        skipBlanks()
        try value(depth: depth + 1)
        guard try continues(until: UInt8(ascii: "}")) else { break }
      }
    }
    cursor += 1
    close(node)
  }

  private func array(depth: Int) throws(JSONProblem) {
    guard depth < Self.deepest else { throw problem("at most \(Self.deepest) levels of JSON") }
    let node = add(.array)
    cursor += 1
    skipBlanks()
    if cursor[0] != UInt8(ascii: "]") {
      repeat { try value(depth: depth + 1) } while try continues(until: UInt8(ascii: "]"))
    }
    cursor += 1
    close(node)
  }

  /// Behind a member or element: true over a comma, false at the end of the container.
  @inline(__always)
  private func continues(until end: UInt8) throws(JSONProblem) -> Bool {
    skipBlanks()
    if cursor[0] == end { return false }
    guard cursor[0] == UInt8(ascii: ",") else {
      throw problem(end == UInt8(ascii: "}") ? "a comma or }" : "a comma or ]")
    }
    cursor += 1
    skipBlanks()
    return true
  }

  private func string() throws(JSONProblem) {
    cursor += 1
    let node = add(.string)
    while cursor[0] != UInt8(ascii: "\"") {
      if cursor[0] == UInt8(ascii: "\\") {
        nodes[node].hasEscapes = true
        try escape()
      } else if cursor[0] < 0x20 {
        throw problem("a closing quote")
      } else {
        cursor += 1
      }
    }
    close(node)
    cursor += 1
  }

  private func escape() throws(JSONProblem) {
    switch cursor[1] {
    case UInt8(ascii: "u"):
      for digit in 2..<6 {
        guard UnicodeScalar(cursor[digit]).properties.isASCIIHexDigit else { throw problem("\\u and four hexadecimal digits") }
      }
      cursor += 6
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
      UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
      cursor += 2
    default: throw problem("a JSON escape")
    }
  }

  private func number() throws(JSONProblem) {
    let node = add(.number)
    if cursor[0] == UInt8(ascii: "-") { cursor += 1 }
    if cursor[0] == UInt8(ascii: "0") { cursor += 1 } else { try digits() }
    if cursor[0] == UInt8(ascii: ".") {
      cursor += 1
      try digits()
    }
    if cursor[0] | 0x20 == UInt8(ascii: "e") {
      cursor += 1
      if cursor[0] == UInt8(ascii: "-") || cursor[0] == UInt8(ascii: "+") { cursor += 1 }
      try digits()
    }
    close(node)
  }

  private func digits() throws(JSONProblem) {
    guard cursor[0] &- UInt8(ascii: "0") < 10 else { throw problem("a digit") }
    while cursor[0] &- UInt8(ascii: "0") < 10 { cursor += 1 }
  }

  private func word(_ text: StaticString, _ kind: JSONKind) throws(JSONProblem) {
    let node = add(kind)
    for index in 0..<text.utf8CodeUnitCount {
      guard cursor[0] == text.utf8Start[index] else { throw problem(text.description) }
      cursor += 1
    }
    close(node)
  }
}
