import CPagingKit
import PagingKit

/// Watches a translation for the guest-physical address of the access, which a result does not carry.
///
/// It is what the second stage walks for last: all tables, and the updates of their entries, come before it.
final class VectorObserver {
  /// Of the last translation; nil if no second stage took part.
  private(set) var guestPhysical: UInt64?

  func watch(_ unit: Unit) throws(UnitError) {
    guestPhysical = nil
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
    // The end of a translation speaks of the whole, not of an entry.
    if step.stage == 2, UInt32(step.kind) != PGK_STEP_TRANSLATED { guestPhysical = step.input }
  }
}
