// paging verify: golden vectors through any back end.
import ArgumentParser
import PagingHost

struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Golden vectors through the back end that each file names; prints the first differences in full.",
    discussion: """
      Files may be plain, .gz, .xz or .zst. The last line is N cases, M accesses, D differences; the status is 1 if D is \
      not 0, and 3 if a file or something that its cases need is bad or missing.

      Example:
        paging verify cases.jsonl.gz --set tlb.l1.ways=0
      """)

  @Argument(help: ArgumentHelp("Files of the form paging-vectors/1.", valueName: "FILE"))
  var files: [String]
  @Option(
    name: .customLong("set"),
    help: ArgumentHelp("An option of the units, over what files say; repeatable.", valueName: "name=value"),
    transform: Setting.argument)
  var settings: [Setting] = []
  @Option(name: .customLong("arch"), help: ArgumentHelp("Only this architecture may be named.", valueName: "ARCH"))
  var architecture: String?
  @Option(name: .customLong("show"), help: ArgumentHelp("Differences to print in full.", valueName: "count"))
  var mostShown = 10
  @Flag(name: .customLong("edit-words"), help: "Scenarios edit lists by their words, as software of the architecture does, and not by verdicts.")
  var editsByWords = false
  @OptionGroup var output: OutputOptions
  @OptionGroup var plugins: PluginOptions

  func validate() throws {
    guard mostShown >= 0 else { throw ValidationError("expected a count of differences, found “\(mostShown)”") }
  }

  func run() throws {
    let catalogue = plugins.load()
    if let architecture { _ = try catalogue.architecture(named: architecture) }
    let progress = Progress()
    var options = VectorSettings(options: settings.map { ($0.name, $0.value) }, mostShown: mostShown)
    options.editsByWords = editsByWords
    Interrupt.watch()
    let start = ContinuousClock.now
    let report = VectorRunner.verify(
      files: files, settings: options,
      progress: { done, count in progress.show { "\(done) of \(count) files" } },
      shouldStop: { Interrupt.isWanted }
    ) { [architecture] name in
      if let architecture, architecture != name {
        throw UnknownName(what: "architecture", name: name, valid: [architecture], hint: "the files are to be for \(architecture)")
      }
      return try catalogue.architecture(named: name).architecture
    }
    progress.end()
    let text = VectorReportText(report, seconds: (ContinuousClock.now - start).seconds)
    output.write(text.json, else: text.text)
    for failure in report.failures { Console.warn("\(failure)") }
    throw Ended(report.isPartial ? Failure.interrupted : report.exitStatus)
  }
}

extension Duration {
  var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
