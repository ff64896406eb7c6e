// Studies: what is counted, in which order, and what is said of the impossible.
import Foundation
import PagingKit
import Testing

@testable import PagingHost

@Suite struct `A workload` {
  @Test func `is a trace, a synthetic program, or the name of a bundled trace`() throws {
    #expect(try Workload("random:pages=7").name == "random:pages=7")
    #expect(Workload.bundled.map(\.name) == ["gcc-cc1", "python-dicts", "sqlite-random"])
    #expect(try Workload("gcc-cc1").text.hasSuffix("/Workloads/gcc-cc1.lackey.xz"))
    let text = try withFile("I  1000,4\n") { file in (file, try Workload(file).text) }
    #expect(text.0 == text.1)
  }

  @Test(arguments: [
    ("random:pages", "NAME=VALUE"), ("random:colour=1", "one of count, start, seed, pages, writes"),
    ("random:pages=0", "1 to"), ("random:pages=many", "1 to"), ("sequential:bytes=8,stride=16", "at least the stride"),
    ("/no/such/trace", "a trace file"),
  ])
  func `that cannot be understood is refused with what was expected`(_ text: String, _ expected: String) {
    #expect {
      _ = try Workload(text)
    } throws: { "\($0)".contains(expected) && "\($0)".contains("found") }
  }

  @Test(arguments: [
    ("1000000", 1_000_000), ("1e6", 1_000_000), ("2.5e3", 2500), ("0x10", 16), ("1_000", 1000),
  ])
  func `counts as people write numbers`(_ text: String, _ value: UInt64) { #expect(CountText.value(text) == value) }

  @Test(arguments: ["", "e6", "1e", "-1", "1.5", "1e99", "1.23e1", "x"])
  func `refuses what is no count`(_ text: String) { #expect(CountText.value(text) == nil) }
}

@Suite struct `A study` {
  private func study(_ workloads: [String], regimes: [String] = [], modes: [String] = ["native"], _ settings: StudySettings = .init()) throws -> Study {
    var study = try Study(
      workloads: workloads.map { try Workload($0) }, architectures: Catalogue.load().architectures, regimes: regimes, modes: modes, settings)
    study.hasTimes = false
    return study
  }

  @Test func `gives one row for each workload and architecture, in order, whatever thread was first`() throws {
    let workloads = ["random:pages=50,count=3000", "sequential:count=500", "chase:pages=20,count=700"]
    var study = try study(workloads)
    study.workers = 4
    let report = study.run()
    let names = architecturesAtHand.map(\.name)
    #expect(report.rows.map(\.workload) == workloads.flatMap { workload in names.map { _ in workload } })
    #expect(report.rows.map(\.architecture) == workloads.flatMap { _ in names })
    #expect(report.rows.allSatisfy { $0.end == .done && !$0.isPartial })
    #expect(report.rows.map(\.programAccesses) == [3000, 500, 700].flatMap { count in names.map { _ in UInt64(count) } })
    study.workers = 1
    let again = study.run()
    #expect(again.json == report.json, "the same command gives the same bytes")
  }

  @Test func `counts what a synthetic program does`() throws {
    for row in try study(["sequential:bytes=40960,stride=4096,count=25"]).run().rows {
      #expect(row.statistics.loads == 25 && row.statistics.lines == 25)
      #expect(row.statistics.distinctPages == 10 && row.statistics.distinctDataPages == 10)
      #expect(row.counter("pagesMapped") == 10)
    }
  }

  @Test func `says why an architecture cannot do something, and runs the others`() throws {
    let settings = StudySettings()
    for row in try study(["random:start=0x7f0000000000,count=100"], settings).run().rows where row.end != .done {
      #expect(row.reason?.contains("wider than") == true)
    }
    var pages = StudySettings()
    pages.pageShift = 27
    for row in try study(["random:count=100"], pages).run().rows {
      #expect(row.end == .impossible(row.reason ?? ""))
      #expect(row.reason?.contains("has no pages of") == true)
    }
    let shadow = try study(["random:count=100"], modes: ["native", "shadow"]).run()
    #expect(shadow.rows.map { $0.end == .done } == architecturesAtHand.flatMap { _ in [true, false] })
    #expect(!shadow.hasFailed)
  }

  @Test func `moves programs that do not fit, if asked`() throws {
    var settings = StudySettings()
    settings.relocates = true
    let narrow = RegimeAtHand.all.filter { UInt32($0.regime.second_format) == 0xff && $0.levels($0.regime.first_format) == 2 && !$0.name.contains("/") }
    #expect(!narrow.isEmpty)
    let report = try study(["random:start=0x7f0000000000,pages=64,count=500"], regimes: Array(Set(narrow.map(\.name))).sorted(), settings).run()
    #expect(report.rows.count == narrow.count)
    for row in report.rows {
      #expect(row.end == .done, "\(row.reason ?? "")")
      #expect(row.counter("pagesMapped") == row.statistics.distinctPages)
    }
  }

  @Test func `ends where it is when nobody wants it any more, and says so`() throws {
    let study = try study(["random:pages=50,count=1e6"])
    let report = study.run(isWanted: { false })
    #expect(report.isPartial)
    #expect(report.json.compact.contains("\"partial\":true"))
  }

  @Test func `counts nothing of what comes before the end of the warm-up`() throws {
    var settings = StudySettings()
    settings.stopAt(9000, warmup: 8000)
    for row in try study(["random:pages=40,count=1e5"], settings).run().rows {
      #expect(row.programAccesses == 1000 && row.allAccesses == 9000)
      #expect(row.counter("pagesMapped") == 0, "all pages were there")
    }
  }

  @Test func `refuses a bad line of a trace with its place, and gives no numbers`() throws {
    try withFile("I  1000,4\n L 2000,8\nrubbish\n") { file in
      for row in try study([file]).run().rows {
        #expect(row.hasFailed)
        #expect(row.reason?.contains("\(file):3: expected") == true)
      }
    }
  }
}

/// Counted by plain lists, outside of this project.
@Suite struct `A trace` {
  private struct Expected: Decodable {
    struct Stream: Decodable {
      let references: UInt64
      let lru64_misses: UInt64
    }
    let instructions, loads, stores, modifies, page_straddling, distinct_4k, distinct_4k_instruction, distinct_4k_data: UInt64
    let instruction_4k, data_4k, unified_4k: Stream
  }

  private func expected(_ name: String) throws -> Expected {
    let file = repositoryFile("Workloads/\(name).stats.json")
    return try JSONDecoder().decode(Expected.self, from: Data(contentsOf: URL(fileURLWithPath: file)))
  }

  @Test(arguments: architecturesAtHand.map(\.name))
  func `has the counts and the LRU misses of its statistics on every architecture`(_ name: String) throws {
    let expected = try expected("sqlite-random")
    var settings = StudySettings()
    settings.stream = .data
    // Pages stay apart when a program is moved into a narrow address space, so every count stays what it is.
    settings.relocates = true
    let only = ["tlb.l1.sets=1", "tlb.l1.ways=64", "tlb.l2.ways=0", "tlb.l1i.ways=0", "tlb.replacement=lru"]
    settings.settings = try only.map { try Setting(assignment: $0) }
    let loaded = try Catalogue.load().architecture(named: name)
    let row = StudyRun(try Workload("sqlite-random"), on: loaded, regime: nil, mode: "native", settings).perform()
    #expect(row.end == .done)
    let all = row.statistics
    #expect([all.instructions, all.loads, all.stores, all.modifies] == [expected.instructions, expected.loads, expected.stores, expected.modifies])
    #expect([all.pageStraddling, all.distinctPages] == [expected.page_straddling, expected.distinct_4k])
    #expect([all.distinctInstructionPages, all.distinctDataPages] == [expected.distinct_4k_instruction, expected.distinct_4k_data])
    // A page's first access is looked up twice: before its fault, and when it is performed again.
    let references = try #require(row.counter("references")), hits = try #require(row.counter("tlbL1Hits"))
    let faults = try #require(row.counter("faults"))
    #expect(references - hits - faults == expected.data_4k.lru64_misses)
  }
}
