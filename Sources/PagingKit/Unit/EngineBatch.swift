// What an engine is given, where its answers go, and where it ended.
public import CPagingKit

/// Why the engine gave a batch back.
@frozen public enum EngineStop: Sendable {
  /// Every access is finished.
  case end
  /// The next access is special, or belongs to another regime.
  case leave
  /// The access failed; `TranslationCaches.fault` says why, `EngineEnd.fault` where.
  case fault
  /// The access reaches a device and moves data.
  case device
  /// The access moves data, and no values were given.
  case noValues
}

/// Where a batch ended.
@frozen public struct EngineEnd: Sendable {
  /// Accesses before this one are finished.
  public var next: Int
  public var stop: EngineStop
  /// First byte on the faulting page, and the entries read until then.
  public var faultAddress: UInt64 = 0
  /// For a device: the address that it answers to.
  public var output: UInt64 = 0
  public var reads: UInt32 = 0

  @inlinable @inline(__always) public init(_ next: Int, _ stop: EngineStop) {
    self.next = next
    self.stop = stop
  }
}

/// A batch as it came over the border.
@frozen public struct Batch: @unchecked Sendable {
  // SAFETY: the arrays belong to the caller of run and are used during the call only.
  public let accesses: UnsafePointer<pgk_access_v1>
  public let values: UnsafeMutablePointer<pgk_value_v1>?
  public let results: UnsafeMutablePointer<pgk_result_v1>

  @inlinable public init(
    accesses: UnsafePointer<pgk_access_v1>, values: UnsafeMutablePointer<pgk_value_v1>?,
    results: UnsafeMutablePointer<pgk_result_v1>
  ) {
    self.accesses = accesses
    self.values = values
    self.results = results
  }
}

/// Where a translation goes.
public protocol TranslationTarget {
  func put(_ output: UInt64, level: UInt8, pageShift: UInt64, _ rights: Rights, attributes: UInt8, reads: UInt32)
}

/// A record of the border; attributes are left out.
@frozen public struct ResultRecord: TranslationTarget {
  public let pointer: UnsafeMutablePointer<pgk_result_v1>
  @inlinable @inline(__always) public init(_ pointer: UnsafeMutablePointer<pgk_result_v1>) { self.pointer = pointer }

  @inlinable @inline(__always)
  public func put(_ output: UInt64, level: UInt8, pageShift: UInt64, _ rights: Rights, attributes: UInt8, reads: UInt32) {
    pointer.pointee = pgk_result_v1(
      output: output, outcome: UInt8(truncatingIfNeeded: PGK_OUTCOME_FINISHED), level: level,
      page_shift: UInt8(truncatingIfNeeded: pageShift), rights: rights.rawValue, entry_reads: reads)
  }
}

/// A result with its attributes, for probes.
@frozen public struct ResultWithAttributes: TranslationTarget {
  public let pointer: UnsafeMutablePointer<WalkResult>
  @inlinable public init(_ pointer: UnsafeMutablePointer<WalkResult>) { self.pointer = pointer }

  @inlinable
  public func put(_ output: UInt64, level: UInt8, pageShift: UInt64, _ rights: Rights, attributes: UInt8, reads: UInt32) {
    pointer.pointee.output = output
    pointer.pointee.level = level
    pointer.pointee.pageShift = pageShift
    pointer.pointee.rights = rights
    pointer.pointee.attributes = attributes
    pointer.pointee.reads = reads
  }
}
