// What came of one run.
import CPagingKit
import PagingKit

public struct StudyRow {
  public enum End: Sendable, Equatable {
    case done
    /// The architecture cannot do it, and why.
    case impossible(String)
    /// It went wrong: a bad trace, memory at its end.
    case failed(String)
  }

  public let workload: String
  public let architecture: String
  public internal(set) var regime: String
  public let mode: String
  public internal(set) var pageByteCount: UInt64 = 0
  public internal(set) var end = End.done
  /// Somebody stopped it; the numbers are of what was done by then.
  public internal(set) var isPartial = false
  /// Accesses of the program that the counters are about, and all with the warm-up.
  public internal(set) var programAccesses: UInt64 = 0
  public internal(set) var allAccesses: UInt64 = 0
  public internal(set) var seconds = 0.0
  public internal(set) var counters: [Counter] = []
  public internal(set) var statistics = TraceStatistics()
  /// Valid entries by cache, if they were asked for.
  var caches: [(name: String, entries: [pgk_cached_v1])] = []

  init(workload: String, architecture: String, regime: String, mode: String) {
    self.workload = workload
    self.architecture = architecture
    self.regime = regime
    self.mode = mode
  }

  public func counter(_ name: String) -> UInt64? { counters.first { $0.name == name }?.value }

  /// Why there are no numbers; nil if there are.
  public var reason: String? {
    switch end {
    case .done: nil
    case .impossible(let reason), .failed(let reason): reason
    }
  }

  public var hasFailed: Bool { if case .failed = end { true } else { false } }

  // MARK: Ratios

  var firstLevelHits: UInt64? { counter("tlbL1Hits").map { $0 + (counter("tlbL1iHits") ?? 0) } }

  /// Look-ups that the first level answered, of all.
  var firstLevelRate: String {
    guard let hits = firstLevelHits, let references = counter("references") else { return "-" }
    return NumberText.percent(hits, of: references)
  }

  /// Look-ups that the second level answered, of those that the first did not.
  var secondLevelRate: String {
    guard let first = firstLevelHits, let hits = counter("tlbL2Hits"), let references = counter("references"),
      references >= first
    else { return "-" }
    return NumberText.percent(hits, of: references - first)
  }

  var readsPerWalk: Double? {
    guard let reads = counter("entryReads"), let walks = counter("walks"), walks > 0 else { return nil }
    return Double(reads) / Double(walks)
  }

  /// Of the program, warm-up included, for the time is of both.
  var accessesPerSecond: Double? { seconds > 0 && end == .done ? Double(allAccesses) / seconds : nil }
}
