import CPagingKit
import PagingKit
import Synchronization
import Testing

@testable import PagingHost

private struct NoSuchArchitecture: Error, CustomStringConvertible {
  let name: String
  var description: String { "no back end \(name); there is onelevel" }
}

private func verify(_ texts: [String], _ options: [(name: String, value: String)] = [], workers: Int = 1) -> VectorReport {
  let files = texts.map { TemporaryFile($0) }
  return withExtendedLifetime(files) {
    VectorRunner.verify(files: files.map(\.path), settings: VectorSettings(options: options, workers: workers)) { name in
      guard name == "onelevel" else { throw NoSuchArchitecture(name: name) }
      return OneLevelMachine.architecture
    }
  }
}

private func header(_ more: String = "") -> String {
  #"{"format":"paging-vectors/1","arch":"onelevel","mode":"any","seed":7,"ram":[["0x0","0x4000000"],["0x80000000","0x80100000"]]\#(more)}"# + "\n"
}

/// Root at 0x1000; page 0 maps 0x5000 writable, page 1 maps 0x6000 read-only, page 2 is held back, page 3 absent.
private func vector(
  _ accesses: String, regs: String = #"{"root":"0x1000"}"#, more: String = ""
) -> String {
  #"{"id":"a/1","mode":"any","mut":["x"],"regs":\#(regs),"# + more
    + #""mem":[["0x1000","0x5003"],["0x1008","0x6001"],["0x1010","0x7005"],["0x1020","0x8003"]],"accesses":[\#(accesses)]}"# + "\n"
}

