// Entries to neutral attributes and back.
import CPagingKit
import PagingKit

enum X86Attributes {
  static let twoLevel = PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_USER | PGK_ATTRIBUTE_GLOBAL
    | PGK_ATTRIBUTE_ACCESSED | PGK_ATTRIBUTE_DIRTY | PGK_ATTRIBUTE_MEMORY_TYPE
  static let pae = twoLevel | PGK_ATTRIBUTE_EXECUTE
  static let longMode = pae | PGK_ATTRIBUTE_KEY
  static let ept = PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_EXECUTE | PGK_ATTRIBUTE_ACCESSED
    | PGK_ATTRIBUTE_DIRTY | PGK_ATTRIBUTE_MEMORY_TYPE

  /// Neutral memory types by PCD:PWT, with the PAT as it is after reset ("Programming the PAT").
  static let typeOfCacheBits: [UInt32] = [PGK_MEMORY_NORMAL, PGK_MEMORY_WRITE_THROUGH, PGK_MEMORY_UNCACHED, PGK_MEMORY_DEVICE]
}

extension X86Unit {
  func decode(format: Int, level: Int, _ bits: UInt64) -> pgk_entry_v1 {
    switch X86Format.all[format] {
    case .twoLevel: decode(TwoLevel.self, UnsafePointer(first.pointee.controls), level, bits)
    case .pae: decode(PAE.self, UnsafePointer(first.pointee.controls), level, bits)
    case .fourLevel: decode(FourLevel.self, UnsafePointer(first.pointee.controls), level, bits)
    case .fiveLevel: decode(FiveLevel.self, UnsafePointer(first.pointee.controls), level, bits)
    case .nptTwoLevel: decode(TwoLevel.self, UnsafePointer(nested.controls), level, bits)
    case .nptPAE: decode(PAE.self, UnsafePointer(nested.controls), level, bits)
    case .nptFourLevel: decode(FourLevel.self, UnsafePointer(nested.controls), level, bits)
    case .nptFiveLevel: decode(FiveLevel.self, UnsafePointer(nested.controls), level, bits)
    case .ept4: decode(EPT4.self, UnsafePointer(nested.eptControls), level, bits)
    case .ept5: decode(EPT5.self, UnsafePointer(nested.eptControls), level, bits)
    }
  }

  private func decode<Format: PageTableFormat>(
    _ format: Format.Type, _ controls: Format.Controls, _ level: Int, _ bits: UInt64
  ) -> pgk_entry_v1 {
    var entry = pgk_entry_v1()
    entry.level = UInt8(level)
    switch Format.step(Entry(bits), at: level, controls) {
    case .absent: entry.kind = UInt8(PGK_ENTRY_ABSENT)
    case .refused: entry.kind = UInt8(PGK_ENTRY_INVALID)
    case .table(let next):
      entry.kind = UInt8(PGK_ENTRY_TABLE)
      entry.output = next
    case .leaf(let page, _):
      entry.kind = UInt8(PGK_ENTRY_LEAF)
      entry.output = page
    }
    guard entry.kind == UInt8(PGK_ENTRY_TABLE) || entry.kind == UInt8(PGK_ENTRY_LEAF) else { return entry }
    let isLeaf = entry.kind == UInt8(PGK_ENTRY_LEAF)
    let rights = Format.rights(of: Entry(bits), at: level, isLeaf: isLeaf, controls)
    entry.attributes = UInt32(rights.rawValue & 7)
    if Format.self is any EPTFormat.Type {
      decodeEPT(bits, isLeaf, &entry)
    } else {
      if rights.has(.user) { entry.attributes |= PGK_ATTRIBUTE_USER }
      decodeFlags(bits, isLeaf, hasKey: Format.self is FourLevel.Type || Format.self is FiveLevel.Type, &entry)
    }
    return entry
  }

  private func decodeFlags(_ bits: UInt64, _ isLeaf: Bool, hasKey: Bool, _ entry: inout pgk_entry_v1) {
    if bits & EntryBits.accessed != 0 { entry.attributes |= PGK_ATTRIBUTE_ACCESSED }
    guard isLeaf else { return }
    if bits & EntryBits.dirty != 0 { entry.attributes |= PGK_ATTRIBUTE_DIRTY }
    if bits & EntryBits.global != 0 { entry.attributes |= PGK_ATTRIBUTE_GLOBAL }
    entry.memory_type = UInt8(X86Attributes.typeOfCacheBits[Int(bits >> 3 & 3)])
    if hasKey { entry.key = UInt8(bits >> 59 & 15) }
  }

