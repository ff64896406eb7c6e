// paging walk over every regime, without input and with all kinds of it.
import CPagingKit
import Foundation
import PagingHost
import PagingKit
import Testing

/// A regime of an architecture at hand.
struct RegimeAtHand: CustomTestStringConvertible, Sendable {
  let architecture: Architecture
  let index: Int

  var regime: pgk_regime_v1 { architecture.regimes[index] }
  var name: String { String(cString: regime.name) }
  var testDescription: String { "\(architecture.name) \(name)" }

  static let all = architecturesAtHand.flatMap { architecture in
    architecture.regimes.indices.map { RegimeAtHand(architecture: architecture, index: $0) }
  }

  func levels(_ format: UInt8) -> Int { UInt32(format) == PGK_NO_FORMAT ? 0 : architecture.formats[Int(format)].level_count }
}

@Suite struct `paging walk` {
  private func steps(_ json: [String: Any]) throws -> [[String: Any]] { try #require(json["steps"] as? [[String: Any]]) }
  private func result(_ json: [String: Any]) throws -> [String: Any] { try #require(json["result"] as? [String: Any]) }

  @Test(arguments: RegimeAtHand.all)
  func `shows a walk of every regime without any input`(_ at: RegimeAtHand) throws {
    let run = try paging("walk", "--arch", at.architecture.name, "--regime", at.name, "0x1234567", "--json")
    #expect(run.status == 0, "\(run.errors)\(run.output)")
    guard run.status == 0 else { return }
    let json = try run.json()
    let found = try #require(RegimeAtHand.all.first { $0.architecture.name == at.architecture.name && $0.name == json["regime"] as? String })
    #expect(found.regime.first_format == at.regime.first_format && found.regime.second_format == at.regime.second_format)
    let reads = try steps(json).filter { $0["read"] != nil }
    #expect(try result(json)["entryReads"] as? Int == reads.count)
    let (g, h) = (at.levels(at.regime.first_format), at.levels(at.regime.second_format))
    #expect(reads.count <= (g + 1) * (h + 1) - 1)
    // A root of a few entries may be in registers, and not be read by the walk.
    #expect(reads.count >= max(0, (max(g, 1) - 1 + 1) * (max(h, 1) - 1 + 1) - 1))
  }

  @Test func `reads 24 entries for four levels on four, as a grid`() throws {
    let run = try paging("walk", "--arch", "x86", "--regime", "4level/npt-4level", "0x7f1234567000")
    #expect(run.status == 0)
    #expect(run.output.contains("24 entries read"))
    #expect(run.output.contains("24. "))
    #expect(!run.output.contains("25. "))
    #expect(run.output.contains("reads for"))
  }

  @Test func `says for which entry the second stage refused, and reads none in its place`() throws {
    let arguments = ["walk", "--arch", "x86", "--regime", "4level/ept4", "0x7f1234567000", "--reg", "ept.eptp=0x1005e"]
    let run = try paging(arguments)
    #expect(run.status == 1)
    #expect(run.output.contains("1 entry read"))
    #expect(run.output.contains("EPT Misconfigurations"))
    let row = try #require(run.output.split(separator: "\n").first { $0.hasPrefix("a first-stage entry ") })
    #expect(row.hasSuffix(" 1") && row.contains("0x10000"))
    #expect(!run.output.contains("the access "))
    let steps = try steps(paging(arguments + ["--json"]).json())
    #expect(steps.count { $0["read"] != nil } == 1)
    // Nothing was read at all where the address is too wide.
    let wide = try paging("walk", "--arch", "x86", "--regime", "4level/npt-pae", "0x1000", "--reg", "cr3=0x100000000")
    #expect(wide.status == 1 && wide.output.contains("wider than the second stage") && wide.output.contains("0 entries read"))
  }

  @Test(arguments: [
    ("2level", "32-Bit Paging"), ("pae", "PAE Paging"), ("4level", "4-Level Paging and 5-Level Paging"),
    ("bare/npt-4level", "Nested Table Walk"), ("bare/ept5", "EPT Translation Mechanism"), ("bare", "Paging Modes and Control Bits"),
  ])
  func `cites the section of the structure that an entry stands in`(_ regime: String, _ section: String) throws {
    let steps = try steps(paging("walk", "--arch", "x86", "--regime", regime, "0x1000", "--json").json())
    #expect(steps.contains { ($0["section"] as? String)?.contains(section) == true })
    #expect(regime.contains("/") || regime == "4level" || !steps.contains { ($0["section"] as? String)?.contains("4-Level") == true })
  }

  @Test func `decodes every field by the manual's name and says which rule decided`() throws {
    let json = try paging("walk", "--arch", "x86", "--regime", "4level", "0x7f1234567000", "--json").json()
    let steps = try steps(json)
    #expect(steps.prefix(4).map { $0["entryName"] as? String } == ["PML4E", "PDPTE", "PDE", "PTE"])
    let fields = try #require(steps[0]["fields"] as? [[String: Any]])
    #expect(fields.map { $0["name"] as? String }.contains("U/S"))
    #expect(steps.allSatisfy { ($0["rule"] as? String)?.isEmpty == false && ($0["section"] as? String)?.isEmpty == false })
  }

  @Test func `walks given memory from a given root, and ends with 1 at a hole`() throws {
    let words = ["0x1000=0x2007", "0x2000=0x3007", "0x3000=0x4007", "0x4008=0x5007"].flatMap { ["--word", $0] }
    let arguments = ["walk", "--arch", "x86", "--regime", "4level", "--root", "0x1000"] + words
    let found = try paging(arguments + ["0x1abc", "--json"])
    #expect(found.status == 0)
    #expect(try result(found.json())["output"] as? String == "0x5abc")
    let absent = try paging(arguments + ["0x2000"])
    #expect(absent.status == 1)
    #expect(absent.output.contains("fault: page_fault"))
    #expect(absent.output.contains("address 0x2000"))
  }

  @Test func `walks an image, and never writes to its file`() throws {
    var image = [UInt8](repeating: 0, count: 0x4000)
    func put(_ value: UInt64, _ place: Int) { for i in 0..<8 { image[place + i] = UInt8(truncatingIfNeeded: value >> UInt64(8 * i)) } }
    for (place, value) in [(0x0, 0x11007), (0x1000, 0x12007), (0x2000, 0x13007), (0x3000, 0x77007)] as [(Int, UInt64)] { put(value, place) }
    try withFile(image) { file in
      let run = try paging("walk", "--arch", "x86", "--image", "\(file)@0x10000", "--root", "0x10000", "--op", "w", "0x123", "--json")
      #expect(run.status == 0, "\(run.errors)")
      #expect(try result(run.json())["output"] as? String == "0x77123")
      #expect(try Array(Data(contentsOf: URL(fileURLWithPath: file))) == image)
    }
  }

  @Test func `takes registers and memory from a golden vector`() throws {
    let file = repositoryFile("Tests/Fixtures/vectors/x86-4level.jsonl.xz")
    let list = try paging("walk", "--vector", "\(file):no/such/case")
    #expect(list.status == 3)
    #expect(list.errors.contains("no/such/case"))
    let first = try #require(try firstCaseID(file))
    let run = try paging("walk", "--vector", "\(file):\(first):0")
    #expect(run.status == 0 || run.status == 1)
    #expect(run.output.contains("case \(first)"))
    let beyond = try paging("walk", "--vector", "\(file):\(first):999")
    #expect(beyond.status == 3)
    #expect(beyond.errors.contains("expected an access from 0 to"))
  }

  private func firstCaseID(_ file: String) throws -> String? {
    let source = try ByteSource(path: file)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)
    defer { buffer.deallocate() }
    let count = try source.read(into: buffer)
    let text = String(decoding: buffer[..<count], as: UTF8.self)
    guard let start = text.firstRange(of: "{\"id\":\"") else { return nil }
    return text[start.upperBound...].firstIndex(of: "\"").map { String(text[start.upperBound..<$0]) }
  }

  @Test(arguments: [
    (["--regime", "no-such"], "unknown regime"), (["--reg", "no-such=1"], "unknown register"),
    (["--priv", "no-such"], "unknown privilege"), (["--set", "no.such=1"], "no.such"),
  ])
  func `names what is valid where a name is not`(_ arguments: [String], _ message: String) throws {
    let run = try paging(["walk", "--arch", architecturesAtHand[0].name, "0"] + arguments)
    #expect(run.status == 3)
    #expect(run.errors.contains(message))
  }

  @Test(arguments: architecturesAtHand.map(\.name))
  func `finds the translation in a TLB once the address is warm`(_ name: String) throws {
    let json = try paging("walk", "--arch", name, "0x1234567", "--warm", "--json").json()
    #expect(try result(json)["entryReads"] as? Int == 0)
    #expect(try steps(json).map { $0["kind"] as? String } == ["tlb hit"])
  }
}
