// How an address and its identifiers become the tag of a cached word.

/// Identifiers of an address space, interned as a number of 13 bits so that tag compares are one instruction.
///
/// Number 0 is never given to a space, so a tag is never 0.
@frozen public struct ContextTag: Equatable, Sendable {
  /// The number in its place in a tag.
  public let bits: UInt64

  @inlinable @inline(__always) public init(number: UInt64) { bits = number &<< 47 }
  @inlinable @inline(__always) init(bits: UInt64) { self.bits = bits }

  @inlinable public var number: Int { Int(truncatingIfNeeded: (bits &>> 47) & 0x1fff) }
}

/// The tag of a TLB entry: page number in bits 46:0, context in 59:47, page-size class in 62:60, bit 63 set.
@frozen public struct PageTag: Sendable {
  public let bits: UInt64

  @inlinable @inline(__always)
  public init(_ address: UInt64, shift: UInt64, sizeClass: UInt64, context: ContextTag) {
    bits = (address &>> shift) & 0x7fff_ffff_ffff | context.bits | sizeClass &<< 60 | 1 &<< 63
  }
  @inlinable @inline(__always) public init(bits: UInt64) { self.bits = bits }

  @inlinable public var pageNumber: UInt64 { bits & 0x7fff_ffff_ffff }
  @inlinable public var context: ContextTag { ContextTag(bits: bits & (0x1fff &<< 47)) }
  @inlinable public var sizeClass: Int { Int(truncatingIfNeeded: (bits &>> 60) & 7) }
}

/// Identifiers that a TLB keeps apart: of the machine and of the address space in it.
public struct ContextIdentifiers: Hashable, Sendable {
  public var machine: UInt32
  public var space: UInt32
  /// Entries of all spaces of the machine. `space` is then 0.
  public var isGlobal: Bool
  /// Which addresses these are: 1 those of the first stage (or of the whole translation), 2 guest-physical ones.
  public var stage: UInt8
  /// Root, where the architecture has none of the identifiers and tags by it instead; otherwise 0.
  public var root: UInt64

  public init(machine: UInt32 = 0, space: UInt32 = 0, isGlobal: Bool = false, stage: UInt8 = 1, root: UInt64 = 0) {
    self.machine = machine
    self.space = space
    self.isGlobal = isGlobal
    self.stage = stage
    self.root = root
  }
}

/// The numbers given to identifiers. When they run out, the numbering starts anew and the caches must be emptied, which
/// every architecture allows at any time.
public struct ContextNumbers {
  private var numbers: [ContextIdentifiers: UInt64] = [:]
  private var identifiers: [ContextIdentifiers] = []
  /// How often the numbering started anew.
  public private(set) var generation = 0

  public init() {}

  /// The tag of the identifiers; `ranOut` says that all earlier tags are void.
  public mutating func tag(of wanted: ContextIdentifiers) -> (tag: ContextTag, ranOut: Bool) {
    if let number = numbers[wanted] { return (ContextTag(number: number), false) }
    var ranOut = false
    if identifiers.count == 0x1fff {
      numbers.removeAll(keepingCapacity: true)
      identifiers.removeAll(keepingCapacity: true)
      generation += 1
      ranOut = true
    }
    identifiers.append(wanted)
    numbers[wanted] = UInt64(identifiers.count)
    return (ContextTag(number: UInt64(identifiers.count)), ranOut)
  }

  /// What a number stands for.
  public func identifiers(of tag: ContextTag) -> ContextIdentifiers { identifiers[tag.number - 1] }

  /// The numbers whose identifiers satisfy the condition.
  public func matching(_ condition: (ContextIdentifiers) -> Bool) -> Set<Int> {
    Set(identifiers.indices.filter { condition(identifiers[$0]) }.map { $0 + 1 })
  }

  public var all: [ContextIdentifiers] { identifiers }
}
