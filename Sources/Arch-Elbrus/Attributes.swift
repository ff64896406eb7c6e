// Entries to neutral attributes and back.
import CPagingKit
import PagingKit

enum NeutralAttributes {
  /// Every page that is present can be read.
  static let firstStage = PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_EXECUTE | PGK_ATTRIBUTE_USER
    | PGK_ATTRIBUTE_GLOBAL | PGK_ATTRIBUTE_ACCESSED | PGK_ATTRIBUTE_DIRTY | PGK_ATTRIBUTE_MEMORY_TYPE
  static let secondStage = PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_EXECUTE | PGK_ATTRIBUTE_ACCESSED
    | PGK_ATTRIBUTE_DIRTY | PGK_ATTRIBUTE_MEMORY_TYPE
  static let rights = PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_EXECUTE | PGK_ATTRIBUTE_USER
}

/// The formats of the description, in its order.
enum ElbrusFormats: Int, CaseIterable {
  case v6, v3, gp

  var definition: FormatDefinition {
    switch self {
    case .v6: FormatV6.definition
    case .v3: FormatV3.definition
    case .gp: FormatGP.definition
    }
  }

  // Where the formats keep what they do not keep alike; 0 where they have none.
  var valid: UInt64 { [1 << 3, 1 << 40, 0][rawValue] }
  var privileged: UInt64 { [1 << 2, 1 << 41, 0][rawValue] }
  var nonExecutable: UInt64 { [1 << 63, 1 << 43, 1 << 63][rawValue] }
  var frameMask: UInt64 { self == .v3 ? FormatV3.frameMask : FormatV6.frameMask }
  var hasGlobal: Bool { self != .gp }

  /// Software writes it into every entry of this space: not a page of the secondary space.
  var own: UInt64 { self == .v3 ? FormatV3.INTL_PR.mask : 0 }

  /// An entry that maps nothing and is not kept by TLBs: VALID alone, so that a speculative load of memory which is
  /// paged in on demand traps as others do.
  var absent: UInt64 { valid }

  // MARK: Memory types

  /// V6 and GP: MT. V3: PWT marks configuration space, CD2:CD1 switches caches off.
  func type(of bits: UInt64) -> UInt32 {
    guard self == .v3 else {
      return [PGK_MEMORY_NORMAL, PGK_MEMORY_UNCACHED, PGK_MEMORY_UNCACHED, PGK_MEMORY_UNCACHED, PGK_MEMORY_WRITE_COMBINING,
        PGK_MEMORY_UNCACHED, PGK_MEMORY_DEVICE, PGK_MEMORY_DEVICE][Int(bits >> 60 & 7)]
    }
    if bits & FormatV3.PWT.mask != 0 { return PGK_MEMORY_DEVICE }
    return bits & (FormatV3.CD1.mask | FormatV3.CD2.mask) == 0 ? PGK_MEMORY_NORMAL : PGK_MEMORY_UNCACHED
  }

  /// The bits of a neutral type, and whether they say exactly that.
  func bits(ofType type: UInt32) -> (bits: UInt64, isExact: Bool) {
    let uncached: UInt64 = self == .v3 ? FormatV3.CD1.mask | FormatV3.CD2.mask : 1 << 60
    switch type {
    case PGK_MEMORY_NORMAL: return (0, true)
    case PGK_MEMORY_UNCACHED: return (uncached, true)
    case PGK_MEMORY_DEVICE: return (self == .v3 ? uncached | FormatV3.PWT.mask : 6 << 60, true)
    case PGK_MEMORY_WRITE_COMBINING where self != .v3: return (4 << 60, true)
    default: return (uncached, false)
    }
  }
}

extension ElbrusUnit {
  func decode(format: Int, level: Int, _ bits: UInt64) -> pgk_entry_v1 {
    let format = ElbrusFormats.allCases[format]
    let controls = UnsafePointer(controls)
    let step =
      switch format {
      case .v6: FormatV6.step(Entry(bits), at: level, controls)
      case .v3: FormatV3.step(Entry(bits), at: level, controls)
      case .gp: FormatGP.step(Entry(bits), at: level, controls)
      }
    var entry = pgk_entry_v1()
    entry.level = UInt8(level)
    switch step {
    case .absent: entry.kind = UInt8(PGK_ENTRY_ABSENT)
    case .refused:
      // Neither valid nor present is how software leaves what it has not mapped.
      entry.kind = UInt8(bits & EntryBits.present == 0 ? PGK_ENTRY_ABSENT : PGK_ENTRY_INVALID)
    case .table(let next):
      entry.kind = UInt8(PGK_ENTRY_TABLE)
      entry.output = next
      entry.attributes = NeutralAttributes.rights | (bits & EntryBits.accessed != 0 ? PGK_ATTRIBUTE_ACCESSED : 0)
    case .leaf(let page, _):
      entry.kind = UInt8(PGK_ENTRY_LEAF)
      entry.output = page
      entry.attributes = attributes(of: bits, format)
      entry.memory_type = UInt8(format.type(of: bits))
    }
    return entry
  }

