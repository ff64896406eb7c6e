// What a bench measured, as a table and as JSON.

public struct BenchReport: Sendable {
  public let rows: [BenchRow]
  let rounds: Int
  let seed: UInt64
  public let isPartial: Bool

  /// True if every count and every output is what the floor says.
  public var isRight: Bool { rows.allSatisfy(\.isRight) }

  public var text: String {
    var table = TextTable([
      .init("job", .left), .init("back end", .left), .init("floor M/s", .right), .init("M/s", .right), .init("ratio", .right),
      .init("spread", .right), .init("entries read", .right), .init("expected", .right), .init("digest", .right),
    ])
    for row in rows {
      table.add(
        row.job, "\(row.architecture) \(row.regime)", NumberText.fixed(median(row.floorSpeeds), decimals: 2),
        NumberText.fixed(median(row.speeds), decimals: 2), NumberText.fixed(median(row.ratios), decimals: 3),
        NumberText.fixed(spread(row.ratios) * 100, decimals: 1) + "%", NumberText.grouped(row.count),
        row.isRight ? NumberText.grouped(row.expectedCount) : NumberText.grouped(row.expectedCount) + " WRONG", wideHex(row.digest))
    }
    let remarks = rows.filter { !$0.isRight }.map {
      "\($0.job): walks \($0.walks), expected \($0.expectedWalks); entries read \($0.count), expected \($0.expectedCount); wrong outputs \($0.wrongOutputs)\n"
    }
    return table.text + remarks.joined() + "ratio: median of \(rounds) rounds in turns, seed \(seed)\n" + (isPartial ? "interrupted: partial results\n" : "")
  }

  public var json: JSON {
    let results = rows.map { row -> JSON in
      [
        "job": .text(row.job), "unit": "M/s", "median": .number(median(row.speeds)),
        "floorMedian": .number(median(row.floorSpeeds)), "ratio": .number(median(row.ratios)),
        "spread": .number(spread(row.ratios)), "count": JSON(row.count), "expectedCount": JSON(row.expectedCount),
        "digest": .text(wideHex(row.digest)), "walks": JSON(row.walks), "expectedWalks": JSON(row.expectedWalks),
        "wrongOutputs": JSON(row.wrongOutputs), "accesses": JSON(row.accesses), "rounds": JSON(row.speeds.count),
        "architecture": .text(row.architecture), "regime": .text(row.regime),
      ]
    }
    return [
      "results": .array(results), "partial": .bool(isPartial), "seed": JSON(seed), "rounds": JSON(rounds),
      "batchSize": JSON(BenchJob.batchSize),
    ]
  }

  private func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return .nan }
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  }

  /// From the least to the most, as a part of the median.
  private func spread(_ values: [Double]) -> Double {
    guard let low = values.min(), let high = values.max() else { return .nan }
    return (high - low) / median(values)
  }
}
