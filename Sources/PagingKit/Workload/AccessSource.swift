// Where accesses come from: a recorded trace, a generator, or either behind a combinator.
public import CPagingKit

/// A sequence of accesses, given out in batches. Memory does not grow with its length.
public protocol AccessSource {
  /// Writes the next accesses to the buffer and returns how many; 0 only at the end.
  ///
  /// Every member of an access is written. Tags count up by one through the whole sequence, wrapping at 32 bits.
  mutating func next(into buffer: UnsafeMutableBufferPointer<pgk_access_v1>) throws -> Int
}

/// What all accesses of a source have in common.
public struct AccessTemplate: Sendable {
  public var privilege: UInt8
  public var flags: UInt8
  /// log2 of the bytes of an access.
  public var sizeShift: UInt8

  public init(privilege: UInt8, flags: UInt8 = UInt8(PGK_TRANSLATE_ONLY), sizeShift: UInt8 = 3) {
    self.privilege = privilege
    self.flags = flags
    self.sizeShift = sizeShift
  }

  @inlinable func access(_ address: UInt64, _ kind: UInt32, tag: UInt32) -> pgk_access_v1 {
    pgk_access_v1(
      address: address, kind: UInt8(truncatingIfNeeded: kind), size_log2: sizeShift, privilege: privilege, flags: flags,
      tag: tag)
  }
}

/// At most so many accesses of another source.
public struct Limited<Source: AccessSource>: AccessSource {
  public var source: Source
  public private(set) var remaining: UInt64

  public init(_ source: Source, to count: UInt64) {
    self.source = source
    remaining = count
  }

  public mutating func next(into buffer: UnsafeMutableBufferPointer<pgk_access_v1>) throws -> Int {
    let room = Int(min(UInt64(buffer.count), remaining))
    guard room > 0 else { return 0 }
    let count = try source.next(into: UnsafeMutableBufferPointer(rebasing: buffer[..<room]))
    remaining -= UInt64(count)
    return count
  }
}

/// A program moved into a smaller address space, so that a trace of one machine runs on another.
///
/// Regions keep their inner order and their distances; a region that lies above the space goes to one that nobody has
/// used. Distinct pages stay distinct, as long as there are regions left.
public struct Relocated<Source: AccessSource>: AccessSource {
  /// log2 of the bytes that stay together.
  public static var regionShift: UInt64 { 22 }

  public var source: Source
  private let limit: UInt64
  private var regions: [UInt64: UInt64] = [:]
  private var taken: Set<UInt64> = []
  private var lowestUnused: UInt64
  private var last: (from: UInt64, offset: UInt64) = (.max, 0)

  /// Addresses below `limit` are allowed; regions are looked for from above down, away from where programs begin.
  public init(_ source: Source, below limit: UInt64) {
    self.source = source
    self.limit = limit
    lowestUnused = limit >> Self.regionShift
  }

  /// How many regions were moved.
  public var movedCount: Int { regions.values.lazy.filter { $0 != 0 }.count }

  public mutating func next(into buffer: UnsafeMutableBufferPointer<pgk_access_v1>) throws -> Int {
    let count = try source.next(into: buffer)
    for i in 0..<count {
      let region = buffer[i].address >> Self.regionShift
      if region != last.from { last = (region, try offset(of: region)) }
      buffer[i].address &+= last.offset
    }
    return count
  }

  /// What is added to addresses of a region.
  private mutating func offset(of region: UInt64) throws -> UInt64 {
    if let known = regions[region] { return known }
    var target = region
    if region >= limit >> Self.regionShift || taken.contains(region) { target = try unusedRegion() }
    taken.insert(target)
    let offset = (target &- region) << Self.regionShift
    regions[region] = offset
    return offset
  }

  private mutating func unusedRegion() throws -> UInt64 {
    while lowestUnused > 0 {
      lowestUnused -= 1
      if !taken.contains(lowestUnused) { return lowestUnused }
    }
    throw RelocationError(limit: limit)
  }
}

/// A program does not fit.
public struct RelocationError: Error, CustomStringConvertible, Sendable {
  public let limit: UInt64
  public var description: String { "the program uses more memory than the \(limit) bytes of address space there are" }
}
