// Entries as neutral attributes, and back.
import CPagingKit
import PagingKit

enum EntryAttributes {
  private static let rights = PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_EXECUTE
  private static let all = rights | PGK_ATTRIBUTE_USER | PGK_ATTRIBUTE_GLOBAL | PGK_ATTRIBUTE_ACCESSED | PGK_ATTRIBUTE_DIRTY

  /// PBMT 0, 1, 2. NC is not cached but ordered as memory.
  private static let memoryTypes = [PGK_MEMORY_NORMAL, PGK_MEMORY_UNCACHED, PGK_MEMORY_DEVICE]

  /// What a leaf of the format has bits for. G means nothing to a second stage.
  static func expressed<Format: RISCVFormat>(by format: Format.Type) -> UInt32 {
    let type = Format.radix.entryBytes == 8 ? PGK_ATTRIBUTE_MEMORY_TYPE : 0
    return (Format.isSecondStage ? all & ~PGK_ATTRIBUTE_GLOBAL : all) | type
  }

  // MARK: Decoding

  static func decode<Format: RISCVFormat>(_ format: Format.Type, _ level: Int, _ bits: UInt64, _ controls: EntryControls) -> pgk_entry_v1 {
    let entry = Entry(bits)
    var decoded = pgk_entry_v1()
    decoded.level = UInt8(level)
    switch Format.step(entry, at: level, controls) {
    case .absent: decoded.kind = UInt8(PGK_ENTRY_ABSENT)
    case .refused: decoded.kind = UInt8(PGK_ENTRY_INVALID)
    case .table(let next):
      decoded.kind = UInt8(PGK_ENTRY_TABLE)
      decoded.output = next
      // A pointer takes no right away.
      decoded.attributes = rights | PGK_ATTRIBUTE_USER
      if entry.has(Format.G) && !Format.isSecondStage { decoded.attributes |= PGK_ATTRIBUTE_GLOBAL }
    case .leaf(let output, _):
      // The second stage refuses every use of a page without U.
      let isUsable = !Format.isSecondStage || entry.has(Format.U)
      decoded.kind = UInt8(isUsable ? PGK_ENTRY_LEAF : PGK_ENTRY_INVALID)
      decoded.output = output
      decoded.attributes = leafAttributes(format, entry)
      if Format.radix.entryBytes == 8 { decoded.memory_type = UInt8(memoryTypes[Int(entry[Format.PBMT])]) }
    }
    return decoded
  }

  private static func leafAttributes<Format: RISCVFormat>(_ format: Format.Type, _ entry: Entry) -> UInt32 {
    let pairs: [(Field, UInt32)] = [
      (Format.R, PGK_ATTRIBUTE_READ), (Format.W, PGK_ATTRIBUTE_WRITE), (Format.X, PGK_ATTRIBUTE_EXECUTE),
      (Format.U, PGK_ATTRIBUTE_USER), (Format.G, PGK_ATTRIBUTE_GLOBAL), (Format.A, PGK_ATTRIBUTE_ACCESSED),
      (Format.D, PGK_ATTRIBUTE_DIRTY),
    ]
    return pairs.reduce(0) { entry.has($1.0) ? $0 | $1.1 : $0 } & (expressed(by: format) | PGK_ATTRIBUTE_USER)
  }

  // MARK: Encoding

  static func encode<Format: RISCVFormat>(
    _ format: Format.Type, _ level: Int, _ entry: inout pgk_entry_v1, _ controls: EntryControls
  ) throws(Refusal) -> UInt64 {
    entry.unexpressed = 0
    switch UInt32(entry.kind) {
    case PGK_ENTRY_ABSENT: return 0
    case PGK_ENTRY_TABLE:
      guard level > 0 else { throw Refusal(PGK_E_ARGUMENT, "level 0 holds no pointers to tables") }
      try checkOutput(format, entry.output, alignmentShift: 12)
      return pointer(format, &entry)
    case PGK_ENTRY_LEAF:
      try checkOutput(format, entry.output, alignmentShift: Format.radix.shift(level))
      return leaf(format, &entry, controls)
    default: throw Refusal(PGK_E_ARGUMENT, "an entry of kind \(entry.kind) cannot be written; expected absent, table or leaf")
    }
  }

  private static func checkOutput<Format: RISCVFormat>(_ format: Format.Type, _ output: UInt64, alignmentShift: UInt64) throws(Refusal) {
    guard output & ((1 << alignmentShift) - 1) == 0 else {
      throw Refusal(PGK_E_ARGUMENT, "output 0x\(String(output, radix: 16)) is not aligned to 2^\(alignmentShift) bytes")
    }
    let bits: UInt64 = Format.radix.entryBytes == 4 ? 34 : 56
    guard output >> bits == 0 else {
      throw Refusal(PGK_E_ARGUMENT, "output 0x\(String(output, radix: 16)) has more than the \(bits) bits of the format")
    }
  }

