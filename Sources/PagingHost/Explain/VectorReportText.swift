// What came of a verification, for a terminal and for programs.

public struct VectorReportText {
  private let report: VectorReport
  private let seconds: Double

  public init(_ report: VectorReport, seconds: Double) {
    self.report = report
    self.seconds = seconds
  }

  /// Differences, what could not be run, a line for each file, the rate, and the totals as the last line.
  public var text: String {
    var text = report.shown.map { "\($0)\n\n" }.joined()
    let hidden = report.differences - UInt64(report.shown.count)
    if hidden > 0, !report.shown.isEmpty { text += "... and \(NumberText.grouped(hidden)) more differences\n\n" }
    text += unsupported
    text += files.text
    text += "\(NumberText.fixed(seconds, decimals: 2)) s, \(rate) accesses/s\n"
    if report.isPartial { text += "interrupted: partial\n" }
    return text + report.totals + "\n"
  }

  private var rate: String { seconds > 0 ? NumberText.grouped(UInt64(Double(report.accesses) / seconds)) : "-" }

  private var unsupported: String {
    let sorted = report.unsupported.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
    guard !sorted.isEmpty else { return "" }
    let lines = sorted.map { "  \(NumberText.grouped($0.value)) case\($0.value == 1 ? "" : "s"): \($0.key)\n" }
    return "Not run, since the back end does not declare what they need:\n" + lines.joined() + "\n"
  }

  private var files: TextTable {
    var table = TextTable([
      .init("file"), .init("architecture"), .init("cases", .right), .init("accesses", .right), .init("differences", .right),
      .init("not run", .right),
    ])
    for file in report.files {
      table.add(
        file.file, file.architecture, NumberText.grouped(file.cases), NumberText.grouped(file.accesses),
        NumberText.grouped(file.differences), NumberText.grouped(file.unsupported.values.reduce(0, +)))
    }
    return table
  }

  public var json: JSON {
    [
      "cases": JSON(report.cases), "accesses": JSON(report.accesses), "differences": JSON(report.differences),
      "partial": .bool(report.isPartial), "files": .array(report.files.map(fileJSON)),
      "shown": .array(report.shown.map(differenceJSON)),
      "unsupported": .object(JSONObject(report.unsupported.sorted { $0.key < $1.key }.map { ($0.key, JSON($0.value)) })),
      "seconds": .number(seconds),
    ]
  }

  private func fileJSON(_ file: VectorFileReport) -> JSON {
    [
      "file": .text(file.file), "architecture": .text(file.architecture), "cases": JSON(file.cases),
      "accesses": JSON(file.accesses), "differences": JSON(file.differences),
      "notRun": JSON(file.unsupported.values.reduce(0, +)), "failure": file.failure.map { .text("\($0)") } ?? .null,
    ]
  }

  private func differenceJSON(_ difference: VectorDifference) -> JSON {
    let items = difference.items.map { item -> JSON in
      ["quantity": .text(item.quantity), "expected": .text(item.expected), "found": .text(item.found)]
    }
    return [
      "file": .text(difference.file), "line": JSON(difference.line), "case": .text(difference.caseID),
      "access": difference.access.map { JSON($0) } ?? .null, "text": .text(difference.accessText), "items": .array(items),
    ]
  }
}
