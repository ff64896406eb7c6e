// Extended page tables. Intel SDM volume 3C, "VMX Support for Address Translation": "EPT Translation Mechanism",
// "EPT Misconfigurations".
import PagingKit

/// What the EPT pointer, the execution controls and the model say about EPT entries.
@frozen @usableFromInline struct EPTControls {
  /// Address bits above MAXPHYADDR.
  @usableFromInline var reserved: UInt64 = 0
  @usableFromInline var hasExecuteOnly = true
  @usableFromInline var has2MiB = true
  @usableFromInline var has1GiB = true
  /// EPTP bit 6.
  @usableFromInline var hasFlags = false
  /// Mode-based execute control.
  @usableFromInline var hasModeBasedExecute = false
  @usableFromInline var isEager = false

  @usableFromInline init() {}
}

@usableFromInline protocol EPTFormat: PageTableFormat where Controls == UnsafePointer<EPTControls> {}

extension EPTFormat {
  /// Absent, then misconfigured, and only then does the entry mean something; permission is judged at the end.
  @inline(__always) @usableFromInline
  static func step(_ entry: Entry, at level: Int, _ controls: UnsafePointer<EPTControls>) -> Step {
    let bits = entry.bits
    let executable = bits & 4 != 0 || controls.pointee.hasModeBasedExecute && bits & 0x400 != 0
    guard bits & 3 != 0 || executable else { return .absent }
    guard bits & 1 != 0 || bits & 2 == 0 && controls.pointee.hasExecuteOnly else { return .refused(.misconfigured) }
    guard bits & controls.pointee.reserved == 0 else { return .refused(.misconfigured) }
    if level == 0 { return leaf(bits, pageShift: 12, reserved: 0) }
    if bits & 0x80 == 0 {
      return bits & (level >= 3 ? 0xf8 : 0x78) == 0 ? .table(bits & EntryBits.address) : .refused(.misconfigured)
    }
    if level == 1 && controls.pointee.has2MiB { return leaf(bits, pageShift: 21, reserved: 0x1f_f000) }
    if level == 2 && controls.pointee.has1GiB { return leaf(bits, pageShift: 30, reserved: 0x3fff_f000) }
    return .refused(.misconfigured)
  }

  /// Memory types 2, 3 and 7 do not exist.
  @inline(__always) @usableFromInline
  static func leaf(_ bits: UInt64, pageShift: UInt64, reserved: UInt64) -> Step {
    let type = (bits &>> 3) & 7
    guard bits & reserved == 0, type != 2, type != 3, type != 7 else { return .refused(.misconfigured) }
    return .leaf(bits & EntryBits.address, pageShift: pageShift)
  }

  /// R, W, X; bit 10 (execute in user mode) stands in the place of the user right.
  @inline(__always) @usableFromInline
  static func rights(of entry: Entry, at level: Int, isLeaf: Bool, _ controls: UnsafePointer<EPTControls>) -> Rights {
    let bits = entry.bits
    let collected = 0xe0 | bits & 7 | (bits & 0x400) &>> 7 | (isLeaf && controls.pointee.hasFlags ? (bits & 0x200) &>> 5 : 0x10)
    return Rights(rawValue: UInt8(truncatingIfNeeded: collected))
  }

  @inline(__always) @usableFromInline
  static func marked(_ entry: Entry, at level: Int, isLeaf: Bool, isWritten: Bool, _ controls: UnsafePointer<EPTControls>) -> Entry {
    controls.pointee.hasFlags ? Entry(entry.bits | 0x100 | (isLeaf && isWritten ? 0x200 : 0)) : entry
  }

  @inline(__always) @usableFromInline
  static func marksWhileDescending(_ controls: UnsafePointer<EPTControls>) -> Bool { controls.pointee.isEager }

  static func definition(name: String, title: String, levels: [FormatDefinition.Level]) -> FormatDefinition {
    let low = [
      Field("Ign.", 11), Field("X user-mode", 10), Field("D", 9), Field("A", 8), Field("PS", 7), Field("IPAT", 6),
      Field("Memory type", 5, 3), Field("X", 2), Field("W", 1), Field("R", 0),
    ]
    let table = [
      Field("Ign.", 11), Field("X user-mode", 10), Field("Ign.", 9), Field("A", 8), Field("PS", 7), Field("Reserved", 6, 3),
      Field("X", 2), Field("W", 1), Field("R", 0),
    ]
    let topTable = table.filter { $0.low > 7 || $0.high < 3 } + [Field("Reserved", 7, 3)]
    let page = low.map { $0.high == 7 ? Field("Ign.", 7) : $0 }
    let top = Field("Ign.", 63, 52)
    return FormatDefinition(
      name: name, title: title, reference: "Intel SDM volume 3C (080), EPT Translation Mechanism", radix: radix, stage: 2,
      outputBits: 52, isSignExtended: false, attributes: X86Attributes.ept, levels: levels,
      layouts: (3..<radix.levelCount).reversed().map {
        EntryLayout("EPT PML\($0 + 1)E", .table, levels: [$0], ([top, Field("Address", 51, 12)] + topTable).sorted { $0.high > $1.high })
      } + [
        EntryLayout("EPT PDPTE that references an EPT page directory", .table, levels: [2], [top, Field("Address", 51, 12)] + table),
        EntryLayout("EPT PDE that references an EPT page table", .table, levels: [1], [top, Field("Address", 51, 12)] + table),
        EntryLayout("EPT PDPTE that maps a 1-GByte page", .leaf, levels: [2], [top, Field("Address", 51, 30), Field("Reserved", 29, 12)] + low),
        EntryLayout("EPT PDE that maps a 2-MByte page", .leaf, levels: [1], [top, Field("Address", 51, 21), Field("Reserved", 20, 12)] + low),
        EntryLayout("EPT PTE", .leaf, levels: [0], [top, Field("Address", 51, 12)] + page),
      ])
  }
}

@usableFromInline enum EPT4: EPTFormat {
  @inline(__always) @usableFromInline static var radix: Radix { Radix(9, 9, 9, 9) }
  static let definition = definition(
    name: "ept4", title: "EPT, 4 levels",
    levels: [.init("EPT PTE", mayBeLeaf: true), .init("EPT PDE", mayBeLeaf: true), .init("EPT PDPTE", mayBeLeaf: true), .init("EPT PML4E", mayBeLeaf: false)])
}

@usableFromInline enum EPT5: EPTFormat {
  @inline(__always) @usableFromInline static var radix: Radix { Radix(9, 9, 9, 9, 9) }
  static let definition = definition(
    name: "ept5", title: "EPT, 5 levels",
    levels: [.init("EPT PTE", mayBeLeaf: true), .init("EPT PDE", mayBeLeaf: true), .init("EPT PDPTE", mayBeLeaf: true), .init("EPT PML4E", mayBeLeaf: false), .init("EPT PML5E", mayBeLeaf: false)])
}
