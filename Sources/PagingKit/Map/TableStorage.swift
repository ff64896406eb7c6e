// Where tables live, and where new ones come from.

/// Loads and stores table entries. Interprets nothing.
///
/// Today tables are written straight into RAM; a guest kernel whose stores can be intercepted is another conformance.
public protocol TableStorage<Space>: AnyObject {
  associatedtype Space
  /// A naturally aligned entry of 4 or 8 bytes.
  func load(_ slot: Address<Space>, byteCount: Int) throws(TableStorageError) -> UInt64
  func store(_ value: UInt64, at slot: Address<Space>, byteCount: Int) throws(TableStorageError)
}

/// There are no bytes at a slot: a table points outside memory.
public struct TableStorageError: Error, Equatable, Sendable, CustomStringConvertible {
  public let slot: UInt64
  public var description: String { "no memory at the table entry 0x\(String(slot, radix: 16))" }
  public init(slot: UInt64) { self.slot = slot }
}

/// Gives out frames for tables.
public protocol FrameSource<Space>: AnyObject {
  associatedtype Space
  /// Zeroed bytes, aligned to `alignment` (both powers of two); nil when there are none left.
  func allocateTable(byteCount: UInt64, alignment: UInt64) -> Address<Space>?
  /// With the numbers it was allocated with.
  func freeTable(_ table: Address<Space>, byteCount: UInt64, alignment: UInt64)
}
