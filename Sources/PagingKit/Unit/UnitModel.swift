// What a Swift back end implements. Lists, groups, verdicts, saving and the C table are the core's.
public import CPagingKit

/// A special access and its value, as encoders and OS services make them.
public struct Request: Sendable {
  public var access: pgk_access_v1
  public var value: pgk_value_v1

  public init(_ access: pgk_access_v1, _ value: pgk_value_v1 = pgk_value_v1()) {
    self.access = access
    self.value = value
  }

  /// A special access: an operation number with two operands.
  public init(special operation: UInt64, low: UInt64 = 0, high: UInt64 = 0, privilege: UInt8) {
    var access = pgk_access_v1()
    access.address = operation
    access.kind = UInt8(PGK_SPECIAL)
    access.size_log2 = 3
    access.privilege = privilege
    access.flags = UInt8(PGK_HAS_VALUE)
    var value = pgk_value_v1()
    value.low = low
    value.high = high
    self.init(access, value)
  }
}

/// A call that a model refuses, with a PGK_E_... code and words for the user.
public struct Refusal: Error, Sendable {
  public let code: Int32
  public let message: String

  public init(_ code: Int32, _ message: String) {
    self.code = code
    self.message = message
  }
}

/// What a special access did.
public enum SpecialEnd {
  case finished
  /// It faulted, or software wants to see it.
  case listed(pgk_listed_v1)
  /// There is no such operation, or the operands are none.
  case refused(Refusal)
}

/// What loading registers did.
public enum RegisterLoad {
  case done
  /// The load itself faulted and changed nothing.
  case faulted(pgk_register_outcome_v1)
}

/// One memory unit of one architecture.
///
/// `translate` is a requirement so that its witness is compiled in the back end, where every type is known; it is the
/// only hot one. All others may be slow.
public protocol UnitModel: AnyObject {
  static var definition: ArchitectureDefinition { get }

  /// A unit after reset.
  init(options: OptionValues, memory: PhysicalMemory) throws(OpenError)

  /// Caches, memory, identifiers, pending list.
  var state: UnitState { get }

  // Registers, by index in the definition.
  func readRegister(_ index: Int) -> UInt64
  /// Checks and loads all, as one change of state; refuses what the model does not know and then changes nothing.
  func writeRegisters(_ values: [(index: Int, value: UInt64)]) throws(Refusal) -> RegisterLoad
  /// Sets all registers to saved values without the effects of a load.
  func restoreRegisters(_ values: [UInt64])
  /// State that no register shows.
  var hiddenState: [UInt64] { get set }
  var regimeIndex: Int? { get }

  /// Runs ordinary accesses of one regime, the one that the access at `first` belongs to.
  func translate(_ batch: Batch, from first: Int, to end: Int, observer: pgk_observer_v1?) -> EngineEnd

  /// The listed operation for an access that the engine could not finish. Class, outcome, code and words are the
  /// architecture's; access, value and addresses are filled in by the core before.
  func describe(_ fault: WalkFault, _ listed: inout pgk_listed_v1)

  /// Performs a special access; with `isAnswered` without intercepting it again.
  func perform(_ access: pgk_access_v1, _ value: inout pgk_value_v1, isAnswered: Bool) -> SpecialEnd

  /// How an access fails that a neighbour of its group keeps from being performed; nil if it does not, or if the
  /// architecture does not look. Nothing of the access is done.
  func judgeNeighbour(_ access: pgk_access_v1, _ value: pgk_value_v1?) -> EngineEnd?

  /// The operation that a special access becomes which a neighbour of its group keeps from being performed, if software
  /// is to see it; nil if it is innocent.
  func judgeSpecialNeighbour(_ access: pgk_access_v1, _ value: pgk_value_v1) -> pgk_listed_v1?

  // The list.

  /// Refuses a group that the architecture cannot hold, before anything of it is begun. Asked where groups are marked.
  func admit(_ batch: Batch, from first: Int, to end: Int) throws(Refusal)
  /// Whether what stands before a fault in its group has its effect; otherwise it is dropped with the rest.
  var commitsBeforeFault: Bool { get }
  /// Whether an item that could be finished goes to the guest with one in front of it.
  func follows(_ listed: pgk_listed_v1) -> Bool
  /// Code and words of an innocent neighbour.
  func describeInnocent(_ listed: inout pgk_listed_v1)
  /// The parts in which the architecture lists an access.
  func parts(of listed: pgk_listed_v1) -> [pgk_listed_v1]
  /// The list has been made, or made anew.
  func didList()
  /// What the architecture does with an item of which nothing is said; nil to replay it.
  func verdictWhenLeft(_ listed: pgk_listed_v1) -> pgk_verdict_v1?
  /// Whether hardware delivers a fault, met when a list is finished, to the guest without asking.
  func deliversItself(_ listed: pgk_listed_v1) -> Bool
  /// Makes an answer seen in the listed operation's words.
  func show(_ answer: pgk_verdict_v1, in listed: inout pgk_listed_v1)
  /// Performs what a store needs with write protection ignored.
  func withoutWriteProtection(_ body: () -> Void)
  /// The list is about to be finished: what software did to it by means of the architecture's own must be in it by now.
  func willResume()

  /// Delivers a fault to the guest in its native form: fault registers.
  func deliver(_ listed: pgk_listed_v1)

  /// Delivers a fault with all that goes to the guest behind it.
  func deliver(_ operations: [pgk_listed_v1])

  /// Index into the rules, for who observes.
  func rule(_ reason: FaultReason, stage: UInt8, level: Int, kind: UInt32) -> UInt32

  // Entries.
  func decode(format: Int, level: Int, _ bits: UInt64) -> pgk_entry_v1
  /// Sets `entry.unexpressed`; refuses what does not fit at all.
  func encode(format: Int, level: Int, _ entry: inout pgk_entry_v1) throws(Refusal) -> UInt64

