// A format says what one entry means. It reads no memory and knows no privilege.

/// What a format makes of one entry.
@frozen public enum Step: Sendable {
  /// Not present: nothing else in the entry counts.
  case absent
  /// Points to the table at this address.
  case table(UInt64)
  /// Maps `1 << pageShift` bytes at this address; the page may differ from what the level covers.
  case leaf(UInt64, pageShift: UInt64)
  case refused(FaultReason)
}

/// How one page-table entry reads: data, and a few short functions of an entry and its level.
///
/// Everything is static, so that a walker made for a format has no format in it. What registers and model say about
/// entries comes in as `Controls`, computed when they change.
public protocol PageTableFormat: Sendable {
  associatedtype Controls

  static var radix: Radix { get }

  /// What the entry is, in the manual's order of checks.
  static func step(_ entry: Entry, at level: Int, _ controls: Controls) -> Step

  /// What the entry allows, to be ANDed over the walk. A format where only leaves count returns `.all` for tables.
  static func rights(of entry: Entry, at level: Int, isLeaf: Bool, _ controls: Controls) -> Rights

  /// The entry with its accessed flag set, and the dirty flag for a leaf that is written.
  static func marked(_ entry: Entry, at level: Int, isLeaf: Bool, isWritten: Bool, _ controls: Controls) -> Entry

  /// What `step` says of an entry whose flags are as `marked` would set them; `.absent` for every other. A format may say
  /// the same in fewer steps.
  static func plainStep(_ entry: Entry, at level: Int, isWritten: Bool, _ controls: Controls) -> Step

  /// Whether accessed flags are set as soon as the walk goes down through an entry, even if it fails later.
  static func marksWhileDescending(_ controls: Controls) -> Bool

  /// What a TLB keeps besides rights: key, memory type. 8 bits of the format's own.
  static func attributes(of leaf: Entry, _ controls: Controls) -> UInt8

  /// Whether a leaf is shared by all address spaces.
  static func isGlobal(_ leaf: Entry, _ controls: Controls) -> Bool
}

extension PageTableFormat {
  @inlinable @inline(__always)
  public static func plainStep(_ entry: Entry, at level: Int, isWritten: Bool, _ controls: Controls) -> Step {
    markedStep(entry, at: level, isWritten: isWritten, controls)
  }

  /// What `plainStep` is to say, by asking `step` and `marked`.
  @inlinable @inline(__always)
  public static func markedStep(_ entry: Entry, at level: Int, isWritten: Bool, _ controls: Controls) -> Step {
    let step = step(entry, at: level, controls)
    switch step {
    case .table: return marked(entry, at: level, isLeaf: false, isWritten: false, controls) == entry ? step : .absent
    case .leaf: return marked(entry, at: level, isLeaf: true, isWritten: isWritten, controls) == entry ? step : .absent
    case .absent, .refused: return .absent
    }
  }

  @inlinable @inline(__always) public static func marksWhileDescending(_ controls: Controls) -> Bool { false }
  @inlinable @inline(__always) public static func attributes(of leaf: Entry, _ controls: Controls) -> UInt8 { 0 }
  @inlinable @inline(__always) public static func isGlobal(_ leaf: Entry, _ controls: Controls) -> Bool { false }
}