  private func attributes(of leaf: UInt64, _ format: ElbrusFormats) -> UInt32 {
    var attributes = PGK_ATTRIBUTE_READ
    if leaf & EntryBits.writable != 0 { attributes |= PGK_ATTRIBUTE_WRITE }
    if leaf & format.nonExecutable == 0 { attributes |= PGK_ATTRIBUTE_EXECUTE }
    // The second stage knows no privilege: every program may.
    if leaf & format.privileged == 0 { attributes |= PGK_ATTRIBUTE_USER }
    if format.hasGlobal && leaf & EntryBits.global != 0 { attributes |= PGK_ATTRIBUTE_GLOBAL }
    if leaf & EntryBits.accessed != 0 { attributes |= PGK_ATTRIBUTE_ACCESSED }
    if leaf & EntryBits.dirty != 0 { attributes |= PGK_ATTRIBUTE_DIRTY }
    return attributes
  }

  func encode(format index: Int, level: Int, _ entry: inout pgk_entry_v1) throws(Refusal) -> UInt64 {
    let format = ElbrusFormats.allCases[index]
    entry.unexpressed = 0
    if UInt32(entry.kind) == PGK_ENTRY_ABSENT { return format.absent }
    let isLeaf = UInt32(entry.kind) == PGK_ENTRY_LEAF
    guard isLeaf || UInt32(entry.kind) == PGK_ENTRY_TABLE else {
      throw Refusal(PGK_E_ARGUMENT, "an entry of kind \(entry.kind) cannot be encoded")
    }
    let name = format.definition.levels[level].name
    guard isLeaf ? level == 0 || controls.pointee.largeLevels >> UInt64(level) & 1 != 0 : level > 0 else {
      throw Refusal(PGK_E_ARGUMENT, "a \(name) of ISET v\(model.iset) cannot \(isLeaf ? "map a page" : "point to a table")")
    }
    let shift = isLeaf ? format.definition.radix.shift(level) : 12
    guard entry.output & ((1 << shift) - 1) == 0 else {
      throw Refusal(PGK_E_ARGUMENT, "0x\(String(entry.output, radix: 16)) is not aligned to 2^\(shift) bytes")
    }
    guard entry.output & ~format.frameMask == 0 else {
      throw Refusal(PGK_E_ARGUMENT, "0x\(String(entry.output, radix: 16)) is wider than the \(format.definition.outputBits) bits of \(format.definition.name)")
    }
    return isLeaf ? encodeLeaf(format, level, &entry) : encodeDirectory(format, &entry)
  }

  private func encodeLeaf(_ format: ElbrusFormats, _ level: Int, _ entry: inout pgk_entry_v1) -> UInt64 {
    let wanted = entry.attributes
    func has(_ attribute: UInt32) -> Bool { wanted & attribute != 0 }
    let type = format.bits(ofType: UInt32(entry.memory_type))
    var bits = entry.output | EntryBits.present | format.valid | format.own | type.bits
    if level > 0 { bits |= EntryBits.huge }
    if has(PGK_ATTRIBUTE_WRITE) { bits |= EntryBits.writable }
    if !has(PGK_ATTRIBUTE_EXECUTE) { bits |= format.nonExecutable }
    if !has(PGK_ATTRIBUTE_USER) { bits |= format.privileged }
    if has(PGK_ATTRIBUTE_GLOBAL) && format.hasGlobal { bits |= EntryBits.global }
    if has(PGK_ATTRIBUTE_ACCESSED) { bits |= EntryBits.accessed }
    if has(PGK_ATTRIBUTE_DIRTY) { bits |= EntryBits.dirty }
    if !has(PGK_ATTRIBUTE_READ) { entry.unexpressed |= PGK_ATTRIBUTE_READ }
    if !has(PGK_ATTRIBUTE_USER) && format.privileged == 0 { entry.unexpressed |= PGK_ATTRIBUTE_USER }
    if has(PGK_ATTRIBUTE_GLOBAL) && !format.hasGlobal { entry.unexpressed |= PGK_ATTRIBUTE_GLOBAL }
    if !type.isExact { entry.unexpressed |= PGK_ATTRIBUTE_MEMORY_TYPE }
    if entry.key != 0 { entry.unexpressed |= PGK_ATTRIBUTE_KEY }
    return bits
  }

  /// As kernels write directories, in user space too: W, D, PV and NON_EX, which leaves alone decide.
  private func encodeDirectory(_ format: ElbrusFormats, _ entry: inout pgk_entry_v1) -> UInt64 {
    entry.unexpressed |= NeutralAttributes.rights & ~entry.attributes
    entry.unexpressed |= entry.attributes & (PGK_ATTRIBUTE_GLOBAL | PGK_ATTRIBUTE_DIRTY)
    if entry.memory_type != 0 { entry.unexpressed |= PGK_ATTRIBUTE_MEMORY_TYPE }
    if entry.key != 0 { entry.unexpressed |= PGK_ATTRIBUTE_KEY }
    let preset = EntryBits.present | EntryBits.writable | EntryBits.dirty | format.valid | format.own | format.privileged
    let accessed = entry.attributes & PGK_ATTRIBUTE_ACCESSED != 0 ? EntryBits.accessed : 0
    return entry.output | preset | accessed | format.nonExecutable
  }
}
