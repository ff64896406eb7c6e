import Testing

@testable import PagingHost

private let catalogue = Catalogue.load()

private func verify(_ steps: String, more: String = "") -> VectorReport {
  let header = #"{"format":"paging-vectors/1","arch":"elbrus","kind":"scenario","ram":"sparse"}"#
  let text = header + "\n" + #"{"id":"a"\#(more),"regs":{},"mem":[],"steps":[\#(steps)]}"# + "\n"
  return withFile(text) { path in
    VectorRunner.verify(files: [path], settings: VectorSettings(workers: 1)) { try catalogue.architecture(named: $0).architecture }
  }
}

/// What a case of one step is refused for.
private func error(do action: String, expect: String = "{}", more: String = "") throws -> InputError {
  let report = verify(#"{"do":\#(action),"expect":\#(expect)}"#, more: more)
  guard case .input(let error)? = report.files[0].failure else {
    throw InputError(file: "", place: .file, expected: "no pass: \(report.totals)", found: "\(report.unsupported) \(report.shown)")
  }
  #expect(error.place == .line(2))
  #expect(report.cases == 0)
  return error
}

private let store = #"{"write":[["0x10","0x1"]]}"#

@Suite struct `A malformed scenario` {
  @Test func `differs from one that is right`() {
    let report = verify(#"{"do":\#(store),"expect":{"mem":[["0x10","0x1"]],"list":[],"exc":[],"dst":{},"mode":"native"}}"#)
    #expect(report.failures.isEmpty && report.unsupported.isEmpty)
    #expect(report.totals == "1 cases, 0 accesses, 0 differences")
  }

  @Test(arguments: ["-1", "99", #""zork""#, "1e30", #""0xffffffffffffffff""#, #""0x7fffffffffffffff""#, "true", "[]"])
  func `names the items that there are`(_ index: String) throws {
    let read = try error(do: #"{"info_read":64,"info_write":[\#(index)]}"#)
    #expect(read.expected.hasPrefix("an item from 0 to "), "\(read)")
    #expect(try error(do: #"{"info_write":[\#(index)]}"#).expected.hasPrefix("no item"))
    #expect(try error(do: #"{"reexec":\#(index)}"#).expected.hasPrefix("no record"))
    #expect(try error(do: #"{"edit":[{"item":\#(index),"delete":true}]}"#).expected.hasPrefix("no item"))
    #expect(try error(do: #"{"glaunch":{"answered":[\#(index)]}}"#).expected.hasPrefix("no item"))
  }

  @Test(arguments: [
    ("dst", #""0xffffffffffffffff""#), ("dst", #""0x80000000""#), ("chan", #""0x100000001""#), ("size", #""0x100000008""#),
    ("mas", #""0x100000000""#), ("spec", "4294967296"), ("va", "-1"),
  ])
  func `has no number that its argument cannot hold`(_ name: String, _ number: String) throws {
    let others = [("va", #""0x10""#), ("size", "8"), ("chan", "1"), ("dst", "1")].filter { $0.0 != name } + [(name, number)]
    let members = others.map { #""\#($0.0)":\#($0.1)"# }.joined(separator: ",")
    let error = try error(do: #"{"group":[{"op":"r","priv":"kernel",\#(members)}]}"#)
    #expect(error.expected.hasSuffix("at \"\(name)\""), "\(error)")
    if name == "dst" { #expect(error.expected.contains("2147483647")) }
  }

  @Test(arguments: ["0", "3", "32", #""0x8000000000000000""#, #""eight""#])
  func `fetches 1 to 16 bytes`(_ size: String) throws {
    let error = try error(do: #"{"group":[{"op":"x","va":"0x10","size":\#(size),"priv":"kernel"}]}"#)
    #expect(error.expected.hasSuffix("at \"size\""))
  }

  @Test(arguments: [
    #""zork""#, "3", "[]", "{}", #"{"kind":"page"}"#, #"{"group":"zork"}"#, #"{"group":[3]}"#, #"{"group":[],"hw":3}"#, #"{"write":3}"#,
    #"{"write":[["0x10"]]}"#, #"{"write":[["0x11","0x1"]]}"#, #"{"reg":3}"#, #"{"reg":[3,3]}"#, #"{"edit":"zork"}"#, #"{"edit":[3]}"#,
    #"{"edit":[{"delete":true}]}"#, #"{"edit":[{"item":0}]}"#, #"{"edit":[{"item":0,"delete":false}]}"#,
    #"{"edit":[{"item":0,"set":"zork"}]}"#, #"{"glaunch":"zork"}"#, #"{"glaunch":{"answerd":[]}}"#, #"{"glaunch":{"answered":3}}"#,
    #"{"info_read":"many"}"#, #"{"info_read":4097}"#, #"{"info_write":0}"#, #"{"probe":"0x10","kind":3}"#,
    #"{"group":[{"op":"r","va":"0x10","size":8,"chan":1,"priv":3}]}"#,
  ])
  func `is refused for what is done`(_ action: String) throws { _ = try error(do: action) }

  @Test(arguments: [
    #""list":7"#, #""list":"zork""#, #""cellar":{}"#, #""mem":3"#, #""mem":[["0x10"]]"#, #""mem":[["0x10","0x1","0x2"]]"#, #""dst":3"#,
    #""dst":{"-1":0}"#, #""dst":{"x":0}"#, #""regs":[]"#, #""exc":"zork""#, #""exc":[3]"#, #""mode":"zork""#, #""mode":3"#,
    #""to":3"#, #""stores":3"#, #""refused":3"#, #""ptr":[]"#, #""value":[]"#, #""reads":"zork""#, #""probe":[3]"#,
  ])
  func `is refused for what is expected`(_ member: String) throws {
    let expect = member.hasPrefix(#""mem""#) ? member : #""mem":[["0x10","0x1"]],"# + member
    let error = try error(do: store, expect: "{\(expect)}")
    let key = try #require(member.split(separator: "\"").first)
    #expect(error.expected.contains("\"\(key)\""), "\(error)")
  }

  @Test func `is refused as a whole`() throws {
    for expect in ["3", "[]", #""zork""#] { #expect(try error(do: store, expect: expect).expected.contains("expect")) }
    #expect(try error(do: store, more: #","start":"zork""#).expected.hasSuffix("at \"start\""))
    #expect(try error(do: store, more: #","dst":3"#).expected.hasSuffix("at \"dst\""))
    #expect(try error(do: store, more: #","dst":{"9223372036854775807":"0x1"}"#).expected.hasSuffix("in \"dst\""))
  }
}
