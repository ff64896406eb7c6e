// A batch where nothing is cached.
public import CPagingKit

extension TranslationEngine {
  /// The same where nothing is cached, so that every access walks: some walks go down to their last tables first, and
  /// then all of these are read. Nothing that the first part reads is changed before the second: plain accesses write
  /// nothing but flags, and an entry whose flag is to be set is not plain.
  @inline(never) @inlinable
  func runInPhases<R: Regime, Observer: WalkObserver>(
    _ regime: R, _ batch: Batch, from first: Int, to end: Int, _ observer: Observer
  ) -> EngineEnd {
    let accesses = batch.accesses
    let privileges = regime.privileges
    let approaches = caches.parts.approaches
    let counters = caches.counters
    var i = first
    defer { counters.pointee.accesses &+= UInt64(truncatingIfNeeded: i &- first) }
    while i < end {
      let last = min(i &+ CacheParts.approachCount, end)
      var stop = i
      while stop < last {
        let access = accesses + stop
        guard belongs(access, privileges), isPlain(access) else { break }
        let address = regime.untagged(access.pointee.address, access.pointee)
        approaches[stop &- i] = regime.isCanonical(address) ? regime.approach(address, memory) : nil
        stop &+= 1
      }
      let start = i
      while i < stop {
        let access = accesses + i
        let address = regime.untagged(access.pointee.address, access.pointee)
        var result = WalkResult()
        if let approach = approaches[i &- start], regime.arrive(approach, address, access.pointee, caches, memory, &result) {
          counters.pointee.references &+= 1
          counters.pointee.walks &+= 1
          counters.pointee.tlbMisses &+= 1
          counters.pointee.entryReads &+= UInt64(truncatingIfNeeded: result.reads)
          finish(result, ResultRecord(batch.results + i))
        } else {
          let reason = translate(regime, address, access, observer, ResultRecord(batch.results + i))
          if reason != .none { return faulted(i, access.pointee.address, batch.results[i]) }
        }
        i &+= 1
      }
      guard i < last else { continue }
      guard belongs(accesses + i, privileges) else { return EngineEnd(i, .leave) }
      let whole = runWhole(regime, accesses[i], i, batch, observer)
      if whole.stop != .end { return whole }
      i &+= 1
    }
    return EngineEnd(i, .end)
  }
}
