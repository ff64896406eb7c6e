import CPagingKit
import PagingKit

/// What a scenario says the machine looks like after a step: all of it, so what a step does not name is as before.
struct ScenarioState {
  var memory: [UInt64: UInt64] = [:]
  var registers: [Int: UInt64] = [:]
  var destinations: [Int: WideValue] = [:]
  var isStopped = false
  var pointer: UInt64?
  /// The list and the records as they were found, and found right, when a step last named them.
  var list: [pgk_listed_v1] = []
  var records: [pgk_listed_v1] = []
  /// First addresses of all areas that the unit has written its records to.
  var recordAreas: Set<UInt64> = []

  static let recordByteCount: UInt64 = 1024

  func isRecord(_ address: UInt64) -> Bool { recordAreas.contains { address &- $0 < Self.recordByteCount } }
}

/// Differences of one step, collected.
struct ScenarioFindings {
  private(set) var items: [VectorDifference.Item] = []

  mutating func add(_ quantity: String, _ expected: String, _ found: String) {
    if expected != found { items.append((quantity, expected, found)) }
  }
}
