// Addresses carry the space they belong to, so that a guest-physical address never reaches physical memory unasked.

/// The space of addresses that programs use.
public enum Virtual {}
/// The space of addresses that the first stage of a guest gives.
public enum GuestPhysical {}
/// The space of host memory.
public enum Physical {}

/// An address in one space. Costs nothing over its 64 bits.
@frozen public struct Address<Space>: Equatable, Comparable, Hashable, Sendable {
  public var bits: UInt64

  @inlinable @inline(__always) public init(_ bits: UInt64) { self.bits = bits }

  @inlinable public static func < (a: Self, b: Self) -> Bool { a.bits < b.bits }
  @inlinable @inline(__always) public static func + (a: Self, offset: UInt64) -> Self { Self(a.bits &+ offset) }
}
