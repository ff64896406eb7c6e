// paging run and paging compare as a user types them.
import Foundation
import PagingHost
import Testing

@Suite struct `paging run` {
  private static let trace = "I  04001000,3\n L 1ffefff0,8\n S 1ffefffc,8\n M 20000100,4\nI  04001003,2\n"

  @Test(arguments: architecturesAtHand.map(\.name))
  func `counts a trace from standard input`(_ name: String) throws {
    let run = try paging("run", "-", "--arch", name, "--json", input: Self.trace)
    #expect(run.status == 0, "\(run.errors)")
    let json = try run.json()
    let counts = ["instructions", "loads", "stores", "modifies", "pageStraddling", "distinctPages", "distinctInstructionPages", "distinctDataPages"]
    #expect(counts.map { json[$0] as? Int } == [2, 1, 1, 1, 1, 4, 1, 3])
    #expect(json["programAccesses"] as? Int == 5)
    #expect(json["pagesMapped"] as? Int == 4)
    #expect((json["results"] as? [[String: Any]])?.first?["loads"] as? Int == 1)
    let configuration = try #require(json["configuration"] as? [String: Any])
    let architectures = try #require(configuration["architectures"] as? [String: [String: Any]])
    #expect((architectures[name]?["options"] as? [String: Any])?["tlb.l1.ways"] as? Int == 4)
  }

  @Test func `prints a table of counters`() throws {
    let run = try paging("run", "random:pages=20,count=1000", "--arch", architecturesAtHand[0].name)
    #expect(run.status == 0)
    #expect(run.output.contains("programAccesses") && run.output.contains("1,000"))
    #expect(run.output.contains("million accesses/s"))
  }

  @Test func `takes geometry from a profile and from --set, which stands over it`() throws {
    let profile = "[tlb.l2]\nsets = 128\nways = 12\n[tlb.l1]\nways = 2\n"
    try withFile(profile) { file in
      let run = try paging("run", "random:count=100", "--arch", architecturesAtHand[0].name, "--profile", file, "--set", "tlb.l1.ways=3", "--json")
      let text = run.output
      #expect(run.status == 0, "\(run.errors)")
      #expect(text.contains("\"tlb.l1.ways\": 3") && text.contains("\"tlb.l2.ways\": 12"))
    }
    #expect(try paging("run", "random:count=10", "--arch", architecturesAtHand[0].name, "--profile", "generic").status == 0)
    #expect(try paging("run", "random:count=10", "--arch", architecturesAtHand[0].name, "--profile", "no-such").status == 3)
  }

  @Test func `writes a line for every walk, fault and verdict, and dumps caches`() throws {
    let events = TemporaryFile("")
    let run = try paging("run", "sequential:bytes=8192,stride=4096,count=4", "--arch", "x86", "--events", events.path, "--dump")
    #expect(run.status == 0)
    let lines = try String(contentsOfFile: events.path, encoding: .utf8).split(separator: "\n")
    func count(_ word: String) -> Int { lines.count { $0.split(separator: " ").dropFirst().first == word[...] } }
    #expect(count("walk") == 4, "each page once refused and once found")
    #expect(count("listed") == 2 && count("verdict") == 2 && count("mapped") == 2)
    #expect(run.output.contains("tlb.l1: 2 entries"))
  }

  @Test(arguments: [
    (["no-such-file", "--arch", "x86"], "a trace file"), (["random", "--arch", "x86", "--regime", "no-such"], "no regime no-such"),
    (["random", "--arch", "x86", "--set", "tlb.l9.ways=1"], "tlb.l9.ways"), (["random", "--arch", "x86", "--mode", "shadow"], "not in this version"),
    (["random", "--arch", "x86", "--set", "tlb.l1.ways=9999"], "expected 0 to"),
  ])
  func `ends with 3 and names what is valid`(_ arguments: [String], _ message: String) throws {
    let run = try paging(["run"] + arguments)
    #expect(run.status == 3)
    #expect(run.errors.contains(message))
    #expect(run.output.isEmpty)
  }

  @Test(arguments: [["--stop-at", "x"], ["--page-size", "3KiB"], ["--stream", "code"], ["--set", "novalue"]])
  func `ends with 2 for values of no form`(_ arguments: [String]) throws {
    #expect(try paging(["run", "random", "--arch", "x86"] + arguments).status == 2)
  }

  @Test func `reports what there is when it is interrupted`() throws {
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: (SearchPath.programFolder ?? ".") + "/paging")
    process.arguments = ["run", "random:count=1e12", "--arch", "x86", "--json"]
    process.standardOutput = output
    process.standardError = Pipe()
    try process.run()
    // Long enough to have begun; a run that has not is interrupted by the next signal.
    usleep(1_500_000)
    process.interrupt()
    let text = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    #expect(process.terminationStatus == 130)
    let json = try #require(try JSONSerialization.jsonObject(with: text) as? [String: Any])
    #expect(json["partial"] as? Bool == true)
    #expect((json["programAccesses"] as? Int ?? 0) > 0)
  }
}

@Suite struct `paging compare` {
  @Test func `runs a bundled trace on every architecture`() throws {
    let run = try paging("compare", "--stop-at", "20000", "--json")
    #expect(run.status == 0, "\(run.errors)")
    let results = try #require(try run.json()["results"] as? [[String: Any]])
    #expect(results.map { $0["architecture"] as? String } == architecturesAtHand.map(\.name))
    #expect(results.contains { $0["programAccesses"] as? Int == 20000 })
    for result in results {
      #expect(result["workload"] as? String == "gcc-cc1")
      #expect(result["mode"] as? String == "native")
      // Some have too few bits for it, and say so.
      let isTooNarrow = (result["impossible"] as? String)?.contains("are wider than") == true
      #expect(isTooNarrow || result["programAccesses"] as? Int == 20000)
    }
  }

  @Test func `prints one table, and comma-separated values`() throws {
    let table = try paging("compare", "random:count=1000", "--no-times")
    #expect(table.status == 0)
    for column in ["accesses", "L1 hit", "L2 hit", "walks", "reads/walk", "faults"] { #expect(table.output.contains(column)) }
    let csv = try paging("compare", "random:count=1000", "--csv")
    let lines = csv.output.split(separator: "\n")
    #expect(lines.count == architecturesAtHand.count + 1)
    #expect(lines[0].hasPrefix("workload,architecture,regime,mode,"))
  }

  @Test func `gives the same bytes for the same command`() throws {
    let arguments = ["compare", "random:count=5000", "chase:count=3000", "--json", "--no-times"]
    #expect(try paging(arguments).output == paging(arguments).output)
  }

  @Test func `has a row for what an architecture cannot do`() throws {
    let run = try paging("compare", "random:count=100", "--page-size", "128MiB")
    #expect(run.status == 0)
    for architecture in architecturesAtHand { #expect(run.output.contains("\(architecture.name), native: ")) }
  }

  @Test func `finds its data by PAGINGKIT_DATA_PATH`() throws {
    let folder = try LibraryFolder()
    try FileManager.default.createDirectory(atPath: folder.file("Workloads"), withIntermediateDirectories: true)
    _ = try folder.write("I  1000,4\n".utf8, to: "Workloads/mine.lackey")
    let run = try paging(["compare", "--json"], environment: ["PAGINGKIT_DATA_PATH": folder.path])
    #expect(run.output.contains("\"workload\": \"mine\""))
  }
}
