// What a run was asked to do, and what came of it.

/// Where a run ends, and from where on it counts.
public struct RunLimits: Sendable {
  /// Accesses to run, warm-up included; nil is all that the source has.
  public var stopAt: UInt64?
  /// After so many accesses counters start again from zero, with caches and pages as they are.
  public var warmup: UInt64

  public init(stopAt: UInt64? = nil, warmup: UInt64 = 0) {
    self.stopAt = stopAt
    self.warmup = warmup
  }
}

/// How far a run is.
struct RunProgress {
  let limits: RunLimits
  private(set) var done: UInt64 = 0
  /// The source had no more.
  var isEnded = false

  init(_ limits: RunLimits) { self.limits = limits }

  /// How many accesses the next batch may have: it ends at the end of the warm-up. Nil when the run is over.
  func room(_ batchSize: Int) -> Int? {
    var room = UInt64(batchSize)
    if let stopAt = limits.stopAt {
      guard done < stopAt else { return nil }
      room = min(room, stopAt - done)
    }
    if done < limits.warmup { room = min(room, limits.warmup - done) }
    return Int(room)
  }

  /// True if the warm-up has ended with this batch.
  mutating func advance(_ count: Int) -> Bool {
    done += UInt64(count)
    return limits.warmup > 0 && done == limits.warmup
  }

  var measured: UInt64 { done > limits.warmup ? done - limits.warmup : 0 }
  var isWarmingUp: Bool { done < limits.warmup }
  var isInterrupted: Bool { !isEnded && done != limits.stopAt }
}

/// A number with its name.
public struct Counter: Equatable, Sendable {
  public let name: String
  public let value: UInt64

  public init(name: String, value: UInt64) {
    self.name = name
    self.value = value
  }
}

/// All counters of a machine, in a fixed order.
public struct RunCounters: Equatable, Sendable {
  /// In the order of the architecture's description.
  public let unit: [Counter]
  public let machine: [Counter]

  public var all: [Counter] { unit + machine }

  /// By name; nil if neither has it.
  public subscript(_ name: String) -> UInt64? { all.first { $0.name == name }?.value }
}

/// What came of a run. How long it took, the host measures.
public struct RunResult: Sendable {
  /// Accesses of the program that were run, warm-up included.
  public let accesses: UInt64
  /// Those that the counters are about.
  public let measuredAccesses: UInt64
  /// Somebody stopped the run before its end.
  public let isInterrupted: Bool
  public let counters: RunCounters

  init(_ progress: RunProgress, _ counters: RunCounters) {
    accesses = progress.done
    measuredAccesses = progress.measured
    isInterrupted = progress.isInterrupted
    self.counters = counters
  }
}
