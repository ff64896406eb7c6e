// Fields of an entry, as the manual's figure names them.

/// A run of bits of a table entry with the manual's name. Bit positions count from 0.
@frozen public struct Field: Sendable {
  public let name: StaticString
  public let high: UInt8
  public let low: UInt8

  @inlinable @inline(__always) public init(_ name: StaticString, _ high: UInt8, _ low: UInt8) {
    self.name = name
    self.high = high
    self.low = low
  }

  @inlinable @inline(__always) public init(_ name: StaticString, _ bit: UInt8) { self.init(name, bit, bit) }

  /// The bits of the entry that belong to the field.
  @inlinable @inline(__always) public var mask: UInt64 {
    (UInt64.max &>> (63 &- UInt64(truncatingIfNeeded: high &- low))) &<< UInt64(truncatingIfNeeded: low)
  }
}

/// One table entry, in 4 or 8 little-endian bytes of memory.
@frozen public struct Entry: Equatable, Sendable {
  public var bits: UInt64

  @inlinable @inline(__always) public init(_ bits: UInt64) { self.bits = bits }

  /// Whether any bit of the field is set.
  @inlinable @inline(__always) public func has(_ field: Field) -> Bool { bits & field.mask != 0 }

  /// The value of the field, shifted down.
  @inlinable @inline(__always) public subscript(_ field: Field) -> UInt64 {
    get { (bits & field.mask) &>> UInt64(truncatingIfNeeded: field.low) }
    set { bits = bits & ~field.mask | (newValue &<< UInt64(truncatingIfNeeded: field.low)) & field.mask }
  }
}
