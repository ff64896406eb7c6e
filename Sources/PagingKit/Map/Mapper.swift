// The tables of one space, read and edited through the entries of any format. It knows slots and levels; what bits mean
// is asked of the back end's decode and encode.
import CPagingKit

/// Builds, changes and reads one tree of tables.
///
/// `Input` is the space that the tables translate, `Output` the space that they give and that they lie in: a guest's
/// first stage is `Mapper<Virtual, GuestPhysical>`, a second stage `Mapper<GuestPhysical, Physical>`.
/// The tables stay in memory when the mapper goes; `destroy` gives them back.
public final class Mapper<Input, Output> {
  public let unit: Unit
  public let layout: TableLayout
  public let root: Address<Output>
  /// Bytes of all tables, those that wait for their invalidation included.
  public internal(set) var tableByteCount: UInt64 = 0

  let memory: any TableStorage<Output>
  let frames: any FrameSource<Output>
  /// What an absent entry looks like at each level. Not always zero: a format may have absent entries that are not cached.
  let absentBits: [UInt64]
  /// Tables that were unlinked and may still be in walk caches.
  var retired: [(table: Address<Output>, level: Int)] = []

  /// Makes an empty root. The unit must be in a state in which its encode speaks the format.
  public init(
    unit: Unit, format: Int, memory: any TableStorage<Output>, frames: any FrameSource<Output>
  ) throws(MapError) {
    let layout = TableLayout(unit.architecture, format: format)
    let absentBits = layout.levels.indices.map { Self.absentBits(unit, format, level: $0) }
    self.unit = unit
    self.layout = layout
    self.memory = memory
    self.frames = frames
    self.absentBits = absentBits
    let byteCount = layout.tableByteCount(at: layout.topLevel)
    guard let root = frames.allocateTable(byteCount: byteCount, alignment: layout.tableAlignment(at: layout.topLevel)) else {
      throw .outOfFrames(byteCount: byteCount)
    }
    self.root = root
    tableByteCount = byteCount
    try clearTable(root, at: layout.topLevel)
    if layout.hasFixedRoot { try fillRoot() }
  }

  private static func absentBits(_ unit: Unit, _ format: Int, level: Int) -> UInt64 {
    var absent = pgk_entry_v1()
    absent.kind = UInt8(PGK_ENTRY_ABSENT)
    absent.level = UInt8(level)
    return (try? unit.encode(format: format, level: level, absent).bits) ?? 0
  }

  private func fillRoot() throws(MapError) {
    for index in 0..<layout.entryCount(at: layout.topLevel) {
      let input = layout.canonical(UInt64(index) << UInt64(layout.levels[layout.topLevel].shift))
      _ = try addTable(in: try step(Address(input), at: layout.topLevel, in: root))
    }
  }

  // MARK: Reading

  /// The entry that an input address selects in a table.
  func step(_ input: Address<Input>, at level: Int, in table: Address<Output>) throws(MapError) -> TableStep<Output> {
    let slot = table + UInt64(layout.index(of: input.bits, at: level) * layout.entryByteCount)
    let bits = try load(slot)
    return TableStep(slot: slot, bits: bits, level: level, decoded: try decode(bits, at: level))
  }

  /// Goes down from a table until the walk ends, at `target` at the latest, and returns the step it ended with.
  func descend(
    _ input: Address<Input>, from table: Address<Output>, at level: Int, to target: Int = 0,
    _ visit: (TableStep<Output>) -> Void = { _ in }
  ) throws(MapError) -> TableStep<Output> {
    var table = table
    var level = level
    while true {
      let step = try step(input, at: level, in: table)
      visit(step)
      guard step.kind == .table, level > target else { return step }
      table = step.output
      level -= 1
    }
  }

  /// Every entry that a walk of the address reads, root first. Ends at a leaf, or at the entry that has none below it.
  public func walk(_ input: Address<Input>) throws(MapError) -> [TableStep<Output>] {
    try checkCanonical(input)
    var steps: [TableStep<Output>] = []
    _ = try descend(input, from: root, at: layout.topLevel) { steps.append($0) }
    return steps
  }

  /// The page that maps the address, or nil if none does.
  public func mapping(of input: Address<Input>) throws(MapError) -> Mapping<Input, Output>? {
    try checkCanonical(input)
    let step = try descend(input, from: root, at: layout.topLevel)
    switch step.kind {
    case .leaf: return mapping(of: input, from: step)
    case .absent: return nil
    case .table, .invalid: throw .damagedEntry(slot: step.slot.bits, bits: step.bits, level: step.level)
    }
  }

