// paging bench: throughput against the C floor.
import ArgumentParser
import PagingHost

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Throughput of a loaded back end against the C floor, in turns over the same tables and addresses.",
    discussion: """
      The floor is the least work each job can cost (`make floor` builds it). Ratios are medians of rounds; each round has \
      fresh addresses. The digest is FNV-1a of 64 bits over the 16-byte result records for the seed's own addresses, in \
      order. Ends with status 1 if a count or an output is wrong.

      Example:
        paging bench --jobs walk4_1GiB,tlb_pwc_rand1GiB --rounds 5
      """)

  @Option(help: ArgumentHelp("Seed of the addresses.", valueName: "N"), transform: UInt64.argument)
  var seed: UInt64?
  @Option(help: ArgumentHelp("Only these jobs.", valueName: "job,..."))
  var jobs: ListArgument?
  @Option(help: ArgumentHelp("Rounds of each job.", valueName: "N"))
  var rounds = 15
  @Option(help: ArgumentHelp("Accesses of a round.", valueName: "N"), transform: CountArgument.argument)
  var count: UInt64?
  @Option(help: ArgumentHelp("Mapped bytes, in place of each job's own.", valueName: "bytes"), transform: SpanArgument.argument)
  var span: UInt64?
  @Option(name: .customLong("arch"), help: ArgumentHelp("Only this architecture.", valueName: "ARCH"))
  var architecture: String?
  @Option(
    name: .customLong("set"), help: ArgumentHelp("An option of the unit, over those of the job; repeatable.", valueName: "name=value"),
    transform: Setting.argument)
  var settings: [Setting] = []
  @Option(help: ArgumentHelp("The trace for tlb_pwc_trace, as for paging run.", valueName: "WORKLOAD"))
  var trace: String?
  @Option(name: .customLong("floor"), help: ArgumentHelp("The floor's library, if it is not where it is built.", valueName: "file"))
  var floorFile: String?
  @OptionGroup var output: OutputOptions
  @OptionGroup var plugins: PluginOptions

  func validate() throws {
    guard rounds >= 1 else { throw ValidationError("expected at least 1 round, found “\(rounds)”") }
    guard (1...1 << 28).contains(count ?? 1) else { throw ValidationError("expected 1 to \(1 << 28) accesses") }
  }

  func run() throws {
    let catalogue = plugins.load()
    var bench = Bench()
    if let seed { bench.seed = seed }
    bench.jobs = jobs?.names ?? []
    bench.rounds = rounds
    if let count { bench.count = Int(count) }
    bench.span = span
    bench.settings = settings
    bench.trace = try trace.map { try Workload($0) }
    bench.floorFile = floorFile
    let chosen = try architecture.map { [try catalogue.architecture(named: $0)] } ?? catalogue.architectures
    let progress = Progress()
    Interrupt.watch()
    let report = try bench.run(
      chosen, progress: { state in progress.show { "\(state.job): \(state.round) of \(state.rounds) rounds" } },
      isWanted: { !Interrupt.isWanted })
    progress.end()
    output.write(report.json, else: report.text)
    if report.isPartial { throw Ended(Failure.interrupted) }
    if !report.isRight { throw Ended(Failure.differs) }
  }
}

enum SpanArgument {
  static func argument(_ text: String) throws -> UInt64 {
    guard let bytes = SizeText.bytes(text), bytes >= 4096, bytes % 4096 == 0 else {
      throw ValidationError("expected a multiple of 4096 bytes such as 1GiB, found “\(text)”")
    }
    return bytes
  }
}
