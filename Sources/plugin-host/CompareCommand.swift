// paging compare: the main job.
import ArgumentParser
import PagingHost

struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Workloads on all architectures, in one table. Without arguments, a bundled trace of a real program.",
    discussion: """
      Every workload is run on every back end found; what one cannot do is a row that says so. Workloads are given as to \
      paging run. Ends with status 3 if a run went wrong.

      Examples:
        paging compare
        paging compare random:pages=5000 chase:pages=20000 --page-size 2MiB --csv
        paging compare --arch {ARCH} --json
      """)

  @Argument(help: ArgumentHelp("What to run.", valueName: "WORKLOAD"))
  var workloads: [String] = []
  @Option(name: .customLong("arch"), help: ArgumentHelp("Only these architectures.", valueName: "ARCH,..."))
  var architectures: ListArgument?
  @Option(help: ArgumentHelp("Regimes; of each architecture those that it has. Without it, its first of one stage.", valueName: "R,..."))
  var regime: ListArgument?
  @Option(help: ArgumentHelp("How memory is virtualised; native is what this version has.", valueName: "mode,..."))
  var mode: ListArgument?
  @Option(help: ArgumentHelp("Runs at a time; without it, as many as there are processors.", valueName: "count"))
  var workers: Int?
  @Flag(name: .customLong("csv"), help: "Print comma-separated values, one key for each counter.")
  var isCSV = false
  @OptionGroup var shared: RunOptions
  @OptionGroup var output: OutputOptions
  @OptionGroup var plugins: PluginOptions

  func validate() throws {
    if isCSV && output.isJSON { throw ValidationError("expected --json or --csv, found both") }
    if let workers, workers < 1 { throw ValidationError("expected at least 1 worker, found “\(workers)”") }
  }

  func run() throws {
    var study = try makeStudy()
    if let workers { study.workers = workers }
    study.hasTimes = !shared.omitsTimes
    let progress = Progress()
    Interrupt.watch()
    let report = study.run(
      progress: { state in progress.show { state.text } }, isWanted: { !Interrupt.isWanted })
    progress.end()
    if isCSV { Console.write(report.csv) } else { output.write(report.json, else: report.text) }
    if report.isPartial { throw Ended(Failure.interrupted) }
    if report.hasFailed { throw Ended(Failure.missing) }
  }

  private func makeStudy() throws -> Study {
    let catalogue = plugins.load()
    let chosen = try architectures.map { try $0.names.map { try catalogue.architecture(named: $0) } } ?? catalogue.architectures
    guard !chosen.isEmpty else { _ = try catalogue.architecture(named: "ARCH"); return Study([], StudySettings()) }
    let settings = try shared.studySettings()
    try settings.requireKnown(by: chosen)
    let what = workloads.isEmpty ? try Workload.first() : try workloads.map { try Workload($0) }
    return try Study(
      workloads: what, architectures: chosen, regimes: regime?.names ?? [], modes: mode?.names ?? [StudyRun.native], settings)
  }
}

/// Names separated by commas.
struct ListArgument: ExpressibleByArgument {
  let names: [String]

  init?(argument: String) {
    names = argument.split(separator: ",").map(String.init)
    if names.isEmpty { return nil }
  }
}
