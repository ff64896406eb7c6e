// What run and compare have in common.
import ArgumentParser
import PagingHost

struct RunOptions: ParsableArguments {
  @Option(
    name: .customLong("page-size"),
    help: ArgumentHelp("Pages that demand paging tries first; without it, the smallest.", valueName: "4KiB|2MiB|1GiB"),
    transform: PageSizeArgument.argument)
  var pageShift: Int?
  @Option(help: ArgumentHelp("TLB and walk-cache geometry from a file, or the name of a profile that comes along.", valueName: "file"))
  var profile: String?
  @Option(
    name: .customLong("set"), help: ArgumentHelp("An option of the unit, over the profile; repeatable.", valueName: "name=value"),
    transform: Setting.argument)
  var settings: [Setting] = []
  @Option(help: ArgumentHelp("Which lines of a trace are run.", valueName: "instruction|data|unified"))
  var stream = StreamArgument.unified
  @Option(
    name: .customLong("stop-at"), help: ArgumentHelp("End after so many accesses.", valueName: "N"), transform: CountArgument.argument)
  var stopAt: UInt64?
  @Option(help: ArgumentHelp("Count only what comes after so many accesses.", valueName: "N"), transform: CountArgument.argument)
  var warmup: UInt64?
  @Flag(help: "Move what a program has above the end of an architecture's address space to free places below.")
  var relocate = false
  @Flag(name: .customLong("no-times"), help: "Leave times out, so that the same command gives the same bytes.")
  var omitsTimes = false

  func studySettings() throws -> StudySettings {
    var study = StudySettings()
    study.profile = try profile.map(Profile.named)
    study.settings = settings
    study.stream = stream.stream
    study.stopAt(stopAt, warmup: warmup ?? 0)
    study.pageShift = pageShift
    study.relocates = relocate
    return study
  }
}

enum StreamArgument: String, ExpressibleByArgument {
  case instruction, data, unified

  var stream: TraceStream {
    switch self {
    case .instruction: .instruction
    case .data: .data
    case .unified: .unified
    }
  }
}

extension Study.Progress {
  var text: String { "\(runsDone) of \(runs) runs, \(NumberText.grouped(accesses)) accesses" }
}