  /// Where the address leads, or nil if it is not mapped.
  public func translate(_ input: Address<Input>) throws(MapError) -> Address<Output>? {
    try mapping(of: input)?.output(of: input)
  }

  func mapping(of input: Address<Input>, from step: TableStep<Output>) -> Mapping<Input, Output> {
    let shift = layout.levels[step.level].shift
    return Mapping(
      input: input.aligned(toShift: shift), output: step.output, pageShift: shift, attributes: step.attributes)
  }

  // MARK: Checks

  func checkCanonical(_ input: Address<Input>) throws(MapError) {
    guard layout.isCanonical(input.bits) else {
      throw .notCanonical(
        input.bits, format: layout.name, inputBits: layout.inputBits, isSignExtended: layout.isSignExtended)
    }
  }

  /// A range is good if its ends are addresses of the format, and pages begin and end there.
  func checkRange(_ range: PageRange<Input>) throws(MapError) {
    try checkCanonical(range.start)
    try checkCanonical(range.last)
    let smallest = layout.levels[0].shift
    guard range.start.isAligned(toShift: smallest) else { throw .misaligned(range.start.bits, pageShift: smallest) }
    let end = Address<Input>(range.last.bits &+ 1)
    guard end.isAligned(toShift: smallest) else { throw .misaligned(end.bits, pageShift: smallest) }
  }

  // MARK: Entries

  func load(_ slot: Address<Output>) throws(MapError) -> UInt64 {
    do { return try memory.load(slot, byteCount: layout.entryByteCount) } catch { throw .memory(error) }
  }

  func store(_ bits: UInt64, at slot: Address<Output>) throws(MapError) {
    do { try memory.store(bits, at: slot, byteCount: layout.entryByteCount) } catch { throw .memory(error) }
  }

  func decode(_ bits: UInt64, at level: Int) throws(MapError) -> pgk_entry_v1 {
    do { return try unit.decode(format: layout.format, level: level, bits) } catch { throw .refusedByFormat(error.message) }
  }

  func encode(_ entry: pgk_entry_v1) throws(MapError) -> (bits: UInt64, unexpressed: PageAttributes.Flags) {
    do {
      let encoded = try unit.encode(format: layout.format, level: Int(entry.level), entry)
      return (encoded.bits, PageAttributes.Flags(rawValue: encoded.unexpressed))
    } catch {
      throw .refusedByFormat(error.message)
    }
  }

  /// A leaf as the format writes it.
  func encodeLeaf(
    _ output: Address<Output>, _ attributes: PageAttributes, at level: Int
  ) throws(MapError) -> (bits: UInt64, unexpressed: PageAttributes.Flags) {
    var entry = pgk_entry_v1()
    entry.output = output.bits
    entry.attributes = attributes.flags.rawValue
    entry.memory_type = attributes.memoryType
    entry.key = attributes.key
    entry.kind = UInt8(PGK_ENTRY_LEAF)
    entry.level = UInt8(level)
    return try encode(entry)
  }

  /// An entry that points to a table and takes no right away.
  func encodeTable(_ table: Address<Output>, at level: Int) throws(MapError) -> UInt64 {
    var entry = pgk_entry_v1()
    entry.output = table.bits
    entry.attributes = PageAttributes.Flags.rights.rawValue
    entry.kind = UInt8(PGK_ENTRY_TABLE)
    entry.level = UInt8(level)
    return try encode(entry).bits
  }

  // MARK: Tables

  /// Hangs an empty table into an absent entry.
  func addTable(in step: TableStep<Output>) throws(MapError) -> Address<Output> {
    let level = step.level - 1
    let byteCount = layout.tableByteCount(at: level)
    guard let table = frames.allocateTable(byteCount: byteCount, alignment: layout.tableAlignment(at: level)) else {
      throw .outOfFrames(byteCount: byteCount)
    }
    tableByteCount += byteCount
    try clearTable(table, at: level)
    try store(try encodeTable(table, at: step.level), at: step.slot)
    return table
  }

  /// New frames are zero, so there is work only where absent entries are not.
  private func clearTable(_ table: Address<Output>, at level: Int) throws(MapError) {
    guard absentBits[level] != 0 else { return }
    for index in 0..<layout.entryCount(at: level) {
      try store(absentBits[level], at: table + UInt64(index * layout.entryByteCount))
    }
  }
}