  private static func pointer<Format: RISCVFormat>(_ format: Format.Type, _ entry: inout pgk_entry_v1) -> UInt64 {
    var bits = Entry(Format.V.mask)
    bits[Format.PPN] = entry.output >> 12
    entry.unexpressed = (rights | PGK_ATTRIBUTE_USER) & ~entry.attributes
    entry.unexpressed |= entry.attributes & (PGK_ATTRIBUTE_ACCESSED | PGK_ATTRIBUTE_DIRTY)
    if entry.attributes & PGK_ATTRIBUTE_GLOBAL != 0 {
      if Format.isSecondStage { entry.unexpressed |= PGK_ATTRIBUTE_GLOBAL } else { bits[Format.G] = 1 }
    }
    noteTypeAndKey(&entry, hasTypes: false)
    return bits.bits
  }

  private static func leaf<Format: RISCVFormat>(_ format: Format.Type, _ entry: inout pgk_entry_v1, _ controls: EntryControls) -> UInt64 {
    var bits = Entry(Format.V.mask)
    bits[Format.PPN] = entry.output >> 12
    var wanted = entry.attributes
    if wanted & PGK_ATTRIBUTE_WRITE != 0 && wanted & PGK_ATTRIBUTE_READ == 0 {
      // W without R is reserved, or a shadow-stack page.
      wanted |= PGK_ATTRIBUTE_READ
      entry.unexpressed |= PGK_ATTRIBUTE_READ
    }
    if wanted & rights == 0 {
      // Without R, W and X it would be a pointer: it is written as an entry that is not valid and keeps its page number.
      bits[Format.V] = 0
      entry.unexpressed |= rights
    }
    if Format.isSecondStage {
      if wanted & PGK_ATTRIBUTE_USER == 0 { entry.unexpressed |= PGK_ATTRIBUTE_USER }
      wanted |= PGK_ATTRIBUTE_USER
      entry.unexpressed |= wanted & PGK_ATTRIBUTE_GLOBAL
      wanted &= ~PGK_ATTRIBUTE_GLOBAL
    }
    bits[Format.R] = wanted & PGK_ATTRIBUTE_READ == 0 ? 0 : 1
    bits[Format.W] = wanted & PGK_ATTRIBUTE_WRITE == 0 ? 0 : 1
    bits[Format.X] = wanted & PGK_ATTRIBUTE_EXECUTE == 0 ? 0 : 1
    bits[Format.U] = wanted & PGK_ATTRIBUTE_USER == 0 ? 0 : 1
    bits[Format.G] = wanted & PGK_ATTRIBUTE_GLOBAL == 0 ? 0 : 1
    bits[Format.A] = wanted & PGK_ATTRIBUTE_ACCESSED == 0 ? 0 : 1
    bits[Format.D] = wanted & PGK_ATTRIBUTE_DIRTY == 0 ? 0 : 1
    let hasTypes = Format.radix.entryBytes == 8 && controls.leafReserved & Format.PBMT.mask == 0
    if hasTypes, let type = memoryTypes.firstIndex(of: UInt32(entry.memory_type)) { bits[Format.PBMT] = UInt64(type) }
    noteTypeAndKey(&entry, hasTypes: hasTypes)
    return bits.bits
  }

  private static func noteTypeAndKey(_ entry: inout pgk_entry_v1, hasTypes: Bool) {
    let type = UInt32(entry.memory_type)
    if type != PGK_MEMORY_NORMAL && !(hasTypes && memoryTypes.contains(type)) { entry.unexpressed |= PGK_ATTRIBUTE_MEMORY_TYPE }
    if entry.key != 0 { entry.unexpressed |= PGK_ATTRIBUTE_KEY }
  }
}

extension RISCVUnit {
  func decode(format: Int, level: Int, _ bits: UInt64) -> pgk_entry_v1 {
    func decode<Format: RISCVFormat>(_ format: Format.Type) -> pgk_entry_v1 {
      EntryAttributes.decode(format, level, bits, entryControls(of: format))
    }
    return decode(FormatList.all[format])
  }

  func encode(format: Int, level: Int, _ entry: inout pgk_entry_v1) throws(Refusal) -> UInt64 {
    func encode<Format: RISCVFormat>(_ format: Format.Type, _ entry: inout pgk_entry_v1) throws(Refusal) -> UInt64 {
      try EntryAttributes.encode(format, level, &entry, entryControls(of: format))
    }
    return try encode(FormatList.all[format], &entry)
  }

  /// The present controls for entries of a format, whether or not the registers select it.
  private func entryControls<Format: RISCVFormat>(of format: Format.Type) -> EntryControls {
    let isGuest = setting.guest.translation.mode != .bare || setting.second.mode != .bare
    let controls = Format.isSecondStage ? setting.secondControls : isGuest ? setting.guest.controls : setting.native.controls
    if setting.is32 == (Format.radix.entryBytes == 4) { return controls }
    return Format.radix.entryBytes == 4
      ? .rv32(hasShadowStack: controls.hasShadowStack, updates: controls.updates, addressBits: 64)
      : .rv64(
        hasPBMT: false, hasNAPOT: model.hasSvnapot, hasShadowStack: controls.hasShadowStack, updates: controls.updates,
        addressBits: 64)
  }
}
