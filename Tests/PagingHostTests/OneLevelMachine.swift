import CPagingKit
import PagingKit

@testable import PagingHost

/// A back end as small as vectors need: one table of 512 entries of 8 bytes at the register `root`, written against the
/// C table alone. Bits of an entry: 0 present, 1 writable, 2 held back by a second stage, 3 accessed; 63:12 the page.
///
/// `bug` makes it wrong on purpose, so that tests see what a verification says.
enum OneLevelMachine {
  static let architecture = Architecture(table: table)

  fileprivate enum Bug: String {
    case none, output, words, stray, update, register, outcome
  }

  fileprivate final class State {
    let map: UnsafePointer<pgk_physical_map_v1>
    var registers: [UInt64] = presets
    var pending: pgk_listed_v1?
    var observer: pgk_observer_v1?
    var bug = Bug.none
    var isEager = false
    var toldMore = false
    var width: UInt64 = 40
    var message = ContiguousArray("".utf8CString)

    init(_ map: UnsafePointer<pgk_physical_map_v1>) { self.map = map }
  }

  private static let presets: [UInt64] = [0, 0, 0]
  private static let root = 0, offset = 1, lane = 2
  private static let outcomes: [(String, Int32, UInt32)] = [
    ("finished", -1, 0), ("absent", 14, 1), ("read-only", 15, 1), ("held-back", -1, 1), ("blocked", -1, 1), ("diagnostic", -1, 0),
  ]

  // MARK: Description

  private static func name(_ text: String) -> UnsafePointer<CChar> {
    let bytes = text.utf8CString
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
    _ = UnsafeMutableBufferPointer(start: copy, count: bytes.count).initialize(from: bytes)
    return UnsafePointer(copy)
  }

  private static func list<Element>(_ elements: [Element]) -> UnsafePointer<Element> {
    let copy = UnsafeMutablePointer<Element>.allocate(capacity: elements.count)
    copy.initialize(from: elements, count: elements.count)
    return UnsafePointer(copy)
  }

  private static func option(_ text: String, _ preset: String, kind: UInt32, type: UInt32) -> pgk_option_info_v1 {
    var option = pgk_option_info_v1()
    (option.name, option.help, option.preset) = (name(text), name(""), name(preset))
    (option.kind, option.type) = (kind, type)
    return option
  }

  private static func makeDescription() -> UnsafePointer<pgk_description_v1> {
    var description = pgk_description_v1()
    description.name = name("onelevel")
    let registers = ["root", "aux.offset", "lane"].map { text in
      var register = pgk_register_v1()
      (register.name, register.width, register.writable) = (name(text), 64, .max)
      return register
    }
    (description.registers, description.register_count) = (list(registers), registers.count)
    let options = [
      option("ad_policy", "commit", kind: PGK_OPTION_POLICY, type: PGK_TYPE_CHOICE),
      option("width", "40", kind: PGK_OPTION_MODEL, type: PGK_TYPE_INTEGER),
      option("held.more", "false", kind: PGK_OPTION_FEATURE, type: PGK_TYPE_BOOLEAN),
      option("bug", "none", kind: PGK_OPTION_MODEL, type: PGK_TYPE_CHOICE),
    ]
    (description.options, description.option_count) = (list(options), options.count)
    let privileges = ["low", "high", "high.probe"].map { pgk_privilege_v1(name: name($0), help: name("")) }
    (description.privileges, description.privilege_count) = (list(privileges), privileges.count)
    let outcomes = outcomes.map { pgk_outcome_v1(name: name($0.0), help: name(""), number: $0.1, fault: $0.2) }
    (description.outcomes, description.outcome_count) = (list(outcomes), outcomes.count)
    let words = ["code", "info", "gpa"].map { pgk_name_v1(name: name($0), help: name("")) }
    (description.words, description.word_count) = (list(words), words.count)
    return list([description])
  }

  // SAFETY: made once and never changed.
  nonisolated(unsafe) private static let table = makeTable()

  private static func makeTable() -> UnsafePointer<pgk_arch_v1> {
    var table = pgk_arch_v1()
    table.description = makeDescription()
    table.open = { _, _, map, options, count, error in OneLevelMachine.open(map!, options, count, error!) }
    table.close = { unit in Unmanaged<State>.fromOpaque(UnsafeRawPointer(unit!)).release() }
    table.message = { unit in OneLevelMachine.state(unit).message.withUnsafeBufferPointer { $0.baseAddress } }
    table.write_registers = { unit, values, count, outcome in
      OneLevelMachine.write(OneLevelMachine.state(unit), UnsafeBufferPointer(start: values, count: count), outcome!)
    }
    table.run = { unit, accesses, _, results, _ in
      OneLevelMachine.run(OneLevelMachine.state(unit), accesses!.pointee, results!)
    }
    table.pending = { unit, list, capacity -> Int in
      guard let listed = OneLevelMachine.state(unit).pending else { return 0 }
      if capacity > 0 { list!.pointee = listed }
      return 1
    }
    table.reset = { unit, what -> Int32 in
      OneLevelMachine.reset(OneLevelMachine.state(unit), what)
      return 0
    }
    table.observe = { unit, observer -> Int32 in
      OneLevelMachine.state(unit).observer = observer?.pointee
      return 0
    }
    return list([table])
  }

  // MARK: Behaviour

  private static func state(_ handle: OpaquePointer?) -> State {
    Unmanaged<State>.fromOpaque(UnsafeRawPointer(handle!)).takeUnretainedValue()
  }

  private static func reset(_ state: State, _ what: UInt32) {
    if what & PGK_RESET_PENDING != 0 { state.pending = nil }
    if what & PGK_RESET_REGISTERS != 0 { state.registers = presets }
  }

