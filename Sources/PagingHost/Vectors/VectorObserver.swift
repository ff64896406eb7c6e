import CPagingKit
import PagingKit

/// Watches a translation for the guest-physical address of the access, which a result does not carry.
final class VectorObserver {
  private var firstStageOutput: UInt64?
  private var secondStageInput: UInt64?

  /// Of the last translation; without a first stage it is what the second stage was asked for.
  var guestPhysical: UInt64? { firstStageOutput ?? secondStageInput }

  func watch(_ unit: Unit) throws(UnitError) {
    firstStageOutput = nil
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
    guard UInt32(step.kind) == PGK_STEP_TRANSLATED else { return }
    if step.stage == 1 { firstStageOutput = step.output } else { secondStageInput = step.input }
  }
}
