// Memory, units, an operating system, and the programs that run on them.
import CPagingKit

/// How a machine is built. Nil means what suits the architecture.
public struct MachineConfiguration {
  /// By name; nil is the first regime with one stage of tables.
  public var regime: String?
  /// Options of the unit, by name.
  public var options: [(name: String, value: String)]
  /// log2 of the page size that demand paging tries first; nil is the smallest.
  public var pageShift: Int?
  public var memory: MemoryPlan

  public init(
    regime: String? = nil, options: [(name: String, value: String)] = [], pageShift: Int? = nil,
    memory: MemoryPlan = MemoryPlan()
  ) {
    self.regime = regime
    self.options = options
    self.pageShift = pageShift
    self.memory = memory
  }
}

/// A machine of one architecture, booted: translation is on, and a first space is there in which programs may use every
/// address of theirs; pages appear on demand.
///
/// Used by one thread at a time. After an error has been thrown while running, a machine cannot go on.
public final class Machine {
  public let architecture: Architecture
  /// Index into the architecture's regimes.
  public let regime: Int
  public let memory: GuestMemory
  public let os: GuestOS
  /// Accesses of programs so far.
  public internal(set) var accessCount: UInt64 = 0

  public init(_ architecture: Architecture, _ configuration: MachineConfiguration = .init()) throws(MachineError) {
    let index = try Self.regime(architecture, configuration.regime)
    let regime = architecture.regimes[index]
    let layout = TableLayout(architecture, format: Int(regime.first_format))
    let pageShift = try Self.pageShift(configuration.pageShift, layout)
    let memory = try GuestMemory(configuration.memory, outputBits: layout.outputBits)
    let unit = try asMachineError { () throws(UnitError) in
      try Unit(architecture, map: memory.map, options: configuration.options)
    }
    self.architecture = architecture
    self.regime = index
    self.memory = memory
    os = GuestOS(unit: unit, regime: regime, memory: memory)
    let space = try os.makeSpace(pageShift: pageShift)
    let processor = Processor(unit, os: os, space: space)
    os.processors.append(processor)
    let boot = try processor.services.enableTranslation(regime: index, root: space.root, identifier: space.identifier)
    try processor.perform("enable_translation", boot)
    try Self.checkLeaf(space, pageShift)
  }

  // MARK: Choosing

  private static func regime(_ architecture: Architecture, _ name: String?) throws(MachineError) -> Int {
    let regimes = architecture.regimes
    guard let name else {
      guard let index = regimes.firstIndex(where: { obstacle($0) == nil }) else {
        throw .unsuitableRegime(architecture.name, why: "the architecture has no regime with one stage of tables")
      }
      return index
    }
    guard let index = architecture.regimeIndex(named: name) else {
      throw .unknownRegime(name, architecture: architecture.name, valid: regimes.map { String(cString: $0.name) })
    }
    if let why = obstacle(regimes[index]) { throw .unsuitableRegime(name, why: why) }
    return index
  }

  /// What keeps a machine from running natively under a regime. The name of a guest's regime is that of both stages.
  private static func obstacle(_ regime: pgk_regime_v1) -> String? {
    let isGuests = regime.second_format != PGK_NO_FORMAT || String(cString: regime.name).contains("/")
    if isGuests { return "it is a guest's, with a second stage that only a hypervisor fills or switches off" }
    if regime.first_format == PGK_NO_FORMAT { return "it has no tables to fill" }
    return nil
  }

  /// Whether machines can run natively under a regime of the architecture.
  public static func canRun(_ architecture: Architecture, regime: Int) -> Bool { obstacle(architecture.regimes[regime]) == nil }

  private static func pageShift(_ shift: Int?, _ layout: TableLayout) throws(MachineError) -> Int {
    guard let smallest = layout.pageShifts.first else {
      throw .unsuitableRegime(layout.name, why: "its format has no leaves")
    }
    guard let shift else { return smallest }
    guard layout.level(ofPageShift: shift) != nil else {
      throw .pageSize(.pageSizeNotInFormat(pageShift: shift, format: layout.name, valid: layout.pageShifts))
    }
    return shift
  }

  /// A page size that the model or the registers do not allow is better refused now than never used.
  private static func checkLeaf(_ space: AddressSpace, _ shift: Int) throws(MachineError) {
    do {
      _ = try space.mapper.encodeLeaf(Address(0), .program, at: space.mapper.layout.level(ofPageShift: shift)!)
    } catch {
      throw .pageSize(error)
    }
  }

  // MARK: Parts

  /// The unit that runs programs.
  public var processor: Processor { os.processors[0] }
  public var unit: Unit { processor.unit }
  /// The space that runs.
  public var space: AddressSpace { processor.space }
  /// Privilege that accesses of programs must carry.
  public var programPrivilege: UInt8 { os.userPrivilege }

  /// Called with everything that happens. A machine that nobody watches pays nothing for it.
  public func observe(_ handler: ((Event) -> Void)?) throws(MachineError) {
    let recorder = handler.map(EventRecorder.init)
    recorder?.begin(firstTag: 0, firstSequence: accessCount)
    try processor.setRecorder(recorder)
  }

  // MARK: Spaces

  /// Another space, with the page policy of the present one if nothing else is said.
  public func makeSpace(pageShift: Int? = nil) throws(MachineError) -> AddressSpace {
    let shift = try Self.pageShift(pageShift ?? space.pageShift, space.mapper.layout)
    let made = try os.makeSpace(pageShift: shift)
    try Self.checkLeaf(made, shift)
    return made
  }

  public func switchTo(_ space: AddressSpace) throws(MachineError) {
    processor.recorder?.record(.switched(root: space.root, identifier: space.identifier))
    try processor.perform("switch_space", try processor.services.switchSpace(space))
    processor.space = space
  }

  public func destroy(_ space: AddressSpace) throws(MachineError) { try os.destroy(space) }

  /// Maps a range to given physical addresses, as for a device. Pages of programs need no such call.
  public func map(
    _ range: PageRange<Virtual>, to output: Address<GuestPhysical>, pageShift: Int, _ attributes: PageAttributes,
    in space: AddressSpace? = nil
  ) throws(MachineError) {
    try os.map(range, to: output, pageShift: pageShift, attributes, in: space ?? self.space)
  }

  /// Ends a range: its pages are gone, and using it is a fault of the program from now on.
  public func unmap(_ range: PageRange<Virtual>, in space: AddressSpace? = nil) throws(MachineError) {
    try os.unmap(range, in: space ?? self.space)
  }

  /// Gives a range other rights, with the invalidations that this needs.
  public func protect(
    _ range: PageRange<Virtual>, _ attributes: PageAttributes, in space: AddressSpace? = nil
  ) throws(MachineError) {
    try os.protect(range, attributes, in: space ?? self.space)
  }
}
