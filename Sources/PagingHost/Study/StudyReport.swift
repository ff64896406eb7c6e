// All rows of a study as a table, as JSON and as comma-separated values.
import PagingKit

public struct StudyReport {
  public let rows: [StudyRow]
  public let isPartial: Bool
  /// Everything that is needed to run it again.
  let configuration: JSON
  /// Times differ from run to run; everything else is the same.
  let hasTimes: Bool

  public var hasFailed: Bool { rows.contains(where: \.hasFailed) }

  public var text: String {
    var table = TextTable([
      .init("workload", .left), .init("architecture"), .init("regime"), .init("mode"), .init("accesses", .right),
      .init("L1 hit", .right), .init("L2 hit", .right), .init("walks", .right), .init("reads/walk", .right),
      .init("faults", .right),
    ] + (hasTimes ? [.init("M/s", .right)] : []))
    var remarks = ""
    for row in rows {
      let names = [row.workload, row.architecture, row.regime.isEmpty ? "-" : row.regime, row.mode]
      if let reason = row.reason {
        table.add(names + ["-"])
        remarks += "\(row.workload) on \(row.architecture)\(row.regime.isEmpty ? "" : " \(row.regime)"), \(row.mode): \(reason)\n"
        continue
      }
      table.add(names + cells(row))
    }
    return table.text + (remarks.isEmpty ? "" : "\n" + remarks) + (isPartial ? "\ninterrupted: partial results\n" : "")
  }

  private func cells(_ row: StudyRow) -> [String] {
    func count(_ name: String) -> String { row.counter(name).map { NumberText.grouped($0) } ?? "-" }
    return [
      NumberText.grouped(row.programAccesses) + (row.isPartial ? " (partial)" : ""), row.firstLevelRate, row.secondLevelRate,
      count("walks"), row.readsPerWalk.map { NumberText.fixed($0, decimals: 2) } ?? "-", count("faults"),
    ] + (hasTimes ? [row.accessesPerSecond.map { NumberText.fixed($0 / 1e6, decimals: 1) } ?? "-"] : [])
  }

  public var json: JSON {
    [
      "results": .array(rows.map { .object(object($0)) }), "partial": .bool(isPartial), "configuration": configuration,
    ]
  }

  /// The one row of a single run with the configuration, and in `results` as several have it.
  public var singleJSON: JSON {
    guard case .object(let whole) = json, let row = rows.first else { return json }
    return .object(JSONObject(object(row).members.map { ($0.key, $0.value) } + whole.members.map { ($0.key, $0.value) }))
  }

  public var csv: String { CSV(rows.map(object)).text }

  /// One key for each counter, and what the workload holds.
  private func object(_ row: StudyRow) -> JSONObject {
    var object: JSONObject = [
      "workload": .text(row.workload), "architecture": .text(row.architecture), "regime": .text(row.regime),
      "mode": .text(row.mode),
    ]
    if let reason = row.reason {
      object[row.hasFailed ? "error" : "impossible"] = .text(reason)
      return object
    }
    object["pageSize"] = JSON(row.pageByteCount)
    object["programAccesses"] = JSON(row.programAccesses)
    for counter in row.counters { object[counter.name] = JSON(counter.value) }
    for (name, value) in statistics(row.statistics) { object[name] = JSON(value) }
    object["partial"] = .bool(row.isPartial)
    if hasTimes {
      object["seconds"] = .number(row.seconds)
      object["accessesPerSecond"] = row.accessesPerSecond.map { .number($0) } ?? .null
    }
    return object
  }

  private func statistics(_ all: TraceStatistics) -> [(String, UInt64)] {
    [
      ("instructions", all.instructions), ("loads", all.loads), ("stores", all.stores), ("modifies", all.modifies),
      ("pageStraddling", all.pageStraddling), ("distinctPages", all.distinctPages),
      ("distinctInstructionPages", all.distinctInstructionPages), ("distinctDataPages", all.distinctDataPages),
    ]
  }

  /// Everything about the first row: what was run, what it holds, every counter also per access.
  public var runText: String {
    guard let row = rows.first else { return "" }
    if let reason = row.reason { return "\(row.workload) on \(row.architecture), \(row.mode): \(reason)\n" }
    var text = "\(row.workload) on \(row.architecture), regime \(row.regime), \(row.mode), pages of \(SizeText.text(bytes: row.pageByteCount))\n\n"
    var workload = TextTable([.init("workload"), .init("count", .right)])
    for (name, value) in statistics(row.statistics) { workload.add(name, NumberText.grouped(value)) }
    var counters = TextTable([.init("counter"), .init("count", .right), .init("per access", .right)])
    counters.add("programAccesses", NumberText.grouped(row.programAccesses), "")
    for counter in row.counters {
      // Bytes of tables do not grow with accesses.
      let ratio = counter.name.hasSuffix("Bytes") ? "" : NumberText.fixed(Double(counter.value) / Double(row.programAccesses), decimals: 6)
      counters.add(counter.name, NumberText.grouped(counter.value), ratio)
    }
    text += workload.text + "\n" + counters.text + "\n"
    text += "L1 hit \(row.firstLevelRate), L2 hit \(row.secondLevelRate)"
    if let reads = row.readsPerWalk { text += ", \(NumberText.fixed(reads, decimals: 2)) entry reads a walk" }
    text += "\n"
    if hasTimes, let rate = row.accessesPerSecond {
      text += "\(NumberText.fixed(row.seconds, decimals: 2)) s, \(NumberText.fixed(rate / 1e6, decimals: 1)) million accesses/s\n"
    }
    if !row.caches.isEmpty { text += "\n" + CacheDumpText(row).text }
    return text + (isPartial ? "\ninterrupted: partial results\n" : "")
  }
}
