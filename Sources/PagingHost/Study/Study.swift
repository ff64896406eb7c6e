// Workloads x architectures x modes, on all cores.
import Glibc
import PagingKit
import Synchronization

/// A list of runs that are reported together.
public struct Study: Sendable {
  public let runs: [StudyRun]
  public let settings: StudySettings
  /// Runs at a time; each has its machine to itself.
  public var workers = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
  /// Leave times out of the report, so that the same command gives the same bytes.
  public var hasTimes = true

  public init(_ runs: [StudyRun], _ settings: StudySettings) {
    self.runs = runs
    self.settings = settings
  }

  /// Every workload on every architecture, under those of the named regimes that it has, in every mode.
  public init(
    workloads: [Workload], architectures: [LoadedArchitecture], regimes: [String], modes: [String], _ settings: StudySettings
  ) throws(UnknownName) {
    let known = architectures.flatMap { $0.architecture.regimes.map { string($0.name) } }
    for regime in regimes where !known.contains(regime) {
      throw UnknownName(what: "regime", name: regime, valid: known)
    }
    var runs: [StudyRun] = []
    for workload in workloads {
      for loaded in architectures {
        let own: [String?] = regimes.isEmpty ? [nil] : regimes.filter { loaded.architecture.regimeIndex(named: $0) != nil }
        for regime in own {
          for mode in modes { runs.append(StudyRun(workload, on: loaded, regime: regime, mode: mode, settings)) }
        }
      }
    }
    self.init(runs, settings)
  }

  /// How far a study is.
  public struct Progress: Sendable {
    public let runsDone: Int
    public let runs: Int
    public let accesses: UInt64
  }

  /// Runs everything; rows are in the order of `runs`, whatever thread was first.
  ///
  /// `progress` and `isWanted` are called now and then, from several threads; once `isWanted` says no, every run ends
  /// where it is, and those that have not begun do not begin.
  public func run(
    events: EventFile? = nil, dumpsCaches: Bool = false, progress: @escaping @Sendable (Progress) -> Void = { _ in },
    isWanted: @escaping @Sendable () -> Bool = { true }
  ) -> StudyReport {
    let state = StudyState(runs: runs.count)
    // One run at a time where events are written, so that their file has an order.
    let box = EventBox(events)
    let rows = parallelMap(count: runs.count, workers: events == nil ? workers : 1) { [runs] index -> RowBox in
      guard isWanted() else { return RowBox(nil) }
      var witness = StudyRun.Witness()
      witness.events = box.events
      witness.dumpsCaches = dumpsCaches
      var last: UInt64 = 0
      witness.isWanted = { done in
        // A look at the clock and a lock are too much for every batch.
        guard done &- last >= 1 << 18 || done == 0 else { return isWanted() }
        state.add(done - last)
        last = done
        progress(state.progress)
        return isWanted()
      }
      let row = runs[index].perform(witness)
      state.finishRun()
      progress(state.progress)
      return RowBox(row)
    }
    let done = rows.compactMap(\.row)
    let isPartial = done.count < runs.count || done.contains(where: \.isPartial) && !isWanted()
    return StudyReport(rows: done, isPartial: isPartial, configuration: configuration, hasTimes: hasTimes)
  }

  /// Crosses threads once, when its run is over.
  private struct RowBox: @unchecked Sendable {
    // SAFETY: a row is a value that nobody else holds.
    let row: StudyRow?
    init(_ row: StudyRow?) { self.row = row }
  }

  private struct EventBox: @unchecked Sendable {
    // SAFETY: with events, one thread does all runs.
    let events: EventFile?
    init(_ events: EventFile?) { self.events = events }
  }

  // MARK: Configuration

  private var configuration: JSON {
    var architectures = JSONObject()
    for loaded in runs.map(\.loaded) where architectures[loaded.name] == nil { architectures[loaded.name] = description(loaded) }
    var workloads = JSONObject()
    for workload in runs.map(\.workload) { workloads[workload.name] = .text(workload.text) }
    return [
      "workloads": .object(workloads), "stream": .text(settings.stream.rawValue),
      "stopAt": settings.limits.stopAt.map { JSON($0) } ?? .null, "warmup": JSON(settings.limits.warmup),
      "pageSize": settings.pageShift.map { JSON(UInt64(1) << UInt64($0)) } ?? .null, "relocate": .bool(settings.relocates),
      "batchSize": JSON(settings.batchSize), "profile": profile,
      "settings": .object(JSONObject(settings.settings.map { ($0.name, .text($0.value)) })),
      "architectures": .object(architectures),
    ]
  }

  private var profile: JSON {
    guard let profile = settings.profile else { return .null }
    return [
      "file": .text(profile.file), "title": profile.title.map { .text($0) } ?? .null,
      "source": profile.source.map { .text($0) } ?? .null,
    ]
  }

  private func description(_ loaded: LoadedArchitecture) -> JSON {
    let configuration = try? Configuration(
      loaded.architecture, profile: settings.profile, settings: settings.settings, undeclared: .skipped)
    return [
      "title": .text(loaded.architecture.title), "version": .text(string(loaded.architecture.description.version)),
      "file": .text(loaded.file), "options": configuration?.json ?? .null,
      "skipped": .array((configuration?.skipped ?? []).map { .text($0.name) }),
    ]
  }
}

/// How far all threads are.
private final class StudyState: Sendable {
  private let runs: Int
  private let runsDone = Atomic<Int>(0)
  private let accesses = Atomic<UInt64>(0)

  init(runs: Int) { self.runs = runs }

  func add(_ count: UInt64) { accesses.add(count, ordering: .relaxed) }
  func finishRun() { runsDone.add(1, ordering: .relaxed) }

  var progress: Study.Progress {
    Study.Progress(
      runsDone: runsDone.load(ordering: .relaxed), runs: runs, accesses: accesses.load(ordering: .relaxed))
  }
}
