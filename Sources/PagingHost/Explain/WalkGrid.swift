// The reads of a two-stage walk as a table.
import CPagingKit
import PagingKit

/// For each address that the second stage was asked for: its entries, and what they were for.
struct WalkGrid {
  enum Purpose {
    /// The first-stage entry that was then read.
    case reading(name: String)
    /// A first-stage entry whose flags are to be set.
    case updating(name: String)
    /// A first-stage entry that the second stage did not give.
    case refused
    case access
  }

  struct Row {
    /// Guest-physical.
    var address: UInt64
    /// Slots of second-stage entries, by level.
    var second: [Int: UInt64] = [:]
    var purpose = Purpose.access
  }

  private(set) var rows: [Row] = []
  /// Names of second-stage entries by level.
  private var names: [Int: String] = [:]

  init(_ steps: [WalkExplanation.Step]) {
    let isRepeated = Self.hasRepeatedNames(steps.filter { !$0.isSecondStage })
    var row: Row?
    var last: (slot: UInt64, name: String)?
    var isFirstStageDone = false
    for step in steps {
      if step.kind == PGK_STEP_TRANSLATED && !step.isSecondStage { isFirstStageDone = true }
      guard step.number != nil else { continue }
      let level = Int(step.step.level)
      if step.isSecondStage {
        if row?.address != step.step.input {
          if let row { rows.append(row) }
          row = Row(address: step.step.input, purpose: isFirstStageDone ? .access : .refused)
          if let last, last.slot == step.step.input, !isFirstStageDone { row?.purpose = .updating(name: last.name) }
        }
        row?.second[level] = step.step.slot
        names[level] = step.entryName
      } else {
        let name = step.entryName + (isRepeated ? ", level \(level)" : "")
        var done = row ?? Row(address: step.step.slot)
        done.purpose = .reading(name: name)
        rows.append(done)
        last = (step.step.slot, name)
        row = nil
      }
    }
    if let row { rows.append(row) }
  }

  /// Whether the manual has one name for entries of several levels.
  private static func hasRepeatedNames(_ steps: [WalkExplanation.Step]) -> Bool {
    let levels = Dictionary(steps.map { ($0.entryName, Set([$0.step.level])) }) { $0.union($1) }
    return levels.values.contains { $0.count > 1 }
  }

  /// Columns are the levels of the second stage, root first.
  var table: TextTable {
    let levels = names.keys.sorted(by: >)
    let isRepeated = Set(names.values).count < names.count
    let titles = levels.map { (names[$0] ?? "") + (isRepeated ? ", level \($0)" : "") }
    var table = TextTable(
      [.init("reads for"), .init("guest-physical", .right)] + titles.map { .init($0, .right) } + [.init("reads", .right)])
    for row in rows {
      let cells = levels.map { row.second[$0].map(hex) ?? "" }
      var (what, reads) = ("the access", "\(row.second.count)")
      switch row.purpose {
      case .reading(let name): (what, reads) = (name, reads + " + 1")
      case .updating(let name): what = name + ", to write it"
      case .refused: what = "a first-stage entry"
      case .access: break
      }
      table.add([what, hex(row.address)] + cells + [reads])
    }
    return table
  }
}
