// A run of bytes of one address space.

/// `byteCount` bytes from `start`. Never empty, never past the end of the 64-bit space.
public struct PageRange<Space>: Equatable, Hashable, Sendable {
  public let start: Address<Space>
  public let byteCount: UInt64

  public init(_ start: Address<Space>, byteCount: UInt64) {
    precondition(byteCount > 0, "an empty range")
    precondition(!start.bits.addingReportingOverflow(byteCount - 1).overflow, "a range past the end of the address space")
    self.start = start
    self.byteCount = byteCount
  }

  /// From the first byte of one address to the last byte of another, both included.
  public init(from first: Address<Space>, through last: Address<Space>) {
    self.init(first, byteCount: last.bits - first.bits + 1)
  }

  public var last: Address<Space> { Address(start.bits + (byteCount - 1)) }

  public func contains(_ address: Address<Space>) -> Bool { address >= start && address <= last }
  public func contains(_ other: PageRange) -> Bool { other.start >= start && other.last <= last }
  public func overlaps(_ other: PageRange) -> Bool { other.start <= last && other.last >= start }

  /// The smallest range that holds both.
  public func union(_ other: PageRange) -> PageRange {
    PageRange(from: min(start, other.start), through: max(last, other.last))
  }
}

extension PageRange: CustomStringConvertible {
  public var description: String { "\(start)...\(last)" }
}

extension Address: CustomStringConvertible {
  /// Hexadecimal, without leading zeros.
  public var description: String { "0x" + String(bits, radix: 16) }

  /// The first byte of the page that holds the address.
  func aligned(toShift shift: Int) -> Address { Address(bits & ~((1 << UInt64(shift)) - 1)) }

  func isAligned(toShift shift: Int) -> Bool { aligned(toShift: shift) == self }
}
