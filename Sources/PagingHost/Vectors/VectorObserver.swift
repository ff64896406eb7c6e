import CPagingKit
import PagingKit

/// Watches a translation for the guest-physical address of the access, which a result does not carry.
///
/// It is where the leaf of the first stage leads. Only entries are looked at: they mean the same in every back end, while
/// the order of their updates, and what is said of a translation as a whole, do not.
final class VectorObserver {
  private var leafOutput: UInt64?
  private var secondStageInput: UInt64?

  /// Of the last translation; without tables in the first stage it is what the second is asked for. Nil if neither has any.
  var guestPhysical: UInt64? { leafOutput ?? secondStageInput }

  func watch(_ unit: Unit) throws(UnitError) {
    leafOutput = nil
    secondStageInput = nil
    var observer = pgk_observer_v1()
    observer.size = UInt32(MemoryLayout<pgk_observer_v1>.size)
    observer.abi = PGK_ABI
    observer.context = Unmanaged.passUnretained(self).toOpaque()
    observer.step = { context, _, step in
      // SAFETY: the unit calls back only between watch and the end of watching, while its owner keeps this object.
      Unmanaged<VectorObserver>.fromOpaque(context!).takeUnretainedValue().see(step!.pointee)
    }
    try unit.observe(observer)
  }

  private func see(_ step: pgk_step_v1) {
    switch (UInt32(step.kind), step.stage) {
    case (PGK_STEP_LEAF, 1): leafOutput = step.output
    case (PGK_STEP_LEAF, 2): secondStageInput = step.input
    default: break
    }
  }
}
