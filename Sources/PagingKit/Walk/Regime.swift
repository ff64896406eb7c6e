// Which format, which root, which control bits judge the collected rights. Made from registers, constant in a batch.
public import CPagingKit

extension pgk_access_v1 {
  /// A store, or an operation that is judged as one.
  @inlinable @inline(__always) public var isWrite: Bool { (0b0001_0110 &>> kind) & 1 != 0 }
  @inlinable @inline(__always) public var isFetch: Bool { kind == UInt8(truncatingIfNeeded: PGK_FETCH) }
  @inlinable @inline(__always) public var isSpecial: Bool { kind == UInt8(truncatingIfNeeded: PGK_SPECIAL) }
  @inlinable @inline(__always) public var isTranslateOnly: Bool { flags & UInt8(truncatingIfNeeded: PGK_TRANSLATE_ONLY) != 0 }
  @inlinable @inline(__always) public var isSpeculative: Bool { flags & UInt8(truncatingIfNeeded: PGK_SPECULATIVE) != 0 }
  @inlinable @inline(__always) public var byteCount: UInt64 { 1 &<< UInt64(truncatingIfNeeded: size_log2) }
}

/// What a walk found, or why it did not.
@frozen public struct WalkResult: Sendable {
  public var output: UInt64 = 0
  public var rights: Rights = []
  public var attributes: UInt8 = 0
  public var level: UInt8 = 0
  /// log2 of the bytes for which the translation holds: the smaller page of the two stages. 64: not translated.
  public var pageShift: UInt64 = 12
  public var isGlobal = false
  public var isCacheable = true
  /// Refused for good until an invalidation: an entry that the TLB keeps although it maps nothing.
  public var isNegative = false
  public var reads: UInt32 = 0
  /// `.none` if the access may go on to `output`; else `TranslationCaches.fault` says more.
  public var reason: FaultReason = .none

  @inlinable @inline(__always) public init() {}
}

/// How accesses of some privileges are translated under the present registers.
public protocol Regime {
  /// Whether a key in the attributes may forbid an access; false compiles the question away.
  static var hasKeys: Bool { get }

  /// Whether addresses are not translated at all: no TLB is asked, nothing is counted as a walk.
  static var isUntranslated: Bool { get }

  /// 2 if a second stage gives the final address. The regime itself tells observers where the first stage led.
  static var stageCount: UInt8 { get }

  /// Bit n: accesses of privilege n are translated by this regime.
  var privileges: UInt32 { get }
  var context: ContextTag { get }
  /// Context of entries that all address spaces share; equal to `context` where there are none.
  var globalContext: ContextTag { get }

  /// The address that is translated: upper bits that the architecture ignores are made canonical.
  func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64

  /// Whether the unused upper bits are as the architecture wants them.
  func isCanonical(_ address: UInt64) -> Bool

  /// Judges the rights, collected or cached, that the access needs. `.none` lets it go on; a store to a page whose
  /// dirty right is missing is let go on here and walks for that.
  func judge(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason

  /// Whether the attributes forbid the access, for what `permits` does not see. Asked if `hasKeys`.
  func keyForbids(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> Bool

  /// Asks the processor for what a walk of the address will read last; a hint that changes and counts nothing.
  func prefetch(_ address: UInt64, _ memory: PhysicalMemory, _ before: inout PrefetchedTable)

  /// The usual walk, if this is one: entries that are there and marked, and rights that suffice. It may look walk caches
  /// up, leaving in `start` where a walk in full then goes on, but changes nothing else unless it returns true.
  func glance(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ result: inout WalkResult,
    _ start: inout WalkStart?
  ) -> Bool

  /// Whether `approach` and `arrive` say anything; false compiles the question away.
  static var hasApproach: Bool { get }

  /// The usual walk from the root down to its last table, or nil if it is another. Changes and counts nothing.
  func approach(_ address: UInt64, _ memory: PhysicalMemory) -> Approach?

  /// The rest of that walk, with rights that suffice, or false.
  func arrive(
    _ approach: Approach, _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory,
    _ result: inout WalkResult
  ) -> Bool

  /// Translates after a TLB miss, or when a cached entry does not suffice: tables, rights, flags, final address. `start` is
  /// where the walk caches let it begin, if they were looked up already.
  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer,
    from start: WalkStart?
  ) -> WalkResult
}

extension Regime {
  @inlinable @inline(__always) public static var hasApproach: Bool { false }
  @inlinable @inline(__always) public func approach(_ address: UInt64, _ memory: PhysicalMemory) -> Approach? { nil }
  @inlinable @inline(__always)
  public func arrive(
    _ approach: Approach, _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory,
    _ result: inout WalkResult
  ) -> Bool { false }

  @inlinable @inline(__always)
  public func glance(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ result: inout WalkResult,
    _ start: inout WalkStart?
  ) -> Bool { false }

  @inlinable @inline(__always) public static var hasKeys: Bool { false }
  @inlinable @inline(__always) public static var isUntranslated: Bool { false }
  @inlinable @inline(__always) public static var stageCount: UInt8 { 1 }
  @inlinable @inline(__always) public func prefetch(_ address: UInt64, _ memory: PhysicalMemory, _ before: inout PrefetchedTable) {}
  @inlinable @inline(__always) public func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 { address }
  @inlinable @inline(__always)
  public func keyForbids(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> Bool { false }
}