  private func decodeEPT(_ bits: UInt64, _ isLeaf: Bool, _ entry: inout pgk_entry_v1) {
    entry.attributes |= PGK_ATTRIBUTE_USER
    if bits & 0x100 != 0 { entry.attributes |= PGK_ATTRIBUTE_ACCESSED }
    guard isLeaf else { return }
    if bits & 0x200 != 0 { entry.attributes |= PGK_ATTRIBUTE_DIRTY }
    let types: [UInt32] = [PGK_MEMORY_UNCACHED, PGK_MEMORY_WRITE_COMBINING, 0, 0, PGK_MEMORY_WRITE_THROUGH, 0, PGK_MEMORY_NORMAL, 0]
    entry.memory_type = UInt8(types[Int(bits >> 3 & 7)])
  }

  func encode(format: Int, level: Int, _ entry: inout pgk_entry_v1) throws(Refusal) -> UInt64 {
    let definition = Self.definition.formats[format]
    entry.unexpressed = 0
    if UInt32(entry.kind) == PGK_ENTRY_ABSENT { return 0 }
    let isLeaf = UInt32(entry.kind) == PGK_ENTRY_LEAF
    guard isLeaf || UInt32(entry.kind) == PGK_ENTRY_TABLE else { throw Refusal(PGK_E_ARGUMENT, "an entry of kind \(entry.kind) cannot be encoded") }
    guard isLeaf ? definition.levels[level].mayBeLeaf : level > 0 else {
      throw Refusal(PGK_E_ARGUMENT, "\(definition.levels[level].name) of \(definition.name) cannot \(isLeaf ? "map a page" : "reference a table")")
    }
    guard !isLeaf || level == 0 || hasLargePages(X86Format.all[format], level) else {
      throw Refusal(PGK_E_ARGUMENT, "\(definition.levels[level].name) of \(definition.name) cannot map a page: the feature, or its control bit, is off")
    }
    let alignment = isLeaf ? definition.radix.shift(level) : 12
    guard entry.output & ((1 << alignment) - 1) == 0 else {
      throw Refusal(PGK_E_ARGUMENT, "0x\(String(entry.output, radix: 16)) is not aligned to 2^\(alignment) bytes")
    }
    let width = X86Format.all[format].isTwoLevel && !isLeaf || X86Format.all[format].isTwoLevel && level == 0 ? 32 : min(maxPhysical, X86Format.all[format].isTwoLevel ? 40 : 52)
    guard entry.output >> width == 0 else {
      throw Refusal(PGK_E_ARGUMENT, "0x\(String(entry.output, radix: 16)) is wider than the \(width) bits of \(definition.name)")
    }
    return definition.stage == 2 && X86Format.all[format].isEPT
      ? encodeEPT(level, isLeaf, &entry) : encodeEntry(X86Format.all[format], level, isLeaf, &entry)
  }

  /// Whether processor and registers let an entry above the last level map a page.
  private func hasLargePages(_ format: X86Format, _ level: Int) -> Bool {
    if format.isEPT { return level == 1 ? model.hasEPT2MiB : model.hasEPT1GiB }
    if format.isTwoLevel { return (format.isSecondStage ? nested.controls.pointee : controls).hasPSE }
    return level == 1 || model.has1GiB
  }

  private func encodeEntry(_ format: X86Format, _ level: Int, _ isLeaf: Bool, _ entry: inout pgk_entry_v1) -> UInt64 {
    if format.isPAE && level == 2 { return entry.output | 1 }
    let wanted = entry.attributes
    func has(_ attribute: UInt32) -> Bool { wanted & attribute != 0 }
    var bits: UInt64 = 1
    if has(PGK_ATTRIBUTE_WRITE) { bits |= EntryBits.writable }
    if has(PGK_ATTRIBUTE_USER) { bits |= EntryBits.user }
    if has(PGK_ATTRIBUTE_ACCESSED) { bits |= EntryBits.accessed }
    // Every present page can be read.
    if !has(PGK_ATTRIBUTE_READ) { entry.unexpressed |= PGK_ATTRIBUTE_READ }
    if !has(PGK_ATTRIBUTE_EXECUTE) {
      if format.isTwoLevel || !hasExecuteDisable(format) { entry.unexpressed |= PGK_ATTRIBUTE_EXECUTE } else { bits |= 1 << 63 }
    }
    guard isLeaf else { return bits | entry.output }
    if has(PGK_ATTRIBUTE_DIRTY) { bits |= EntryBits.dirty }
    if has(PGK_ATTRIBUTE_GLOBAL) { bits |= EntryBits.global }
    if let cache = X86Attributes.typeOfCacheBits.firstIndex(of: UInt32(entry.memory_type)) {
      bits |= UInt64(cache) << 3
    } else {
      bits |= 3 << 3
      entry.unexpressed |= PGK_ATTRIBUTE_MEMORY_TYPE
    }
    if entry.key != 0 {
      if format.hasKeys && entry.key < 16 { bits |= UInt64(entry.key) << 59 } else { entry.unexpressed |= PGK_ATTRIBUTE_KEY }
    }
    if level > 0 { bits |= EntryBits.pageSize }
    if format.isTwoLevel && level == 1 { return bits | entry.output & 0xffc0_0000 | (entry.output >> 32 & 0xff) << 13 }
    return bits | entry.output
  }

