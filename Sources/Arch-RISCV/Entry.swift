// The page-table entry that all formats share: the rules are the same in every one, only PPN differs in width.
import PagingKit

/// What registers and model say about entries of one stage, computed when they change.
struct EntryControls: Sendable {
  /// Bits that must be clear in an entry that points to a table.
  var pointerReserved: UInt64 = 0
  /// Bits that must be clear in a leaf.
  var leafReserved: UInt64 = 0
  /// Whether R=0, W=1, X=0 is a shadow-stack page; otherwise it is reserved.
  var hasShadowStack = false
  /// Whether A and D are set by the hart (Svadu); otherwise an entry that needs them faults (Svade).
  var updates = false
  /// Bits that the address of a table may not have: beyond the physical address width.
  var tooWide: UInt64 = 0
  /// Bits of a plain pointer of which only V is set.
  var pointerMask: UInt64 = .max
  /// Bits that are clear in a plain leaf: reserved ones, and those that want a closer look.
  var leafMask: UInt64 = .max
}

/// A page-table format of RISC-V: `Sv32` to `Sv57`, and their widened second-stage forms.
protocol RISCVFormat: PageTableFormat where Controls == EntryControls {
  /// Whether it translates guest physical addresses: input not sign-extended, a root of 16 KiB, every page a user page.
  static var isSecondStage: Bool { get }
  /// All of the page number.
  static var PPN: Field { get }
  /// The page number as the manual's figure splits it, high part first.
  static var numberParts: [Field] { get }
  /// Fields above the page number, high bit first.
  static var upperFields: [Field] { get }
  static var definition: FormatDefinition { get }
}

/// "Sv32 page table entry": the low ten bits are the same in all formats.
extension RISCVFormat {
  static var RSW: Field { Field("RSW", 9, 8) }
  static var D: Field { Field("D", 7) }
  static var A: Field { Field("A", 6) }
  static var G: Field { Field("G", 5) }
  static var U: Field { Field("U", 4) }
  static var X: Field { Field("X", 3) }
  static var W: Field { Field("W", 2) }
  static var R: Field { Field("R", 1) }
  static var V: Field { Field("V", 0) }

  /// Svnapot and Svpbmt; formats of 4-byte entries have no such bits, so nothing there is ever set.
  static var N: Field { Field("N", 63) }
  static var PBMT: Field { Field("PBMT", 62, 61) }

  /// Steps 3, 4 and 6 of "Virtual Address Translation Process", and the checks of Svnapot and Svpbmt.
  @inline(__always)
  static func step(_ entry: Entry, at level: Int, _ controls: EntryControls) -> Step {
    guard entry.has(V) else { return .absent }
    let base = entry[PPN] &<< 12
    if entry.bits & (R.mask | W.mask | X.mask) == 0 {
      guard entry.bits & controls.pointerReserved == 0 else { return .refused(.reserved) }
      guard level > 0 else { return .refused(.misconfigured) }
      guard base & controls.tooWide == 0 else { return .refused(.tooWide) }
      return .table(base)
    }
    guard entry.has(R) || !entry.has(W) || controls.hasShadowStack && !entry.has(X) else { return .refused(.misconfigured) }
    guard entry.bits & controls.leafReserved == 0, entry.bits & PBMT.mask != PBMT.mask else { return .refused(.reserved) }
    if entry.has(N) { return contiguous(base, at: level) }
    let pageShift = radix.shift(level)
    guard base & ((1 &<< pageShift) &- 1) == 0 else { return .refused(.misaligned) }
    return .leaf(base, pageShift: pageShift)
  }

  /// The same for what a usual walk meets, in one comparison: a pointer, or a leaf with R that is no special page.
  @inline(__always)
  static func plainStep(_ entry: Entry, at level: Int, isWritten: Bool, _ controls: EntryControls) -> Step {
    let base = entry[PPN] &<< 12
    if level > 0 && entry.bits & controls.pointerMask == V.mask { return .table(base) }
    let wanted = V.mask | R.mask | A.mask | (isWritten ? D.mask : 0)
    let pageShift = radix.shift(level)
    guard entry.bits & (controls.leafMask | wanted) == wanted, base & ((1 &<< pageShift) &- 1) == 0 else {
      return unusualStep(entry, at: level, isWritten: isWritten, controls)
    }
    return .leaf(base, pageShift: pageShift)
  }

