// Who watches walks. A unit without an observer runs code that has none in it.
public import CPagingKit

/// Sees every step of a translation.
public protocol WalkObserver {
  /// False compiles all telling away.
  static var isWatching: Bool { get }

  func didStep(_ kind: UInt32, slot: UInt64, entry: UInt64, input: UInt64, output: UInt64, level: Int, stage: UInt8, _ reason: FaultReason)
}

/// Nobody watches; compiles to nothing.
@frozen public struct NoObserver: WalkObserver {
  @inlinable @inline(__always) public static var isWatching: Bool { false }
  @inlinable @inline(__always) public init() {}
  @inlinable @inline(__always)
  public func didStep(_ kind: UInt32, slot: UInt64, entry: UInt64, input: UInt64, output: UInt64, level: Int, stage: UInt8, _ reason: FaultReason) {}
}

/// Sends every step over the border.
public struct BorderObserver: WalkObserver {
  public static var isWatching: Bool { true }
  let observer: pgk_observer_v1
  let access: pgk_access_v1
  /// Index of the format in the description, by stage.
  let formats: (first: UInt8, second: UInt8)
  let rule: (FaultReason, _ stage: UInt8, _ level: Int, _ kind: UInt32) -> UInt32

  public init(
    _ observer: pgk_observer_v1, access: pgk_access_v1, formats: (first: UInt8, second: UInt8),
    rule: @escaping (FaultReason, _ stage: UInt8, _ level: Int, _ kind: UInt32) -> UInt32
  ) {
    self.observer = observer
    self.access = access
    self.formats = formats
    self.rule = rule
  }

  public func didStep(_ kind: UInt32, slot: UInt64, entry: UInt64, input: UInt64, output: UInt64, level: Int, stage: UInt8, _ reason: FaultReason) {
    var access = access
    var step = pgk_step_v1(
      slot: slot, entry: entry, input: input, output: output, rule: rule(reason, stage, level, kind),
      kind: UInt8(truncatingIfNeeded: kind), level: UInt8(truncatingIfNeeded: level), stage: stage,
      format: reason == .entryHole ? UInt8(truncatingIfNeeded: PGK_NO_FORMAT) : stage == 2 ? formats.second : formats.first)
    observer.step(observer.context, &access, &step)
  }
}
