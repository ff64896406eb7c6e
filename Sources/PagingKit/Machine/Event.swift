// What happens in a machine, one line each.
public import CPagingKit

/// Something that happened to an access. Events are made only for who asked for them.
public struct Event {
  public enum Kind {
    /// A step of a translation.
    case step(pgk_access_v1, pgk_step_v1)
    /// The unit could not finish an operation and listed it.
    case listed(pgk_listed_v1)
    /// What software answered: a verdict of the border.
    case verdict(pgk_verdict_v1, pgk_access_v1)
    /// The kernel found this many operations in the record of a trap.
    case trap(operationCount: Int)
    case mapped(Mapping<Virtual, GuestPhysical>)
    case unmapped(PageRange<Virtual>, pageCount: Int)
    case invalidated(Invalidation<Virtual>, identifier: UInt32)
    case reexecuted(pgk_access_v1)
    /// The program may not do this; the access ends with its fault.
    case refused(pgk_listed_v1)
    case deviceLoad(Address<GuestPhysical>, byteCount: Int, value: UInt64)
    case deviceStore(Address<GuestPhysical>, byteCount: Int, value: UInt64)
    case switched(root: Address<GuestPhysical>, identifier: UInt32)
  }

  /// Which access of the program it belongs to, counted from 0 over the life of the machine.
  public let sequence: UInt64
  public let kind: Kind

  /// The event in one line of text, with names from the architecture's description.
  public func line(_ architecture: Architecture) -> String { "\(sequence) \(Self.text(kind, architecture))" }

  private static func text(_ kind: Kind, _ architecture: Architecture) -> String {
    switch kind {
    case .step(let access, let step): stepText(access, step, architecture)
    case .listed(let item):
      "listed \(item.className) \(item.access.text): \(architecture.outcomeName(item.outcome)) at \(hex(item.fault_address))"
    case .verdict(let verdict, let access): "verdict \(verdictName(verdict.kind)) for \(access.text)"
    case .trap(let count): "trap with \(count) operation\(count == 1 ? "" : "s")"
    case .mapped(let mapping): "mapped \(mapping)"
    case .unmapped(let range, let count): "unmapped \(range), \(count) page\(count == 1 ? "" : "s")"
    case .invalidated(let invalidation, let identifier):
      "invalidated \(invalidation.range) of space \(identifier)\(invalidation.changesTables ? ", tables too" : "")"
    case .reexecuted(let access): "reexecuted \(access.text)"
    case .refused(let item): "refused \(item.access.text): \(architecture.outcomeName(item.outcome)) at \(hex(item.fault_address))"
    case .deviceLoad(let address, let count, let value): "device load of \(count) bytes at \(address): \(hex(value))"
    case .deviceStore(let address, let count, let value): "device store of \(count) bytes at \(address): \(hex(value))"
    case .switched(let root, let identifier): "switched to space \(identifier), root \(root)"
    }
  }

  private static func stepText(_ access: pgk_access_v1, _ step: pgk_step_v1, _ architecture: Architecture) -> String {
    let names = ["table", "leaf", "refused", "cached", "updated", "tlb-hit", "translated"]
    var text = "walk \(hex(step.input)) stage \(step.stage) level \(step.level) "
    text += Int(step.kind) < names.count ? names[Int(step.kind)] : "step \(step.kind)"
    if step.slot != .max { text += " slot \(hex(step.slot)) entry \(hex(step.entry))" }
    if step.kind == PGK_STEP_REFUSED { return text + ": " + architecture.ruleName(step.rule) }
    return text + " -> \(hex(step.output))"
  }

  static func verdictName(_ kind: UInt8) -> String {
    let names = ["leave", "replay", "complete", "replace", "drop", "reflect", "replayIgnoringWriteProtection"]
    return Int(kind) < names.count ? names[Int(kind)] : "verdict \(kind)"
  }
}

/// Gives events their numbers and hands them on. Exists only while somebody listens.
final class EventRecorder {
  let handler: (Event) -> Void
  /// The batch that runs: tag and number of its first access.
  private var firstTag: UInt32 = 0
  private var firstSequence: UInt64 = 0
  /// While the kernel works, the access that it works for.
  var servedTag: UInt32?

  init(_ handler: @escaping (Event) -> Void) { self.handler = handler }

  func begin(firstTag: UInt32, firstSequence: UInt64) {
    self.firstTag = firstTag
    self.firstSequence = firstSequence
    servedTag = nil
  }

  func record(_ kind: Event.Kind, tag: UInt32? = nil) {
    let offset = (servedTag ?? tag ?? firstTag) &- firstTag
    handler(Event(sequence: firstSequence + UInt64(offset), kind: kind))
  }

  /// The unit's observer that reports walks here. This object must outlive it.
  var observer: pgk_observer_v1 {
    var observer = pgk_observer_v1()
    observer.size = UInt32(MemoryLayout<pgk_observer_v1>.size)
    observer.abi = PGK_ABI
    observer.context = Unmanaged.passUnretained(self).toOpaque()
    observer.step = { context, access, step in
      guard let context, let access, let step else { return }
      // SAFETY: the context is the recorder, which the processor keeps until it has cleared the observer.
      let recorder = Unmanaged<EventRecorder>.fromOpaque(context).takeUnretainedValue()
      recorder.record(.step(access.pointee, step.pointee), tag: access.pointee.tag)
    }
    return observer
  }
}
