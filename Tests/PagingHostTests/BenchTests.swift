// The bench: right counts over the floor's own tables, and what its report says.
import Foundation
import PagingKit
import Testing

@testable import PagingHost

@Suite struct `The bench` {
  /// The floor, built once into a folder of the tests.
  private static let floor = Result { () throws -> String in
    let folder = try LibraryFolder()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["make", "-s", "-C", repositoryFile("Benchmarks/floor"), "OUTPUT=\(folder.path)", "\(folder.path)/libpaging-floor.so"]
    try process.run()
    process.waitUntilExit()
    return folder.file("libpaging-floor.so")
  }

  private func run(_ arguments: String...) throws -> CommandLineRun {
    try paging(["bench", "--floor", try Self.floor.get(), "--count", "5000", "--rounds", "3", "--span", "64MiB"] + arguments)
  }

  @Test func `counts what the floor counts, job by job`() throws {
    let bench = try run("--jobs", "walk4_1GiB,tlb_pwc_rand1GiB,nested4x4_1GiB,tlb_pwc_local", "--json")
    #expect(bench.status == 0, "\(bench.errors)\(bench.output)")
    let results = try #require(try bench.json()["results"] as? [[String: Any]])
    #expect(results.map { $0["job"] as? String } == ["walk4_1GiB", "tlb_pwc_rand1GiB", "tlb_pwc_local", "nested4x4_1GiB"])
    for result in results {
      #expect(result["count"] as? Int == result["expectedCount"] as? Int)
      #expect(result["walks"] as? Int == result["expectedWalks"] as? Int)
      #expect(result["wrongOutputs"] as? Int == 0)
      #expect((result["ratio"] as? Double ?? 0) > 0)
      #expect(result["rounds"] as? Int == 3)
    }
    #expect(results[0]["count"] as? Int == 4 * 5000, "four levels")
    #expect(results[3]["count"] as? Int == 24 * 5000, "four levels on four")
  }

  @Test func `gives the same digest for the same seed, and another for another`() throws {
    func digest(_ seed: String) throws -> String? {
      let json = try run("--jobs", "walk4_1GiB", "--seed", seed, "--json").json()
      return (json["results"] as? [[String: Any]])?.first?["digest"] as? String
    }
    let first = try #require(try digest("7"))
    #expect(try digest("7") == first)
    #expect(try digest("8") != first)
  }

  @Test func `names the jobs that there are`() throws {
    let bench = try run("--jobs", "no_such_job")
    #expect(bench.status == 3)
    #expect(bench.errors.contains("unknown job “no_such_job”") && bench.errors.contains("walk4_1GiB"))
  }

  @Test func `says how the floor is built if it is not there`() throws {
    let bench = try paging("bench", "--floor", "/no/such/floor.so")
    #expect(bench.status == 3)
    #expect(bench.errors.contains("make floor"))
  }

  @Test(arguments: [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)] as [(String, UInt64)])
  func `hashes as Fowler, Noll and Vo do`(_ text: String, _ value: UInt64) {
    var hash = FNV1a()
    Array(text.utf8).withUnsafeBytes { hash.add($0) }
    #expect(hash.value == value)
  }
}