  @inline(never)
  private static func unusualStep(_ entry: Entry, at level: Int, isWritten: Bool, _ controls: EntryControls) -> Step {
    markedStep(entry, at: level, isWritten: isWritten, controls)
  }

  /// "Svnapot": sixteen pages of 4 KiB as one, written as 1000 in the low four bits of PPN. Other sizes are reserved.
  @inline(__always)
  static func contiguous(_ base: UInt64, at level: Int) -> Step {
    guard level == 0, base &>> 12 & 0xf == 0b1000 else { return .refused(.reserved) }
    return .leaf(base & ~0xffff, pageShift: 16)
  }

  /// A pointer restricts nothing. `Rights.notGlobal` is lost on the way down through any entry with G.
  @inline(__always)
  static func rights(of entry: Entry, at level: Int, isLeaf: Bool, _ controls: EntryControls) -> Rights {
    let bits = UInt8(truncatingIfNeeded: entry.bits)
    if isSecondStage {
      guard isLeaf else { return .all }
      // R, W, X to the second stage's rights, U and D to their places.
      return Rights(rawValue: (bits & 0x0e) &<< 4 | (bits &>> 1) & 0x08 | (bits &>> 3) & 0x10 | 0x07)
    }
    let notGlobal = ~bits & Rights.notGlobal.rawValue
    guard isLeaf else { return Rights(rawValue: ~Rights.notGlobal.rawValue | notGlobal) }
    return Rights(rawValue: (bits &>> 1) & 0x0f | (bits &>> 3) & 0x10 | notGlobal | 0xc0)
  }

  /// Step 7: A of a leaf, and D if it is written. Pointers have neither.
  @inline(__always)
  static func marked(_ entry: Entry, at level: Int, isLeaf: Bool, isWritten: Bool, _ controls: EntryControls) -> Entry {
    isLeaf ? Entry(entry.bits | A.mask | (isWritten ? D.mask : 0)) : entry
  }
}

extension Rights {
  /// While the first stage is walked: no entry so far had G. It is where the second stage's rights come later, and it
  /// has the place that G has in an entry.
  static var notGlobal: Rights { .secondRead }
  /// What the first stage says.
  static var firstStage: Rights { Rights(rawValue: 0x1f) }
}

extension RISCVFormat {
  /// Both kinds of entry have the same figure in the manual.
  static var fields: [Field] { upperFields + numberParts + [RSW, D, A, G, U, X, W, R, V] }

  static func layouts(leaf: String = "leaf PTE", pointer: String = "pointer PTE") -> [EntryLayout] {
    [
      EntryLayout(leaf, .leaf, levels: Array(0..<radix.levelCount), fields),
      EntryLayout(pointer, .table, levels: Array(1..<radix.levelCount), fields),
    ]
  }

  static func makeDefinition(name: String, title: String, section: String) -> FormatDefinition {
    FormatDefinition(
      name: name, title: title, reference: Manual.reference + ", \"\(section)\"", radix: radix, stage: isSecondStage ? 2 : 1,
      outputBits: radix.entryBytes == 4 ? 34 : 56, isSignExtended: !isSecondStage && radix.entryBytes == 8,
      rootAlignmentShift: isSecondStage ? 14 : 12, attributes: EntryAttributes.expressed(by: Self.self),
      levels: (0..<radix.levelCount).map { _ in FormatDefinition.Level("PTE", mayBeLeaf: true) }, layouts: layouts())
  }
}

/// Where the rules come from.
enum Manual {
  static let reference = "The RISC-V Instruction Set Manual, Volume II: Privileged Architecture, version 20240411 and later"
}