  // What an operating system does.
  func enableTranslation(regime: Int, root: UInt64, identifier: UInt32) throws(Refusal) -> [Request]
  func switchSpace(root: UInt64, identifier: UInt32) throws(Refusal) -> [Request]
  func invalidate(scope: UInt32, address: UInt64, byteCount: UInt64, identifier: UInt32) throws(Refusal) -> [Request]
  func trapEntry() throws(Refusal) -> [Request]
  func trapReturn() throws(Refusal) -> [Request]
  func readFaults(known: [Request]) throws(Refusal) -> [Request]
  func decodeFaults(_ answers: [Request]) throws(Refusal) -> [pgk_listed_v1]
  func reexecute(_ listed: pgk_listed_v1) throws(Refusal) -> [Request]
  func acknowledge() throws(Refusal) -> [Request]

  /// The register values that turn a regime's second stage on, for who is below the operating system.
  func enableSecondStage(regime: Int, root: UInt64, machineIdentifier: UInt32) throws(Refusal) -> [(index: Int, value: UInt64)]
}

/// What a machine with precise faults does: the record of a fault has one element, or as many as the group that stopped.
extension UnitModel {
  public var hiddenState: [UInt64] {
    get { [] }
    set { precondition(newValue.isEmpty, "no hidden state was saved") }
  }
  public func judgeNeighbour(_ access: pgk_access_v1, _ value: pgk_value_v1?) -> EngineEnd? { nil }
  public func judgeSpecialNeighbour(_ access: pgk_access_v1, _ value: pgk_value_v1) -> pgk_listed_v1? { nil }
  public func admit(_ batch: Batch, from first: Int, to end: Int) throws(Refusal) {}
  public var commitsBeforeFault: Bool { true }
  public func follows(_ listed: pgk_listed_v1) -> Bool { true }
  public func describeInnocent(_ listed: inout pgk_listed_v1) {}
  public func parts(of listed: pgk_listed_v1) -> [pgk_listed_v1] { [listed] }
  public func didList() {}
  public func verdictWhenLeft(_ listed: pgk_listed_v1) -> pgk_verdict_v1? { nil }
  public func deliversItself(_ listed: pgk_listed_v1) -> Bool { false }
  public func show(_ answer: pgk_verdict_v1, in listed: inout pgk_listed_v1) {}
  public func withoutWriteProtection(_ body: () -> Void) { body() }
  public func willResume() {}
  public func deliver(_ operations: [pgk_listed_v1]) { deliver(operations[0]) }
  public func trapEntry() throws(Refusal) -> [Request] { [] }
  public func trapReturn() throws(Refusal) -> [Request] { [] }
  public func decodeFaults(_ answers: [Request]) throws(Refusal) -> [pgk_listed_v1] { state.reflected }
  public func acknowledge() throws(Refusal) -> [Request] { [] }

  public func enableSecondStage(
    regime: Int, root: UInt64, machineIdentifier: UInt32
  ) throws(Refusal) -> [(index: Int, value: UInt64)] {
    throw Refusal(PGK_E_UNSUPPORTED, "\(Self.definition.name) has no second stage that can be turned on this way")
  }

  /// The access itself, once more.
  public func reexecute(_ listed: pgk_listed_v1) throws(Refusal) -> [Request] { [Request(listed.access, listed.value)] }
}

/// What the core keeps for every unit.
public final class UnitState {
  public var engine: TranslationEngine
  public var contexts = ContextNumbers()
  /// Pending operations, in order.
  public internal(set) var pending: [PendingOperation] = []
  /// Operations that were delivered to the guest last, with those that followed them.
  public internal(set) var reflected: [pgk_listed_v1] = []
  public internal(set) var observer: pgk_observer_v1?
  let groupsAreMarked: Bool
  let fingerprint: String

  public init(options: OptionValues, sizes: PageSizes, memory: PhysicalMemory) {
    engine = TranslationEngine(CacheGeometry(options), sizes: sizes, memory: memory)
    groupsAreMarked = options.choice("grouping") == "marked"
    fingerprint = options.fingerprint
  }

  deinit { engine.deallocate() }

  /// The tag of identifiers. When the numbers run out, everything cached is dropped.
  public func context(_ identifiers: ContextIdentifiers) -> ContextTag {
    let (tag, ranOut) = contexts.tag(of: identifiers)
    if ranOut { engine.caches.removeAll() }
    return tag
  }

  /// Puts an operation back into its place in the list, as it was before, for software that edits the list by means of the
  /// architecture's own.
  public func putBack(_ operation: PendingOperation, at i: Int) { pending[i] = operation }

  /// A condition on tags from one on identifiers.
  public func contexts(where condition: (ContextIdentifiers) -> Bool) -> (ContextTag) -> Bool {
    let numbers = contexts.matching(condition)
    return { numbers.contains($0.number) }
  }
}

/// A listed operation with the answer it has got.
public struct PendingOperation {
  public internal(set) var listed: pgk_listed_v1
  public internal(set) var answer: pgk_verdict_v1?

  public var isDropped: Bool { listed.flags & UInt8(PGK_LISTED_DROPPED) != 0 }

  /// The completion of an access or of a part of one: a later part delivers the upper half of the whole.
  func completion(_ value: pgk_value_v1) -> pgk_completion_v1 {
    var completion = pgk_completion_v1()
    completion.tag = listed.access.tag
    completion.value = value
    guard listed.flags & UInt8(PGK_LISTED_LATER_PART) != 0 else { return completion }
    completion.value.high = value.low
    completion.value.low = 0
    completion.value.tags = (0, value.tags.0)
    completion.value.mask = 0xff00
    return completion
  }
}