private let good = #"""
  {"va":"0x123","op":"w","priv":"low","size":4,"expect":{"pa":"0x5123","reads":1},"mem_after":[["0x1000","0x500b"]]},
  {"va":"0x1008","op":"w","priv":"high","size":8,"expect":{"fault":15,"addr":"0x1008","code":"0x2"},"mem_after":[],"mem_after_eager":[["0x1008","0x6009"]]},
  {"va":"0x3010","op":"x","priv":"low","size":1,"expect":{"fault":["absent"]},"quirks":["none"]},
  {"va":"0x2010","op":"r","priv":"low","size":2,"expect":{"held-back":{"info":"0x7fff","mask":"0x5","gpa":"0x7010","linear":"0x2010","mask_more":"0x45"}}},
  {"va":"0x3010","op":"r","priv":"low","size":2,"spec":1,"expect":{"diagnostic":true}},
  {"va":"0x10","op":"r","priv":"high","insn":"probe","size":2,"expect":{"intercept":"blocked"}},
  {"va":"0x10","op":"r","priv":"high","size":2,"lane":"0x3","expect":{"fault":"blocked"}},
  {"va":"0x4010","op":"r","priv":"high","size":2,"expect":{"pa":"0x8010","gpa":"0x8010"},"mem_after":[["0x1020","0x800b"]]}
  """#.split(separator: "\n").joined()

@Suite struct `A vector file` {
  @Test func `sets everything by name and agrees with a back end that is right`() {
    let report = verify([header() + vector(good) + "\n" + vector(good)])
    #expect(report.failures.isEmpty && report.unsupported.isEmpty)
    #expect(report.shown.map(\.description) == [])
    #expect(report.totals == "2 cases, 16 accesses, 0 differences")
    #expect(report.exitStatus == 0)
  }

  @Test func `may name words in all of a sparse memory`() {
    let far = vector(good, regs: #"{"root":"0xffffffff00001000"}"#).replacing(#"["0x10"#, with: #"["0xffffffff000010"#)
    let sparse = header().replacing(#"[["0x0","0x4000000"],["0x80000000","0x80100000"]]"#, with: #""sparse""#)
    let report = verify([sparse + far + far])
    #expect(report.failures.isEmpty && report.unsupported.isEmpty)
    #expect(report.shown.map(\.description) == [])
    #expect(report.cases == 2)
    let strays = verify([sparse + far], [("bug", "stray")]).shown.flatMap(\.items).map(\.quantity)
    #expect(strays.contains("memory 0xffffffff00001018, which the case does not name"))
  }

  @Test func `gives windows as start and end, or as base and length`() throws {
    func windows(_ ram: String) throws -> [Range<UInt64>] {
      let text = #"{"format":"paging-vectors/1","arch":"a","ram":\#(ram)}"# + "\n"
      let header = try parsed(text) { (root) throws in try VectorHeader(root) }
      guard case .windows(let windows) = header.memory else { return [] }
      return windows
    }
    #expect(try windows(#"[["0x40000000","0x44000000"],["0x0","0x1000"]]"#) == [0..<0x1000, 0x4000_0000..<0x4400_0000])
    #expect(try windows(#"[["0x80000000","0x4000000"],["0x240000000","0x1000000"]]"#)
      == [0x8000_0000..<0x8400_0000, 0x2_4000_0000..<0x2_4100_0000])
    // One pair can only be a base with a length, so all are.
    #expect(try windows(#"[["0x1000","0x10000"],["0x80000000","0x1000"]]"#) == [0x1000..<0x11000, 0x8000_0000..<0x8000_1000])
  }

  @Test func `takes options from header, case and user, the last over the others`() {
    let narrow = #"{"va":"0x123","op":"r","priv":"low","size":4,"expect":{"pa":"0x123"},"mem_after":[["0x1000","0x500b"]]}"#
    #expect(verify([header(#","width":12"#) + vector(narrow)]).totals == "1 cases, 1 accesses, 0 differences")
    #expect(verify([header() + vector(narrow, more: #""width":"0xc","#)]).totals == "1 cases, 1 accesses, 0 differences")
    #expect(verify([header(#","width":40"#) + vector(narrow)], [("width", "12")]).differences == 0)
    #expect(verify([header(#","width":12"#) + vector(narrow, more: #""width":40,"#)]).differences == 1)
    let unknown = verify([header() + vector(good)], [("widht", "12")])
    #expect(unknown.failures.map(\.description) == ["\(unknown.files[0].file): no option widht"])
    #expect(unknown.exitStatus == 3)
  }

  @Test func `expects what belongs to the policy in force`() {
    #expect(verify([header() + vector(good)], [("ad_policy", "eager")]).differences == 0)
    #expect(verify([header(#","ad_policy":"eager""#) + vector(good)]).differences == 0)
    let variant = #"{"va":"0x1008","op":"w","priv":"high","size":8,"expect":{"pa":"0x0"},"expect_eager":{"fault":15},"mem_after_eager":[["0x1008","0x6009"]]}"#
    #expect(verify([header() + vector(variant)], [("ad_policy", "eager")]).differences == 0)
    #expect(verify([header() + vector(variant)]).differences == 1)
  }

  @Test func `compares more bits of a word where the unit has a feature`() {
    #expect(verify([header() + vector(good)], [("held.more", "true")]).totals == "1 cases, 8 accesses, 0 differences")
    #expect(verify([header(#","held":{"more":true}"#) + vector(good)]).differences == 0)
    let other = good.replacing(#""info":"0x7fff""#, with: #""info":"0x7fbf""#)
    #expect(verify([header() + vector(other)]).differences == 0)
    let told = verify([header() + vector(other)], [("held.more", "true")])
    #expect(told.shown.flatMap(\.items).map(\.quantity) == ["info in the bits 0x45"])
    let unknown = verify([header() + vector(good.replacing("mask_more", with: "mask_less"))])
    #expect(unknown.unsupported.keys.contains { $0.contains("mask_less") })
  }

  @Test func `loads registers of nested objects and lists together with the others`() {
    let access = #"{"va":"0x123","op":"r","priv":"low","size":4,"expect":{"pa":"0x45123","gpa":"0x5123"},"mem_after":[["0x1000","0x500b"]]}"#
    let report = verify([header() + vector(access, more: #""aux":{"offset":"0x40000"},"#)])
    #expect(report.shown.map(\.description) == [])
    #expect(report.totals == "1 cases, 1 accesses, 0 differences")
  }

  @Test func `compares a load of registers that faults, and its accesses with it`() {
    let access = #"{"va":"0x123","op":"r","priv":"low","size":4,"expect":{"fault":14,"code":"0x7"}}"#
    let load = #""load":{"fault":14,"code":"0x7"},"#
    let regs = #"{"root":"0x1001"}"#
    #expect(verify([header() + vector(access, regs: regs, more: load)]).totals == "1 cases, 1 accesses, 0 differences")
    #expect(verify([header() + vector(access, regs: regs)]).differences == 1)
    #expect(verify([header() + vector(access, more: load)]).differences == 1)
    let refused = verify([header() + vector(access, regs: #"{"root":"0x1002"}"#, more: load)])
    #expect(refused.differences == 1)
    #expect(refused.shown.first?.items.first?.found == "a refusal: root bit 1 is unknown")
  }
}

@Suite struct `A difference from a vector` {
  private func items(_ bug: String) -> [[String]] {
    verify([header() + vector(good)], [("bug", bug)]).shown.map { difference in
      difference.items.map { "\(difference.access.map(String.init) ?? "-") \($0.quantity): \($0.expected), \($0.found)" }
    }
  }

  @Test func `names every quantity with expected and found`() {
    #expect(items("output") == [["0 pa: 0x5123, 0x5124"], ["7 pa: 0x8010, 0x8011"]])
    #expect(items("words") == [["1 code: 0x2, 0x42"]])
    #expect(items("outcome") == [[
      "1 outcome: fault 15, addr 0x1008, code 0x2, absent (14), address 0x1008, code 0x2, info 0x6001, gpa 0x6008"
    ]])
  }

  @Test func `in memory is reported once, and the case goes on from what was expected`() {
    #expect(items("update") == [["0 memory 0x1000: 0x500b, 0x5003"], ["7 memory 0x1020: 0x800b, 0x8003"]])
  }

  @Test func `in a word that the case does not name is found after the case`() {
    let stray = items("stray").flatMap { $0 }.filter { $0.hasPrefix("-") }
    #expect(stray == ["- memory 0x1018, which the case does not name: 0x0, 0xbad", "- memory 0x1028, which the case does not name: 0x0, 0xbad"])
    // And does not reach the next case.
    #expect(verify([header() + vector(good) + vector(good)], [("bug", "stray")]).differences
      == 2 * verify([header() + vector(good)], [("bug", "stray")]).differences)
  }

  @Test func `tells file, line, case and access`() throws {
    let report = verify([header() + vector(good) + vector(good)], [("bug", "words")])
    let last = try #require(report.shown.last)
    #expect(last.description == """
      \(report.files[0].file):3: a/1, access 1 (w 0x1008 high, 8 bytes)
        code: expected 0x2, found 0x42
      """)
    #expect(report.exitStatus == 1)
  }

  @Test func `is counted beyond the first ten that are shown`() {
    let report = verify([header() + vector(good)] + [header() + String(repeating: vector(good), count: 30)], [("bug", "words")], workers: 2)
    #expect(report.totals == "31 cases, 248 accesses, 31 differences")
    #expect(report.shown.count == 10)
    #expect(report.shown.first?.file == report.files[0].file)
    #expect(report.shown.dropFirst().allSatisfy { $0.file == report.files[1].file })
  }
}

@Suite struct `What was found for an access` {
  @Test func `has a guest-physical address as a raw word, or beside the words, or not at all`() {
    var found = VectorFound()
    var listed = pgk_listed_v1()
    listed.word_count = 2
    listed.words.1 = 0x1234
    listed.guest_physical = 0x5678
    found.listed = listed
    #expect(found.value(of: .guestPhysical, gpaWord: WordPart(word: 1)) == 0x1234)
    #expect(found.value(of: .guestPhysical, gpaWord: nil) == nil)
    found.listed?.flags = UInt8(PGK_LISTED_HAS_GUEST_PHYSICAL)
    #expect(found.value(of: .guestPhysical, gpaWord: nil) == 0x5678)
    #expect(found.value(of: .guestPhysical, gpaWord: WordPart(word: 2)) == 0x5678)
  }
}

@Suite struct `A verification` {
  @Test func `keeps the order of its files, however many run at a time`() {
    let texts = (1...9).map { count in header() + String(repeating: vector(good), count: count * 7 % 10) }
    let report = verify(texts, workers: 4)
    #expect(report.files.map(\.cases) == (1...9).map { UInt64($0 * 7 % 10) })
    #expect(report.differences == 0)
  }

  @Test func `says how many files are done, and stops when asked`() {
    let text = header() + String(repeating: vector(good), count: 1000)
    let calls = Mutex<[Int]>([])
    let report = withFile(text) { path in
      VectorRunner.verify(
        files: [path, path], settings: VectorSettings(workers: 1),
        progress: { done, all in calls.withLock { $0 += [done, all] } }, shouldStop: { true }
      ) { _ in OneLevelMachine.architecture }
    }
    #expect(calls.withLock { $0 } == [1, 2, 2, 2])
    #expect(report.isPartial)
    #expect(report.cases > 0 && report.cases < 2000 && report.accesses == report.cases * 8)
  }
}

@Suite struct `A malformed vector file` {
  private func error(_ text: String) -> InputError? {
    let report = verify([text])
    guard case .input(let error)? = report.files[0].failure else {
      Issue.record("no input error for \(text): \(report.totals), \(report.unsupported)")
      return nil
    }
    return error
  }

  @Test func `is refused in the header`() {
    #expect(error("")?.found == "an empty file")
    #expect(error("{}\n")?.expected == "format \"paging-vectors/1\"")
    #expect(error(#"{"format":"paging-vectors/2","arch":"onelevel","ram":"sparse"}"#)?.found == "\"paging-vectors/2\"")
    #expect(error(#"{"format":"paging-vectors/1","ram":"sparse"}"#)?.expected == "a header with \"arch\"")
    for ram in [#""dense""#, "[]", #"[["0x0"]]"#, #"[["0x0","0x11"]]"#, #"[["0x0","0x40"],["0x20","0x60"]]"#, #"[["0xfffffffffffffff0","0x20"]]"#] {
      #expect(error(#"{"format":"paging-vectors/1","arch":"onelevel","ram":\#(ram)}"#)?.place == .line(1), "\(ram)")
    }
  }

  @Test func `is refused at the line, and the cases before it count`() {
    let report = verify([header() + vector(good) + "{\"id\":\n" + vector(good)])
    #expect(report.totals == "1 cases, 8 accesses, 0 differences")
    #expect(report.failures.map(\.description) == [
      "\(report.files[0].file):3: expected a JSON value at byte 6 of the line, found the end of the line"
    ])
    #expect(report.exitStatus == 3)
  }

  @Test func `says what was expected, and runs nothing of the case`() {
    let access = #"{"va":"0x123","op":"w","priv":"low","size":4,"expect":{"pa":"0x5123"},"mem_after":[["0x1000","0x500b"]]}"#
    let wrong: [(String, String, String)] = [
      (#""va":"0x123","#, "", "an access with \"va\""), (#""0x123""#, #""123""#, "a number or text such as \"0x1000\" at \"va\""),
      (#""0x123""#, "-1", "a number or text such as \"0x1000\" at \"va\""),
      (#""0x123""#, #""0x11112222333344445""#, "a number or text such as \"0x1000\" at \"va\""),
      (#""op":"w""#, #""op":"q""#, "\"r\", \"w\" or \"x\" at \"op\""), (#""size":4"#, #""size":3"#, "1, 2, 4, 8 or 16 at \"size\""),
      (#""size":4"#, #""size":32"#, "1, 2, 4, 8 or 16 at \"size\""), (#""low""#, "1", "a name at \"priv\""),
      (#"{"pa":"0x5123"}"#, "{}", "an expectation with \"pa\", \"fault\" or another outcome"),
      (#"{"pa":"0x5123"}"#, #"{"pa":"0x5123","fault":14}"#, "one outcome in an expectation"),
      (#"{"pa":"0x5123"}"#, "3", "an object, one expectation"), (#"{"pa":"0x5123"}"#, #"{"fault":["a","b"]}"#, "a number or one name at \"fault\""),
      (#"[["0x1000","0x500b"]]"#, #"[["0x1004","0x1"]]"#, "the address of an 8-byte word in \"ram\""),
      (#"[["0x1000","0x500b"]]"#, #"[["0x4000000","0x1"]]"#, "the address of an 8-byte word in \"ram\""),
      (#"[["0x1000","0x500b"]]"#, #"[["0x1000"]]"#, "[address, word]"), (#"[["0x1000","0x500b"]]"#, "{}", "a list of [address, word]"),
    ]
    for (piece, replacement, expected) in wrong {
      let error = error(header() + vector(access + "," + access.replacing(piece, with: replacement)))
      #expect(error?.place == .line(2) && error?.expected == expected, "\(replacement): \(String(describing: error))")
    }
    #expect(verify([header() + vector("3")]).accesses == 0)
    #expect(error(header() + #"{"id":"x"}"#)?.expected == "a case with a list \"accesses\"")
    #expect(error(header() + "[]")?.expected == "an object, one case")
    #expect(error(header() + vector(access, regs: #"{"root":"soon"}"#))?.expected == "a number or text such as \"0x1000\" at \"root\"")
  }

  @Test func `with names that the back end lacks is skipped by case, and says which`() {
    let access = #"{"va":"0x123","op":"w","priv":"low","size":4,"expect":{"pa":"0x5123"},"mem_after":[["0x1000","0x500b"]]}"#
    let lacking: [(String, String, String)] = [
      (#""low""#, #""middle""#, "a privilege \"middle\""), (#""size":4"#, #""size":4,"insn":"jump""#, "a privilege \"low.jump\""),
      (#""size":4"#, #""size":4,"sise":4"#, "accesses with \"sise\""), (#"{"pa":"0x5123"}"#, #"{"fault":99}"#, "an outcome numbered 99"),
      (#"{"pa":"0x5123"}"#, #"{"intercept":"odd"}"#, "an outcome \"odd\""), (#"{"pa":"0x5123"}"#, #"{"fault":14,"odd":1}"#, "a raw word \"odd\""),
    ]
    for (piece, replacement, reason) in lacking {
      let report = verify([header() + vector(access) + vector(access.replacing(piece, with: replacement))])
      #expect(report.unsupported == [reason: 1])
      #expect(report.totals == "1 cases, 1 accesses, 0 differences")
      #expect(report.exitStatus == 3)
    }
    #expect(verify([header() + vector(access, regs: #"{"odd":1}"#)]).unsupported == ["a register or option \"odd\"": 1])
    #expect(verify([header() + vector(access, more: #""aux":{"odd":1},"#)]).unsupported == ["a register or option \"aux.odd\"": 1])
    #expect(verify([header(#","kind":"odd""#) + vector(access)]).unsupported == ["cases of kind \"odd\"": 1])
    #expect(
      verify([header(#","kind":"scenario""#) + vector(access)]).unsupported == ["scenarios whose \"ram\" is not \"sparse\"": 1])
  }

  @Test(arguments: 0..<8 as Range<UInt64>)
  func `ends in counts and messages however it is damaged`(_ seed: UInt64) {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    let whole = Array((header() + vector(good) + vector(good, more: #""aux":{"offset":"0x40000"},"width":36,"#)).utf8)
    let pieces = Array(#"{}[]",:0x9f\ue"#.utf8) + [0x00, 0x0a, 0x80, 0xff]
    for _ in 0..<100 {
      var bytes = whole
      for _ in 0...random(4) {
        switch random(4) {
        case 0: bytes[random(bytes.count)] = pieces[random(pieces.count)]
        case 1: bytes.remove(at: random(bytes.count))
        case 2: bytes.insert(pieces[random(pieces.count)], at: random(bytes.count))
        default: bytes.removeSubrange(random(bytes.count)...)
        }
        if bytes.isEmpty { break }
      }
      let report = withFile(bytes) { path in
        VectorRunner.verify(files: [path], settings: VectorSettings(workers: 1)) { _ in OneLevelMachine.architecture }
      }
      #expect(report.cases <= 3 && report.accesses <= 24)
    }
  }

  @Test func `for an architecture that is not there says which there are`() {
    let report = verify([header().replacing("onelevel", with: "twolevel") + vector(good), header() + vector(good)])
    #expect(report.failures.map(\.description) == ["\(report.files[0].file): no back end twolevel; there is onelevel"])
    #expect(report.cases == 1)
  }
}

@Suite struct `A damaged file of scenarios` {
  @Test(arguments: 0..<12 as Range<UInt64>)
  func `ends in counts and messages`(_ seed: UInt64) throws {
    let whole = try content(of: repositoryFile("Tests/Fixtures/vectors/elbrus-scenarios.jsonl.xz"))
    let lines = whole.split(separator: UInt8(ascii: "\n"))
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    let catalogue = Catalogue.load()
    for _ in 0..<20 {
      var line = Array(lines[1 + random(lines.count - 1)])
      for _ in 0..<(1 + random(3)) { line[random(line.count)] = Array("0123456789abcdefx{}[],:\"".utf8)[random(24)] }
      let report = withFile(Array(lines[0]) + [10] + line + [10]) { path in
        VectorRunner.verify(files: [path], settings: VectorSettings(workers: 1)) { try catalogue.architecture(named: $0).architecture }
      }
      #expect(report.cases + report.unsupported.values.reduce(0, +) + UInt64(report.failures.count) == 1)
    }
  }
}
