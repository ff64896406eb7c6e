// Tables by hand: one processor with one root, and below it, where there is a second stage, guest-physical addresses that
// are the physical ones.
import CPagingKit
import PagingKit

@testable import Arch_x86

/// Entries by their bits.
enum Bits {
  static let P: UInt64 = 1, W: UInt64 = 2, U: UInt64 = 4, A: UInt64 = 0x20, D: UInt64 = 0x40, PS: UInt64 = 0x80, G: UInt64 = 0x100
  static let XD: UInt64 = 1 << 63
  /// Leaves that need no flag set.
  static let kernel = P | W | A | D, user = kernel | U
  /// An entry that references a table.
  static let table = P | W | U | A
  static func key(_ key: UInt64) -> UInt64 { key << 59 }
  /// EPT: read, write, execute in both modes, write-back, accessed and dirty.
  static let ept: UInt64 = 0x737, eptTable: UInt64 = 0x507
}

enum CR {
  static let PG: UInt64 = 1 << 31, WP: UInt64 = 1 << 16, PE: UInt64 = 1
  static let PSE: UInt64 = 1 << 4, PAE: UInt64 = 1 << 5, PGE: UInt64 = 1 << 7, LA57: UInt64 = 1 << 12, PCIDE: UInt64 = 1 << 17
  static let SMEP: UInt64 = 1 << 20, SMAP: UInt64 = 1 << 21, PKE: UInt64 = 1 << 22, CET: UInt64 = 1 << 23, PKS: UInt64 = 1 << 24
  static let LAM_SUP: UInt64 = 1 << 28, LAM_U48: UInt64 = 1 << 62, LAM_U57: UInt64 = 1 << 61
  static let LME: UInt64 = 1 << 8, LMA: UInt64 = 1 << 10, NXE: UInt64 = 1 << 11, AC: UInt64 = 1 << 18
}

final class Desk {
  let processor: Processor
  let kind: TableKind?
  let second: TableKind?
  var root: UInt64 = 0
  private(set) var secondRoot: UInt64 = 0
  private var nextFrame: UInt64 = 1 << 20
  /// Level of second-stage leaves that `frame` maps its pages with.
  private let secondLevel: Int
  /// Base registers, to vary.
  let cr0, cr4, efer: UInt64
  var windows: Windows { processor.windows }

  /// `cr4` and `efer`: bits besides those that select the kind of tables.
  init(
    _ kind: TableKind?, under second: TableKind? = nil, secondLevel: Int = 0, _ options: [(String, String)] = [],
    wp: Bool = true, cr4: UInt64 = 0, efer: UInt64 = CR.NXE
  ) throws {
    self.kind = kind
    self.second = second
    self.secondLevel = secondLevel
    let mode = second == nil ? "native" : second!.isEPT ? "ept" : "npt"
    processor = try Processor([("maxphyaddr", "40"), ("mode", mode)] + options)
    cr0 = CR.PE | 0x10 | (kind == nil ? 0 : CR.PG) | (wp ? CR.WP : 0)
    let isLong = kind?.isLong == true
    self.cr4 = cr4 | (kind == .pae || isLong ? CR.PAE : 0) | (kind == .fiveLevel ? CR.LA57 : 0)
    self.efer = efer | (isLong ? CR.LME | CR.LMA : 0)
    if let second {
      secondRoot = plainFrame()
      if second.isEPT {
        try processor.set([("ept.eptp", secondRoot | 6 | UInt64(second.levels - 1) << 3 | 1 << 6)])
      } else {
        let isLong = second.isLong
        try processor.set([
          ("nested.ncr3", secondRoot), ("nested.efer", CR.NXE | 1 << 12 | (isLong ? CR.LME | CR.LMA : 0)),
          ("nested.cr4", (second == .twoLevel ? 0 : CR.PAE) | (second == .fiveLevel ? CR.LA57 : 0) | CR.PSE),
        ])
      }
    }
    if kind != nil { root = frame() }
    try processor.set([("cr0", cr0), ("cr3", root), ("cr4", self.cr4), ("efer", self.efer)])
  }

  private func plainFrame() -> UInt64 {
    defer { nextFrame += 4096 }
    return nextFrame
  }

  /// A zeroed page, reachable by its own address.
  func frame() -> UInt64 {
    let page = plainFrame()
    if second != nil { putSecond(page, level: secondLevel) }
    return page
  }

  /// Maps a guest-physical page on itself, or writes any entry.
  @discardableResult
  func putSecond(_ gpa: UInt64, _ entry: UInt64? = nil, level: Int = 0) -> UInt64 {
    guard let second else { preconditionFailure("no second stage") }
    let own = gpa & ~(1 << UInt64(second.shift(level)) - 1) | (second.isEPT ? Bits.ept : Bits.user) | (level > 0 ? Bits.PS : 0)
    return put(second, secondRoot, gpa, entry ?? own, level, second.isEPT ? Bits.eptTable : Bits.table, plainFrame)
  }

