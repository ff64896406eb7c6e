// What every verb promises: exit status, errors that name what is valid, JSON that parses.
import Foundation
import PagingHost
import PagingKit
import Testing

@Suite struct `The command line` {
  static let verbs = ["arch", "walk", "call", "run", "compare", "verify", "explain-intercept", "bench"]

  @Test(arguments: verbs)
  func `explains every verb with an example and ends well`(_ verb: String) throws {
    let run = try paging(verb, "--help")
    #expect(run.status == 0)
    #expect(run.output.contains("Example"))
    #expect(run.output.contains("paging \(verb)"))
    #expect(run.output.contains("--json"))
    #expect(!run.output.contains("{"), "an example still has its mark")
  }

  @Test(arguments: [["no-such-verb"], ["arch", "--no-such-flag"], ["walk", "--arch", "x", "12z"], ["walk", "0"], ["verify"]])
  func `ends with 2 for what it cannot understand`(_ arguments: [String]) throws {
    let run = try paging(arguments)
    #expect(run.status == 2)
    #expect(run.output.isEmpty)
    #expect(run.errors.contains("Usage: paging"))
  }

  @Test(arguments: [["arch", "nowhere"], ["walk", "--arch", "nowhere", "0"], ["call", "nowhere"]])
  func `names the architectures that there are`(_ arguments: [String]) throws {
    let run = try paging(arguments)
    #expect(run.status == 3)
    #expect(run.errors.contains("unknown architecture “nowhere”"))
    for architecture in architecturesAtHand { #expect(run.errors.contains(architecture.name)) }
  }

  @Test func `ends with 3 for a library that was asked for and is bad, and still works with the others`() throws {
    let run = try withFile("no library") { try paging("arch", "--plugin", $0) }
    #expect(run.status == 3)
    #expect(run.errors.contains("expected a dynamic library"))
    for architecture in architecturesAtHand { #expect(run.output.contains(architecture.title)) }
  }

  @Test func `only warns of a bad library that it merely finds`() throws {
    let folder = try LibraryFolder()
    _ = try folder.write("no library".utf8, to: "libArch-bad.so")
    let run = try paging("arch", environment: ["PAGINGKIT_PLUGIN_PATH": folder.path])
    #expect(run.status == 0)
    #expect(run.errors.contains("warning"))
    #expect(run.errors.contains("libArch-bad.so"))
  }

  @Test func `does not end as if its results had been written when they could not be`() throws {
    let run = try paging(["arch", "x86"], outputFile: "/dev/full")
    #expect(run.status == 3)
    #expect(run.errors.hasPrefix("paging: standard output: expected to write the results"))
  }

  @Test func `prints nothing that steers a terminal when it is piped`() throws {
    let run = try paging("arch")
    #expect(!run.output.contains("\u{1b}") && !run.errors.contains("\u{1b}"))
  }
}

@Suite struct `paging arch` {
  @Test func `lists what it found as JSON`() throws {
    let list = try #require(try paging("arch", "--json").json()["architectures"] as? [[String: Any]])
    #expect(list.compactMap { $0["name"] as? String } == architecturesAtHand.map(\.name))
    for entry in list { #expect((entry["file"] as? String)?.hasSuffix(".so") == true) }
  }

  @Test(arguments: architecturesAtHand.map(\.name))
  func `describes an architecture in full, the same in both forms`(_ name: String) throws {
    let json = try paging("arch", name, "--json").json()
    let text = try paging("arch", name).output
    for part in ["formats", "regimes", "registers", "options", "privileges", "outcomes", "words", "counters", "operations"] {
      let items = try #require(json[part] as? [[String: Any]], "\(part) are missing")
      for item in items {
        let name = try #require(item["name"] as? String)
        #expect(text.contains(name), "the text lacks \(name) of \(part)")
      }
    }
  }

  @Test(arguments: architecturesAtHand.map(\.name))
  func `prints fields that tile the entry`(_ name: String) throws {
    for format in try #require(try paging("arch", name, "--json").json()["formats"] as? [[String: Any]]) {
      let bits = try #require(format["entryBytes"] as? Int) * 8
      for layout in try #require(format["layouts"] as? [[String: Any]]) {
        let fields = try #require(layout["fields"] as? [[String: Any]])
        let widths = fields.map { ($0["high"] as! Int) - ($0["low"] as! Int) + 1 }
        #expect(widths.reduce(0, +) == bits, "\(layout["name"]!) of \(format["name"]!)")
      }
    }
  }
}

@Suite struct `paging call` {
  @Test(arguments: architecturesAtHand.map(\.name))
  func `lists the operations of an architecture`(_ name: String) throws {
    let run = try paging("call", name)
    #expect(run.status == 0)
    let architecture = try #require(architecturesAtHand.first { $0.name == name })
    for operation in OperationEncoder.names(of: architecture) { #expect(run.output.contains(operation)) }
  }

  @Test(arguments: architecturesAtHand.filter { !$0.encoders.isEmpty }.map(\.name))
  func `refuses a wrong operation with the valid ones, and wrong arguments with those expected`(_ name: String) throws {
    let architecture = try #require(architecturesAtHand.first { $0.name == name })
    let operation = OperationEncoder.names(of: architecture)[0]
    let unknown = try paging("call", name, "no-such-operation")
    #expect(unknown.status == 3)
    #expect(unknown.errors.contains("unknown operation “no-such-operation”"))
    let wrong = try paging(["call", name, operation] + (0..<9).map { "\($0)" })
    #expect(wrong.status == 2)
    #expect(wrong.errors.contains("expected “\(operation) "))
  }

  @Test func `shows what a register write changes`() throws {
    let json = try paging("call", "x86", "mov_to_cr3", "0x5000", "--json").json()
    #expect(json["outcome"] as? String == "finished")
    let registers = try #require(json["registers"] as? [String: [String: String]])
    #expect(registers["cr3"] == ["old": "0x0", "new": "0x5000"])
  }
}

@Suite struct `paging verify` {
  private static let vectors = repositoryFile("Tests/Fixtures/vectors/x86-4level.jsonl.xz")

  @Test func `ends with the totals and 0 where nothing differs`() throws {
    let run = try paging("verify", Self.vectors)
    #expect(run.status == 0)
    #expect(run.lastLine == "700 cases, 2451 accesses, 0 differences")
  }

  @Test func `prints a difference in full and ends with 1`() throws {
    let text = """
      {"format":"paging-vectors/1","arch":"x86","ram":[["0x0","0x100000"]]}
      {"id":"case-1","regs":{"cr0":"0x80010031","cr3":"0x1000","cr4":"0x20","efer":"0xd00","rflags":"0x2"},"mem":[],\
      "accesses":[{"va":"0x1000","op":"r","priv":"user","size":4,"expect":{"pa":"0x7000"}}]}

      """
    let run = try withFile(text) { try paging("verify", $0) }
    #expect(run.status == 1)
    #expect(run.output.contains("case-1, access 0"))
    #expect(run.output.contains("expected"))
    #expect(run.lastLine == "1 cases, 1 accesses, 1 differences")
  }

  @Test func `ends with 3 for a file that is not there or not of the form, and names the place`() throws {
    let absent = try paging("verify", "/no/such/file")
    #expect(absent.status == 3)
    #expect(absent.errors.contains("/no/such/file"))
    let bad = try withFile("{\"format\":\"paging-vectors/1\",\"arch\":\"x86\",\"ram\":\"sparse\"}\nnonsense\n") { try paging("verify", $0) }
    #expect(bad.status == 3)
    #expect(bad.errors.contains(":2: expected"))
  }
}