  private static func open(
    _ map: UnsafePointer<pgk_physical_map_v1>, _ options: UnsafePointer<pgk_option_v1>?, _ count: Int,
    _ error: UnsafeMutablePointer<pgk_error_v1>
  ) -> OpaquePointer? {
    let state = State(map)
    for option in UnsafeBufferPointer(start: options, count: count) {
      let value = String(cString: option.value)
      switch String(cString: option.name) {
      case "ad_policy": state.isEager = value == "eager"
      case "held.more": state.toldMore = value == "true"
      case "width" where UInt64(value).map { $0 < 64 } ?? false: state.width = UInt64(value)!
      case "bug" where Bug(rawValue: value) != nil: state.bug = Bug(rawValue: value)!
      case let name:
        error.pointee.code = PGK_E_ARGUMENT
        let text = "no option \(name)".utf8.prefix(500) + [0]
        withUnsafeMutableBytes(of: &error.pointee.message) { $0.copyBytes(from: text) }
        return nil
      }
    }
    return OpaquePointer(Unmanaged.passRetained(state).toOpaque())
  }

  /// A root with bit 0 set faults with code 7; one with bit 1 is refused.
  private static func write(
    _ state: State, _ values: UnsafeBufferPointer<pgk_register_value_v1>,
    _ outcome: UnsafeMutablePointer<pgk_register_outcome_v1>
  ) -> Int32 {
    for value in values where value.index == 0 {
      if value.value & 1 != 0 {
        (outcome.pointee.outcome, outcome.pointee.word_count, outcome.pointee.words.0) = (1, 1, 7)
        return 0
      }
      if value.value & 2 != 0 {
        state.message = ContiguousArray("root bit 1 is unknown".utf8CString)
        return PGK_E_UNKNOWN_BIT
      }
    }
    for value in values { state.registers[Int(value.index)] = value.value }
    return 0
  }

  private static func run(
    _ state: State, _ access: pgk_access_v1, _ result: UnsafeMutablePointer<pgk_result_v1>
  ) -> Int64 {
    let slot = state.registers[root] &+ (access.address >> 12 & 511) * 8
    let entry = load(state, slot)
    let isWrite = access.kind == UInt8(PGK_WRITE)
    var outcome: UInt8 = 0
    if entry & 1 == 0 { outcome = UInt32(access.flags) & PGK_SPECULATIVE != 0 ? 5 : 1 }
    else if isWrite, entry & 2 == 0 { outcome = 2 }
    else if entry & 4 != 0 { outcome = 3 }
    if state.registers[lane] != 0 || access.privilege == 2 { outcome = 4 }
    if state.bug == .outcome, outcome == 2 { outcome = 1 }
    if outcome == 0 || state.isEager && outcome == 2, state.bug != .update { store(state, slot, entry | 8) }
    if state.bug == .stray { store(state, slot ^ 8, 0xbad) }
    var output = (entry & ~0xfff | access.address & 0xfff) & (1 << state.width - 1)
    observe(state, access, PGK_STEP_LEAF, stage: 1, input: access.address, output: output)
    let guest = output
    output &+= state.registers[offset]
    observe(state, access, PGK_STEP_LEAF, stage: 2, input: guest, output: output)
    observe(state, access, PGK_STEP_TRANSLATED, stage: 2, input: access.address, output: output)
    if state.bug == .output { output += 1 }
    result.pointee = pgk_result_v1()
    result.pointee.output = output
    result.pointee.entry_reads = 1
    result.pointee.outcome = outcome
    if outcome != 0, outcome != 5 {
      result.pointee.outcome = UInt8(PGK_OUTCOME_LISTED)
      var listed = pgk_listed_v1()
      listed.fault_address = access.address
      listed.outcome = outcome
      listed.word_count = 3
      listed.words.0 = (isWrite ? 2 : 0) + (state.bug == .words ? 64 : 0)
      listed.words.1 = entry + (state.toldMore ? 0x40 : 0) + (state.bug == .words ? 0x1000 : 0)
      listed.words.2 = guest
      state.pending = listed
    }
    return 1
  }

  private static func observe(
    _ state: State, _ access: pgk_access_v1, _ kind: UInt32, stage: UInt8, input: UInt64, output: UInt64
  ) {
    guard let observer = state.observer else { return }
    var step = pgk_step_v1()
    (step.kind, step.stage, step.input, step.output) = (UInt8(kind), stage, input, output)
    var access = access
    observer.step(observer.context, &access, &step)
  }

  /// The eight bytes at an address in a window; nil in a hole, which reads as zero and keeps nothing.
  private static func bytes(_ state: State, _ address: UInt64) -> UnsafeMutableRawPointer? {
    let regions = UnsafeBufferPointer(start: state.map.pointee.regions, count: state.map.pointee.region_count)
    for region in regions where address >= region.base && region.length >= 8 && address - region.base <= region.length - 8 {
      return region.bytes.map { $0 + Int(address - region.base) }
    }
    return nil
  }

  private static func load(_ state: State, _ address: UInt64) -> UInt64 {
    if let bytes = bytes(state, address) { return bytes.loadUnaligned(as: UInt64.self) }
    var value: UInt64 = 0
    if let load = state.map.pointee.load { _ = load(state.map.pointee.context, address, 8, &value) }
    return value
  }

  private static func store(_ state: State, _ address: UInt64, _ value: UInt64) {
    if let bytes = bytes(state, address) {
      bytes.storeBytes(of: value, as: UInt64.self)
    } else if let store = state.map.pointee.store {
      _ = store(state.map.pointee.context, address, 8, value)
    }
  }
}
