// Events of a machine as lines: one for a walk with all it read, one for everything else.
import CPagingKit
import PagingKit

/// Puts the steps of a walk into one line. Hits of a TLB are no walks and make no line.
final class EventLines {
  private let architecture: Architecture
  private let file: EventFile
  private var sequence: UInt64 = 0
  private var access = pgk_access_v1()
  private var steps: [pgk_step_v1] = []

  init(_ architecture: Architecture, _ file: EventFile) {
    self.architecture = architecture
    self.file = file
  }

  func add(_ event: Event) {
    guard case .step(let access, let step) = event.kind else {
      finishWalk()
      return file.add(event.line(architecture))
    }
    if event.sequence != sequence || isOver { finishWalk() }
    guard UInt32(step.kind) != PGK_STEP_TLB_HIT else { return }
    (sequence, self.access) = (event.sequence, access)
    steps.append(step)
  }

  func finish() throws(InputError) {
    finishWalk()
    try file.finish()
  }

  /// A walk is over with a refusal, or with a translation that no second stage follows.
  private var isOver: Bool {
    guard let last = steps.last else { return false }
    if UInt32(last.kind) == PGK_STEP_REFUSED { return true }
    guard UInt32(last.kind) == PGK_STEP_TRANSLATED else { return false }
    return last.stage == 2 ? steps.contains { $0.stage == 1 && $0.output == last.input } : !steps.contains { $0.stage == 2 }
  }

  private func finishWalk() {
    guard !steps.isEmpty else { return }
    let kind = DescriptionNames.name(DescriptionNames.accessKinds, access.kind)
    let reads = steps.count { [PGK_STEP_TABLE, PGK_STEP_LEAF, PGK_STEP_REFUSED].contains(UInt32($0.kind)) && $0.slot != PGK_NO_ENTRY }
    let parts = steps.map(text).filter { !$0.isEmpty }
    file.add("\(sequence) walk \(hex(access.address)) \(kind), \(reads) read\(reads == 1 ? "" : "s"): \(parts.joined(separator: " "))")
    steps.removeAll(keepingCapacity: true)
  }

  private func text(_ step: pgk_step_v1) -> String {
    let formats = architecture.formats
    let name = Int(step.format) < formats.count ? formats[Int(step.format)].entryName(at: Int(step.level)).split(separator: " ").joined(separator: "-") : "level-\(step.level)"
    let place = step.slot == PGK_NO_ENTRY ? name : "\(name)@\(hex(step.slot))=\(hex(step.entry))"
    switch UInt32(step.kind) {
    case PGK_STEP_TABLE, PGK_STEP_LEAF: return place
    case PGK_STEP_CACHED: return "cached:\(place)"
    case PGK_STEP_UPDATED: return "written:\(place)"
    case PGK_STEP_REFUSED: return "refused:\(place) (\(architecture.ruleName(step.rule)))"
    default: return "-> \(hex(step.output))"
    }
  }
}