  private func hasExecuteDisable(_ format: X86Format) -> Bool {
    (format.isSecondStage ? nested.controls.pointee : controls).reserved & 1 << 63 == 0
  }

  private func encodeEPT(_ level: Int, _ isLeaf: Bool, _ entry: inout pgk_entry_v1) -> UInt64 {
    let wanted = entry.attributes
    var rights = UInt64(wanted & 7)
    if rights & 3 == 2 || rights == 4 && !nested.eptControls.pointee.hasExecuteOnly {
      // Write without read, or execute without read where that is not supported, would be a misconfiguration.
      rights |= 1
      entry.unexpressed |= PGK_ATTRIBUTE_READ
    }
    // An entry without rights is not present.
    if rights == 0 { entry.unexpressed |= PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_EXECUTE }
    var bits = rights | entry.output
    if nested.eptControls.pointee.hasModeBasedExecute && rights & 4 != 0 { bits |= 0x400 }
    if wanted & PGK_ATTRIBUTE_USER == 0 { entry.unexpressed |= PGK_ATTRIBUTE_USER }
    if wanted & PGK_ATTRIBUTE_GLOBAL != 0 { entry.unexpressed |= PGK_ATTRIBUTE_GLOBAL }
    if wanted & PGK_ATTRIBUTE_ACCESSED != 0 { bits |= 0x100 }
    guard isLeaf else { return bits }
    if wanted & PGK_ATTRIBUTE_DIRTY != 0 { bits |= 0x200 }
    let types: [UInt32: UInt64] = [
      PGK_MEMORY_NORMAL: 6, PGK_MEMORY_UNCACHED: 0, PGK_MEMORY_DEVICE: 0, PGK_MEMORY_WRITE_THROUGH: 4, PGK_MEMORY_WRITE_COMBINING: 1,
    ]
    bits |= (types[UInt32(entry.memory_type)] ?? 0) << 3
    if types[UInt32(entry.memory_type)] == nil || UInt32(entry.memory_type) == PGK_MEMORY_DEVICE { entry.unexpressed |= PGK_ATTRIBUTE_MEMORY_TYPE }
    if entry.key != 0 { entry.unexpressed |= PGK_ATTRIBUTE_KEY }
    if level > 0 { bits |= 0x80 }
    return bits
  }
}

/// The formats of the description, in its order.
enum X86Format: Int, CaseIterable {
  case twoLevel, pae, fourLevel, fiveLevel, nptTwoLevel, nptPAE, nptFourLevel, nptFiveLevel, ept4, ept5

  static let all = allCases

  var isTwoLevel: Bool { self == .twoLevel || self == .nptTwoLevel }
  var isPAE: Bool { self == .pae || self == .nptPAE }
  var isEPT: Bool { self == .ept4 || self == .ept5 }
  var isSecondStage: Bool { rawValue >= X86Format.nptTwoLevel.rawValue }
  var hasKeys: Bool { self == .fourLevel || self == .fiveLevel }

  var definition: FormatDefinition {
    switch self {
    case .twoLevel: TwoLevel.definition
    case .pae: PAE.definition
    case .fourLevel: FourLevel.definition
    case .fiveLevel: FiveLevel.definition
    case .nptTwoLevel: TwoLevel.definition.nested()
    case .nptPAE: PAE.definition.nested()
    case .nptFourLevel: FourLevel.definition.nested()
    case .nptFiveLevel: FiveLevel.definition.nested()
    case .ept4: EPT4.definition
    case .ept5: EPT5.definition
    }
  }
}

extension FormatDefinition {
  /// The same tables as the second stage of AMD nested paging.
  func nested() -> FormatDefinition {
    FormatDefinition(
      name: "npt-" + name, title: title + " as nested page table", reference: "AMD APM volume 2, Nested Paging",
      radix: radix, stage: 2, outputBits: outputBits, isSignExtended: false, rootAlignmentShift: rootAlignmentShift,
      attributes: attributes, levels: levels, layouts: layouts)
  }
}
