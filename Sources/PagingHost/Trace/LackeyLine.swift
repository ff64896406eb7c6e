public import CPagingKit

/// Which lines of a trace are delivered.
public enum TraceStream: String, Sendable, CaseIterable {
  case instruction, data, unified
}

/// One line of a trace, as valgrind's lackey wrote it.
public struct LackeyLine: Sendable, Equatable {
  public var address: UInt64
  /// 1 to 4096.
  public var byteCount: UInt32
  /// PGK_READ, PGK_WRITE, PGK_MODIFY or PGK_FETCH.
  public var kind: UInt8

  /// log2 of the bytes of a page, for everything that this reader says about pages.
  public static let pageShift: UInt64 = 12

  public init(address: UInt64, byteCount: UInt32, kind: UInt8) {
    self.address = address
    self.byteCount = byteCount
    self.kind = kind
  }

  /// True if the bytes lie in two pages.
  @inlinable
  public var straddles: Bool {
    address & 0xfff &+ UInt64(byteCount) > 0x1000
  }

  /// The line as one access that touches exactly the same pages.
  ///
  /// Accesses have 1, 2, 4, 8 or 16 bytes; lines have any size. A line within one page keeps its address and becomes the
  /// largest access that it holds. So does one across two pages if that access still reaches the second page; otherwise
  /// it becomes the two bytes around the boundary, and a fault of the first page names the last byte of that page instead
  /// of the first byte of the line.
  @inlinable
  public var access: pgk_access_v1 {
    var access = pgk_access_v1()
    access.address = address
    access.kind = kind
    access.size_log2 = UInt8(truncatingIfNeeded: min(4, 31 &- byteCount.leadingZeroBitCount))
    if straddles, address & 0xfff &+ 1 &<< UInt64(access.size_log2) <= 0x1000 {
      access.address = address | 0xfff
      access.size_log2 = 1
    }
    return access
  }
}