  /// Writes an entry for a linear address, with tables on the way. Returns its slot.
  @discardableResult
  func put(_ address: UInt64, _ entry: UInt64, level: Int = 0, tables: UInt64 = Bits.table) -> UInt64 {
    put(kind!, root, address, entry, level, tables, frame)
  }

  private func put(
    _ kind: TableKind, _ root: UInt64, _ address: UInt64, _ entry: UInt64, _ level: Int, _ tables: UInt64, _ newFrame: () -> UInt64
  ) -> UInt64 {
    var table = root
    for current in stride(from: kind.levels - 1, through: 0, by: -1) {
      let slot = table + kind.index(address, current) * kind.size
      if current == level {
        windows.store(slot, entry, kind.size)
        return slot
      }
      let found = windows.load(slot, kind.size)
      if found & kind.present != 0 {
        table = kind.address(found, isLargeLeaf: false, current)
      } else {
        table = newFrame()
        windows.store(slot, table | (kind == .pae && current == 2 ? Bits.P : tables), kind.size)
      }
    }
    preconditionFailure("level \(level) of \(kind)")
  }

  /// The slot of a linear address at a level, whose upper tables are there.
  func slot(_ address: UInt64, level: Int) -> UInt64 {
    var table = root
    for current in stride(from: kind!.levels - 1, to: level, by: -1) {
      table = kind!.address(windows.load(table + kind!.index(address, current) * kind!.size, kind!.size), isLargeLeaf: false, current)
    }
    return table + kind!.index(address, level) * kind!.size
  }

  /// The slot of a guest-physical address in the second stage, whose upper tables are there.
  func secondSlot(_ gpa: UInt64, level: Int = 0) -> UInt64 {
    let kind = second!
    var table = secondRoot
    for current in stride(from: kind.levels - 1, to: level, by: -1) {
      let slot = table + kind.index(gpa, current) * kind.size
      table = kind.address(windows.load(slot, kind.size), isLargeLeaf: false, current)
    }
    return table + kind.index(gpa, level) * kind.size
  }

  func entry(_ slot: UInt64) -> UInt64 { windows.load(slot, kind?.size ?? 8) }

  /// PAE: the tables are complete, so CR3 is loaded, and with it the PDPTEs.
  func loadRoot() throws {
    if second?.isEPT == true && kind == .pae {
      try processor.set((0..<4 as Range<UInt64>).map { ("ept.pdptes.\($0)", windows.load(root + 8 * $0)) })
    } else {
      try processor.set([("cr3", root)])
    }
  }

  func set(_ name: String, _ value: UInt64) throws { try processor.set([(name, value)]) }
  /// MOV to a control register, WRMSR, WRPKRU. Nil if it finished, or the fault's name.
  @discardableResult
  func move(_ register: Register, _ value: UInt64) throws -> String? { try processor.special(X86Unit.write(register, value)) }

  // MARK: Accesses

  func perform(_ kind: JudgedAccess.Kind, _ address: UInt64, _ privilege: JudgedAccess.Privilege = .supervisor, byteCount: UInt64 = 1) throws -> Answer {
    try processor.perform(JudgedAccess(kind: kind, privilege: privilege), address, byteCount: byteCount)
  }

  /// The outcome alone.
  func ruling(_ kind: JudgedAccess.Kind, _ address: UInt64, _ privilege: JudgedAccess.Privilege = .supervisor, byteCount: UInt64 = 1) throws -> Ruling {
    try perform(kind, address, privilege, byteCount: byteCount).ruling
  }

  /// The error code of a page fault at the address itself; nil if there was none.
  func code(_ kind: JudgedAccess.Kind, _ address: UInt64, _ privilege: JudgedAccess.Privilege = .supervisor) throws -> UInt64? {
    switch try ruling(kind, address, privilege) {
    case .pageFault(let code, address): code
    case .reaches: nil
    case let other: throw Unexpected(ruling: other)
    }
  }

  /// Where a read by the supervisor ends; nil if it faults.
  func reached(_ address: UInt64, _ privilege: JudgedAccess.Privilege = .supervisor) throws -> UInt64? {
    if case .reaches(let pa, _) = try ruling(.read, address, privilege) { return pa }
    return nil
  }
}

struct Unexpected: Error { let ruling: Ruling }

/// Where an access that succeeds ends.
func reaches(_ address: UInt64) -> Ruling { .reaches(pa: address, gpa: address) }
