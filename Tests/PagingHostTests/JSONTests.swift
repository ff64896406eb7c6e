import Testing

@testable import PagingHost

/// Parses a line and lends its value.
func parsed<Result>(_ text: String, _ body: (JSONValue) throws -> Result) throws -> Result {
  let line = Array((text.hasSuffix("\n") ? text : text + "\n").utf8)
  let parser = JSONLine()
  return try withExtendedLifetime(parser) { try line.withUnsafeBytes { try body(parser.parse($0)) } }
}

private func refusal(_ text: String) -> JSONProblem? {
  #expect(throws: JSONProblem.self, "\(text)") { try parsed(text) { _ in } }
}

@Suite struct `A line of JSON` {
  @Test func `keeps members and elements in order`() throws {
    try parsed(#" { "a" : [ 1 , "0xfF" , true , null , { } ] , "b" : { "c" : false } } "#) { root in
      #expect(root.members.map(\.name.string) == ["a", "b"])
      let list = Array(root.members.first { $0.name.string == "a" }!.value.elements)
      #expect(list.map(\.kind) == [.number, .string, .yes, .null, .object])
      #expect(list.map(\.unsigned) == [1, 255, nil, nil, nil])
      let inner = root.members.first { $0.name.string == "b" }!.value
      #expect(inner.members.map { "\($0.name.string) \($0.value.kind)" } == ["c no"])
      #expect(inner.elements.map(\.kind) == [])
    }
  }

  @Test func `replaces escapes`() throws {
    try parsed(#"["\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é", "plain"]"#) { root in
      #expect(root.elements.map(\.string) == ["\"\\/\u{8}\u{c}\n\r\té😀é", "plain"])
    }
  }

  @Test func `reads unsigned numbers exactly and others not at all`() throws {
    try parsed(#"[0, 18446744073709551615, 18446744073709551616, -1, 1.0, 1e3, "0x", "0x0", "0xffffffffffffffff", "0x10000000000000000", "12", "0X1"]"#) { root in
      #expect(root.elements.map(\.unsigned) == [0, .max, nil, nil, nil, nil, nil, 0, .max, nil, nil, nil])
    }
  }

  @Test func `is refused where it breaks the grammar`() {
    let bad: [(String, Int)] = [
      ("", 0), ("{", 1), ("[1,]", 3), ("[1 2]", 3), ("{\"a\"}", 4), ("{\"a\":}", 5), ("{\"a\":1,}", 7), ("{a:1}", 1), ("\"a", 2),
      ("\"a\u{1}\"", 2), ("\"\\x\"", 1), ("\"\\u12g4\"", 1), ("01", 1), ("-", 1), ("1.", 2), ("1e", 2), ("1e+", 3), ("tru", 3), ("nul1", 3),
      ("1 1", 2), ("[", 1), ("+1", 0), (".5", 0), ("'a'", 0), ("{\"a\":1]", 6), ("[1}", 2),
    ]
    for (text, offset) in bad { #expect(refusal(text)?.offset == offset, "\(text)") }
  }

  @Test func `is as deep as it may be and no deeper`() throws {
    func nested(_ depth: Int) -> String { String(repeating: "[", count: depth) + String(repeating: "]", count: depth) }
    try parsed(nested(JSONLine.deepest)) { #expect($0.kind == .array) }
    #expect(refusal(nested(JSONLine.deepest + 1))?.offset == JSONLine.deepest)
    #expect(refusal(nested(1_000_000)) != nil)
  }

  @Test func `may have more values than the parser had room for`() throws {
    let text = "[" + (0..<5000).map(String.init).joined(separator: ",") + "]"
    try parsed(text) { root in #expect(root.elements.map(\.unsigned) == (0..<5000).map { UInt64($0) }) }
  }
}
