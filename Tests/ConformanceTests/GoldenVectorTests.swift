import PagingHost
import PagingKit
import Testing

/// Files of `Tests/Fixtures/vectors`; each names its back end, which is loaded as a user's would be.
private let files = ["x86-2level", "x86-pae", "x86-4level", "x86-5level", "x86-ept"]

private let catalogue = Catalogue.load()

@Suite struct `A loaded back end` {
  @Test(arguments: files, ["commit", "eager"])
  func `agrees with the golden vectors`(_ file: String, _ policy: String) throws {
    let folder = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/")
    let settings = VectorSettings(options: [("ad_policy", policy)], workers: 1)
    let report = VectorRunner.verify(files: ["\(folder)/Fixtures/vectors/\(file).jsonl.xz"], settings: settings) { name in
      try catalogue.architecture(named: name).architecture
    }
    #expect(report.failures.map(\.description) == [])
    #expect(report.unsupported == [:])
    #expect(report.shown.map(\.description) == [])
    #expect(report.cases == 700 && report.differences == 0)
  }
}
