// No translation: MMU_CR.tlb_en is 0, or the access says that its address is physical.
import CPagingKit
import PagingKit

/// Addresses are physical, of the width of the model. Nothing is cached.
struct PhysicalRegime: Regime {
  /// 40 bits, 48 from v6.
  var addressMask: UInt64 = 0xffff_ffff_ffff
  var context: ContextTag { ContextTag(number: 0) }
  var globalContext: ContextTag { context }

  @inline(__always) static var isUntranslated: Bool { true }
  @inline(__always) var privileges: UInt32 { 0b11 }
  @inline(__always) func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 { address & addressMask }
  @inline(__always) func isCanonical(_ address: UInt64) -> Bool { true }
  @inline(__always) func judge(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason { .none }

  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer,
    from _: WalkStart?
  ) -> WalkResult {
    var result = WalkResult()
    result.output = address
    result.rights = .all
    result.pageShift = 64
    result.isCacheable = false
    guard memory.answers(address) else {
      result.reason = .outputHole
      caches.fault.pointee = WalkFault(.outputHole, stage: 0)
      return result
    }
    return result
  }
}
