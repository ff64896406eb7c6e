import PagingHost
import PagingKit
import Testing

/// Files of `Tests/Fixtures/vectors`; each names its back end, which is loaded as a user's would be.
private let files = [
  "x86-2level", "x86-pae", "x86-4level", "x86-5level", "x86-npt", "x86-ept", "riscv-sv32", "riscv-sv39", "riscv-sv48",
  "riscv-sv57", "riscv-two-stage", "riscv-two-stage-rv32", "riscv-mprv", "riscv-hlv", "elbrus-v3", "elbrus-v6",
  "elbrus-v6-separate", "elbrus-gp",
]

private let catalogue = Catalogue.load()

private func verify(_ file: String, _ options: [(name: String, value: String)] = [], editsByWords: Bool = false) -> VectorReport {
  let folder = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/")
  var settings = VectorSettings(options: options, workers: 1)
  settings.editsByWords = editsByWords
  return VectorRunner.verify(files: ["\(folder)/Fixtures/vectors/\(file).jsonl.xz"], settings: settings) { name in
    try catalogue.architecture(named: name).architecture
  }
}

private func expectAgreement(_ report: VectorReport, cases: UInt64 = 700) {
  #expect(report.failures.map(\.description) == [])
  #expect(report.unsupported == [:])
  #expect(report.shown.map(\.description) == [])
  #expect(report.cases == cases && report.differences == 0)
}

@Suite struct `A loaded back end` {
  @Test(arguments: files)
  func `agrees with the golden vectors`(_ file: String) { expectAgreement(verify(file)) }

  /// Groups of operations, faults of groups, lists of intercepts, and what software makes of them, step by step.
  @Test(arguments: [("elbrus-scenarios", 303)], [false, true])
  func `agrees with the scenarios, by verdicts and by the words of the list`(_ set: (file: String, cases: UInt64), _ editsByWords: Bool) {
    expectAgreement(verify(set.file, editsByWords: editsByWords), cases: set.cases)
  }

  @Test(arguments: files.filter { $0.hasPrefix("x86") })
  func `agrees with them too when accessed bits are set on the way down`(_ file: String) {
    expectAgreement(verify(file, [("ad_policy", "eager")]))
  }

  @Test func `agrees about advanced VM-exit information`() { expectAgreement(verify("x86-ept", [("ept.advanced", "true")])) }
}
