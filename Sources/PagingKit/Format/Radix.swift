// The shape of a radix tree of tables.

/// Index widths, root first as manuals draw them, and the size of an entry.
///
/// `Radix(2, 9, 9)` is PAE; `Radix(11, 9, 9)` is Sv39x4 with its widened root; `Radix(10, 10, entryBytes: 4)` is Sv32.
/// Levels are numbered from the leaf end: level 0 is the last table. The page offset is 12 bits.
@frozen public struct Radix: Equatable, Sendable {
  /// Byte n: index bits of level n.
  @usableFromInline let widths: UInt64
  /// Byte n: log2 of the bytes that an entry of level n covers.
  @usableFromInline let shifts: UInt64
  public let levelCount: Int
  public let entryBytes: UInt64
  /// Width of the input address in bits.
  public let inputBits: UInt64

  @inlinable @inline(__always)
  init(widths: UInt64, count: Int, entryBytes: UInt64) {
    var shifts: UInt64 = 0
    var shift: UInt64 = 12
    var level = 0
    while level < count {
      shifts |= shift &<< UInt64(truncatingIfNeeded: level &* 8)
      shift &+= (widths &>> UInt64(truncatingIfNeeded: level &* 8)) & 0xff
      level &+= 1
    }
    self.widths = widths
    self.shifts = shifts
    self.levelCount = count
    self.entryBytes = entryBytes
    self.inputBits = shift
  }

  @inlinable @inline(__always) public init(_ a: UInt64, _ b: UInt64, entryBytes: UInt64 = 8) {
    self.init(widths: b | a &<< 8, count: 2, entryBytes: entryBytes)
  }
  @inlinable @inline(__always) public init(_ a: UInt64, _ b: UInt64, _ c: UInt64, entryBytes: UInt64 = 8) {
    self.init(widths: c | b &<< 8 | a &<< 16, count: 3, entryBytes: entryBytes)
  }
  @inlinable @inline(__always) public init(_ a: UInt64, _ b: UInt64, _ c: UInt64, _ d: UInt64, entryBytes: UInt64 = 8) {
    self.init(widths: d | c &<< 8 | b &<< 16 | a &<< 24, count: 4, entryBytes: entryBytes)
  }
  @inlinable @inline(__always)
  public init(_ a: UInt64, _ b: UInt64, _ c: UInt64, _ d: UInt64, _ e: UInt64, entryBytes: UInt64 = 8) {
    self.init(widths: e | d &<< 8 | c &<< 16 | b &<< 24 | a &<< 32, count: 5, entryBytes: entryBytes)
  }

  @inlinable @inline(__always) public func indexBits(_ level: Int) -> UInt64 {
    (widths &>> UInt64(truncatingIfNeeded: level &* 8)) & 0xff
  }

  /// log2 of the bytes that one entry of the level covers.
  @inlinable @inline(__always) public func shift(_ level: Int) -> UInt64 {
    (shifts &>> UInt64(truncatingIfNeeded: level &* 8)) & 0xff
  }

  /// Offset in bytes of the address's entry in a table of the level.
  @inlinable @inline(__always) public func offset(of input: UInt64, at level: Int) -> UInt64 {
    ((input &>> shift(level)) & ((1 &<< indexBits(level)) &- 1)) &* entryBytes
  }
}
