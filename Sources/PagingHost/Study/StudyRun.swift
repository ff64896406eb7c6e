// One workload on one architecture in one mode.
import CPagingKit
import PagingKit

/// What all runs of a study have in common.
public struct StudySettings: Sendable {
  public var profile: Profile?
  public var settings: [Setting] = []
  public var stream = TraceStream.unified
  public var limits = RunLimits()
  /// log2 of the page size that demand paging tries first; nil is the smallest of each format.
  public var pageShift: Int?
  /// Move programs that do not fit below the end of the address space.
  public var relocates = false
  public var batchSize = 1024

  public init() {}
}

public struct StudyRun: Sendable {
  public let workload: Workload
  public let loaded: LoadedArchitecture
  /// Nil is the first that a machine can run.
  public let regime: String?
  public let mode: String
  public let settings: StudySettings

  public static let native = "native"

  public init(_ workload: Workload, on loaded: LoadedArchitecture, regime: String?, mode: String, _ settings: StudySettings) {
    self.workload = workload
    self.loaded = loaded
    self.regime = regime
    self.mode = mode
    self.settings = settings
  }

  private var architecture: Architecture { loaded.architecture }

  /// What happens besides the counting.
  public struct Witness {
    public var events: EventFile?
    public var dumpsCaches = false
    /// Accesses done so far; false ends the run with what there is. Asked between batches.
    public var isWanted: (UInt64) -> Bool = { _ in true }
    public init() {}
  }

  /// Runs to the end. What the architecture cannot do is a row that says so.
  public func perform(_ witness: Witness = Witness()) -> StudyRow {
    var row = StudyRow(workload: workload.name, architecture: loaded.name, regime: regime ?? "", mode: mode)
    do {
      try perform(&row, witness)
    } catch let error as StudyObstacle {
      row.end = .impossible("\(error)")
    } catch let error as AddressTooWide {
      row.end = .impossible("\(error)")
    } catch let error as MachineError {
      row.end = error.isObstacle ? .impossible("\(error)") : .failed("\(error)")
    } catch {
      row.end = .failed("\(error)")
    }
    return row
  }

  private func perform(_ row: inout StudyRow, _ witness: Witness) throws {
    guard mode == Self.native else { throw StudyObstacle("the mode \(mode) is not in this version; native is") }
    let options = try Configuration(
      architecture, profile: settings.profile, settings: settings.settings, undeclared: .skipped).options
    let machine = try Machine(architecture, MachineConfiguration(regime: regime, options: options, pageShift: settings.pageShift))
    let layout = machine.space.mapper.layout
    row.regime = string(architecture.regimes[machine.regime].name)
    row.pageByteCount = 1 << UInt64(machine.space.pageShift)
    var source = try WorkloadSource(
      workload, stream: settings.stream, template: AccessTemplate(privilege: machine.programPrivilege),
      last: layout.programRange.last.bits, relocates: settings.relocates)
    let lines = witness.events.map { EventLines(architecture, $0) }
    if let lines { try machine.observe { lines.add($0) } }
    let start = ContinuousClock.now
    // Errors of the run leave what was counted until then.
    defer { row.statistics = source.statistics }
    let result = try machine.run(&source, settings.limits, batchSize: settings.batchSize, isWanted: witness.isWanted)
    row.seconds = (ContinuousClock.now - start).inSeconds
    row.programAccesses = result.measuredAccesses
    row.allAccesses = result.accesses
    row.isPartial = result.isInterrupted
    row.counters = result.counters.all
    row.end = .done
    try lines?.finish()
    if witness.dumpsCaches { row.caches = try machine.dumpCaches() }
  }
}

/// Something that an architecture, or this version, does not have.
struct StudyObstacle: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

extension MachineError {
  /// True for what the architecture does not have, false for what went wrong.
  var isObstacle: Bool {
    switch self {
    case .unknownRegime, .unsuitableRegime, .pageSize: true
    default: false
    }
  }
}

extension Duration {
  var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}

extension StudySettings {
  public mutating func stopAt(_ count: UInt64?, warmup: UInt64) { limits = RunLimits(stopAt: count, warmup: warmup) }

  /// Every option of one architecture, all of them known to it.
  public func configuration(of loaded: LoadedArchitecture) throws(SettingError) -> Configuration {
    try Configuration(loaded.architecture, profile: profile, settings: settings)
  }

  /// Throws for a setting that none of the architectures knows or all of them refuse.
  public func requireKnown(by loaded: [LoadedArchitecture]) throws(SettingError) {
    try Configuration.requireKnown(settings, by: loaded.map(\.architecture))
    for one in loaded { _ = try Configuration(one.architecture, profile: profile, settings: settings, undeclared: .skipped) }
  }
}
