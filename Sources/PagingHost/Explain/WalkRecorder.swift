// Keeps every step of a translation.
import CPagingKit
import PagingKit

final class WalkRecorder {
  private(set) var steps: [pgk_step_v1] = []

  /// The access, performed on the unit with every step of it.
  static func record(_ access: pgk_access_v1, on unit: Unit) throws(UnitError) -> (steps: [pgk_step_v1], result: pgk_result_v1) {
    let recorder = WalkRecorder()
    try recorder.watch(unit)
    defer { try? unit.observe(nil) }
    var access = access
    var result = pgk_result_v1()
    let consumed = try unit.run(&access, values: nil, results: &result, count: 1)
    guard consumed == 1 else { throw UnitError(code: PGK_E_ARGUMENT, message: "run consumed \(consumed) of 1 access") }
    return (recorder.steps, result)
  }

  private func watch(_ unit: Unit) throws(UnitError) {
    var observer = pgk_observer_v1()
    observer.size = UInt32(MemoryLayout<pgk_observer_v1>.size)
    observer.abi = PGK_ABI
    observer.context = Unmanaged.passUnretained(self).toOpaque()
    observer.step = { context, _, step in
      guard let context, let step else { return }
      // SAFETY: the unit calls back only between watch and the end of watching, while `record` keeps this object.
      Unmanaged<WalkRecorder>.fromOpaque(context).takeUnretainedValue().steps.append(step.pointee)
    }
    try unit.observe(observer)
  }
}
