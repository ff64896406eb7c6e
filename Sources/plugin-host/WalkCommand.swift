// paging walk: one address, step by step.
import ArgumentParser
import PagingHost

struct WalkCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "walk",
    abstract: "One address step by step: each entry's address, value, decoded fields, and the rule that decided.",
    discussion: """
      Tables come from --image and --word with --root or --reg, from a golden vector with --vector, or, if nothing is \
      given, are made for the address. Ends with status 1 if the access faults.

      Examples:
        paging walk --arch {ARCH} 0x12345678
        paging walk --arch {ARCH} --image memory.bin@0 --root 0x1000 --op w 0x12345678
        paging walk --vector cases.jsonl.gz:CASE:0
      """)

  @Option(name: .customLong("arch"), help: ArgumentHelp("The architecture; a vector names its own.", valueName: "ARCH"))
  var architecture: String?
  @Option(help: ArgumentHelp("The regime; without it, what the registers select, or the first.", valueName: "R"))
  var regime: String?
  @Option(
    name: .customLong("set"), help: ArgumentHelp("An option of the unit; repeatable.", valueName: "name=value"),
    transform: Setting.argument)
  var settings: [Setting] = []
  @Option(
    name: .customLong("reg"), help: ArgumentHelp("A register; repeatable, loaded all at once.", valueName: "name=value"),
    transform: NumberAssignment.argument)
  var registers: [NumberAssignment] = []
  @Option(help: ArgumentHelp("Physical address of the root table.", valueName: "address"), transform: UInt64.argument)
  var root: UInt64?
  @Option(
    name: .customLong("image"), help: ArgumentHelp("Raw bytes of physical memory; repeatable.", valueName: "file@base"),
    transform: ImageArgument.argument)
  var images: [ImageArgument] = []
  @Option(
    name: .customLong("word"),
    help: ArgumentHelp("8 bytes of memory, or 4 at an odd multiple of 4; repeatable.", valueName: "address=value"),
    transform: WordArgument.argument)
  var words: [WordArgument] = []
  @Option(
    help: ArgumentHelp("Registers and memory of a golden vector, and its access.", valueName: "file:case[:access]"),
    transform: VectorArgument.argument)
  var vector: VectorPlace?
  @Option(help: ArgumentHelp("Read, write, execute or modify.", valueName: "r|w|x|m"))
  var op: OperationArgument?
  @Option(help: ArgumentHelp("Bytes of the access.", valueName: "1|2|4|8|16"))
  var size: SizeArgument?
  @Option(name: .customLong("priv"), help: ArgumentHelp("The privilege, by name; without it, that of programs.", valueName: "P"))
  var privilege: String?
  @Option(
    name: .customLong("page-size"), help: ArgumentHelp("Page to map where tables are made.", valueName: "4KiB|2MiB|1GiB"),
    transform: PageSizeArgument.argument)
  var pageShift: Int?
  @Flag(help: "Perform the access once before, so that caches know it.")
  var warm = false
  @OptionGroup var output: OutputOptions
  @OptionGroup var plugins: PluginOptions
  @Argument(help: ArgumentHelp("The address; a vector has its own.", valueName: "ADDRESS"), transform: UInt64.argument)
  var address: UInt64?

  func validate() throws {
    guard vector == nil else {
      guard images.isEmpty, words.isEmpty, root == nil else {
        throw ValidationError("a vector brings its own memory: leave out --image, --word and --root")
      }
      return
    }
    guard architecture != nil else { throw ValidationError("expected --arch ARCH, or a --vector") }
    guard address != nil else { throw ValidationError("expected an ADDRESS, or a --vector") }
  }

  func run() throws {
    let subject = try makeSubject(plugins.load())
    if warm { try subject.warm() }
    let walk = try WalkExplanation(subject)
    output.write(walk.json, else: walk.text)
    if walk.isFault { throw Ended(Failure.differs) }
  }

  private func makeSubject(_ catalogue: Catalogue) throws -> WalkSubject {
    guard let vector else {
      return try WalkSubject(request, try catalogue.architecture(named: architecture ?? "").architecture)
    }
    var subject = try WalkSubject(vector, request) { name in
      if let architecture, architecture != name {
        throw InputError(file: vector.file, place: .file, expected: "cases for \(architecture)", found: "cases for \(name)")
      }
      return try catalogue.architecture(named: name).architecture
    }
    if let address { subject.access.address = address }
    if let op { subject.access.kind = op.kind }
    if let size { subject.access.size_log2 = size.log2 }
    if let privilege { try subject.setPrivilege(named: privilege) }
    return subject
  }

  private var request: WalkRequest {
    var request = WalkRequest()
    request.regime = regime
    request.settings = settings
    request.registers = registers.map { ($0.name, $0.value) }
    request.root = root
    request.images = images.map { ($0.file, $0.base) }
    request.words = words.map { ($0.address, $0.value) }
    request.address = address ?? 0
    if let op { request.kind = op.kind }
    if let size { request.sizeLog2 = size.log2 }
    request.privilege = privilege
    request.pageShift = pageShift
    return request
  }
}
