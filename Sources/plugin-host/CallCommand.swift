// paging call: an operation that only one architecture has, by name.
import ArgumentParser
import PagingHost

struct CallCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "call",
    abstract: "Any exported operation by name: what access it is, and what performing it changes.",
    discussion: """
      The operation runs on a unit of its own. Without OPERATION, those of the architecture are listed. A negative \
      number needs -- in front of the arguments. Ends with status 1 if the operation faults.

      Examples:
        paging call {ARCH}
        paging call {ARCH} {CALL}
      """)

  @Option(help: ArgumentHelp("Run under this regime, with tables for address 0.", valueName: "R"))
  var regime: String?
  @Option(
    name: .customLong("set"), help: ArgumentHelp("An option of the unit; repeatable.", valueName: "name=value"),
    transform: Setting.argument)
  var settings: [Setting] = []
  @Option(
    name: .customLong("reg"), help: ArgumentHelp("A register; repeatable, loaded all at once.", valueName: "name=value"),
    transform: NumberAssignment.argument)
  var registers: [NumberAssignment] = []
  @OptionGroup var output: OutputOptions
  @OptionGroup var plugins: PluginOptions
  @Argument(help: ArgumentHelp("The architecture.", valueName: "ARCH"))
  var architecture: String
  @Argument(help: ArgumentHelp("The operation.", valueName: "OPERATION"))
  var operation: String?
  @Argument(help: ArgumentHelp("Its arguments, as paging call ARCH lists them.", valueName: "ARGUMENT"))
  var arguments: [String] = []

  func run() throws {
    let architecture = try plugins.load().architecture(named: architecture).architecture
    guard let operation else {
      let list = try OperationList(architecture)
      return output.write(list.json, else: list.text)
    }
    var request = WalkRequest()
    request.regime = regime
    request.settings = settings
    request.registers = registers.map { ($0.name, $0.value) }
    let call = try OperationCall(operation, arguments, request, architecture)
    output.write(call.json, else: call.text)
    if call.isFault { throw Ended(Failure.differs) }
  }
}
