// paging run: one workload on one architecture.
import ArgumentParser
import PagingHost

struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "One run of a trace or a synthetic program: counters, and what the workload holds.",
    discussion: """
      WORKLOAD is a valgrind lackey trace (plain, .gz, .xz or .zst, or - for standard input), the name of a trace that \
      comes along, or a synthetic program: random:pages=1000,count=1e6,seed=1,writes=25 or \
      sequential:bytes=64MiB,stride=64 or chase:pages=10000, each with start=ADDRESS. Pages appear on demand.

      Examples:
        paging run random:pages=5000,count=1e6 --arch {ARCH}
        paging run trace.lackey.xz --arch {ARCH} --stream data --set tlb.l1.sets=1 --set tlb.l1.ways=64 --json
      """)

  @Argument(help: ArgumentHelp("What to run.", valueName: "WORKLOAD"))
  var workload: String
  @Option(name: .customLong("arch"), help: ArgumentHelp("The architecture.", valueName: "ARCH"))
  var architecture: String
  @Option(help: ArgumentHelp("The regime; without it, the first of one stage.", valueName: "R"))
  var regime: String?
  @Option(help: ArgumentHelp("How memory is virtualised; native is what this version has.", valueName: "mode"))
  var mode = StudyRun.native
  @Option(help: ArgumentHelp("Write a line for every walk, fault and verdict.", valueName: "file"))
  var events: String?
  @Flag(help: "Print what TLBs and walk caches hold at the end.")
  var dump = false
  @OptionGroup var shared: RunOptions
  @OptionGroup var output: OutputOptions
  @OptionGroup var plugins: PluginOptions

  func run() throws {
    let loaded = try plugins.load().architecture(named: architecture)
    let settings = try shared.studySettings()
    _ = try settings.configuration(of: loaded)
    let single = StudyRun(try Workload(workload), on: loaded, regime: regime, mode: mode, settings)
    var study = Study([single], settings)
    study.hasTimes = !shared.omitsTimes
    let progress = Progress()
    Interrupt.watch()
    let report = study.run(
      events: try events.map { try EventFile($0) }, dumpsCaches: dump,
      progress: { state in progress.show { "\(NumberText.grouped(state.accesses)) accesses" } },
      isWanted: { !Interrupt.isWanted })
    progress.end()
    if let row = report.rows.first, let reason = row.reason {
      Console.warn(row.hasFailed ? reason : "\(row.workload) on \(loaded.name): \(reason)")
      throw Ended(Failure.missing)
    }
    output.write(report.singleJSON, else: report.runText)
    if report.isPartial { throw Ended(Failure.interrupted) }
  }
}
