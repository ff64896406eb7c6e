// A run of bytes of one address space.

/// From a first byte to a last one. Never empty, never past the end of the 64-bit space.
public struct PageRange<Space>: Equatable, Hashable, Sendable {
  public let start: Address<Space>
  public let last: Address<Space>

  public init(from first: Address<Space>, through last: Address<Space>) {
    precondition(first <= last, "an empty range")
    start = first
    self.last = last
  }

  public init(_ start: Address<Space>, byteCount: UInt64) {
    precondition(byteCount > 0, "an empty range")
    let end = start.bits.addingReportingOverflow(byteCount - 1)
    precondition(!end.overflow, "a range past the end of the address space")
    self.init(from: start, through: Address(end.partialValue))
  }

  /// Bytes of the range; 0 for the whole 64-bit space, whose number of bytes has 65 bits.
  public var byteCount: UInt64 { last.bits &- start.bits &+ 1 }

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
