// Running programs: batches, and sources of batches.
public import CPagingKit

extension Machine {
  /// Runs a batch of accesses to its end. Every access ends exactly once, in its result: finished, or with the fault that
  /// the OS would not help.
  ///
  /// Tags count up by one through the batch, from any number. Privilege is `programPrivilege`. Values may be nil if no
  /// access moves data. Costs one call of the unit and nothing else where nothing stops.
  public func run(
    _ accesses: UnsafePointer<pgk_access_v1>, values: UnsafeMutablePointer<pgk_value_v1>? = nil,
    results: UnsafeMutablePointer<pgk_result_v1>, count: Int
  ) throws(MachineError) {
    guard count > 0 else { return }
    processor.recorder?.begin(firstTag: accesses[0].tag, firstSequence: accessCount)
    try processor.execute(ProgramBatch(accesses: accesses, values: values, results: results, count: count))
    accessCount += UInt64(count)
  }

  /// Runs what a source gives until it ends, a limit is reached, or `isWanted` says no more; asked between batches.
  public func run(
    _ source: inout some AccessSource, _ limits: RunLimits = RunLimits(), batchSize: Int = 1024,
    isWanted: (UInt64) -> Bool = { _ in true }
  ) throws -> RunResult {
    precondition(batchSize > 0, "a batch has at least one access")
    let accesses = UnsafeMutableBufferPointer<pgk_access_v1>.allocate(capacity: batchSize)
    let results = UnsafeMutablePointer<pgk_result_v1>.allocate(capacity: batchSize)
    results.initialize(repeating: pgk_result_v1(), count: batchSize)
    accesses.initialize(repeating: pgk_access_v1())
    defer {
      accesses.deallocate()
      results.deallocate()
    }
    var progress = RunProgress(limits)
    while let room = progress.room(batchSize), isWanted(progress.done) {
      let count = try source.next(into: UnsafeMutableBufferPointer(rebasing: accesses[..<room]))
      guard count > 0 else {
        progress.isEnded = true
        break
      }
      try run(UnsafePointer(accesses.baseAddress!), results: results, count: count)
      if progress.advance(count) { try resetCounters() }
    }
    if progress.isWarmingUp { try resetCounters() }
    return RunResult(progress, counters())
  }

  /// Sets what `counters` shows to zero. Caches, tables and pages stay.
  public func resetCounters() throws(MachineError) {
    for processor in os.processors {
      try asMachineError { () throws(UnitError) in try processor.unit.reset(PGK_RESET_COUNTERS) }
      processor.counts = TrapCounts()
    }
    os.counts = PageCounts()
  }

  /// Counters of the unit under the names of its description, and those of the machine.
  public func counters() -> RunCounters {
    let names = architecture.counters.map { String(cString: $0.name) }
    return RunCounters(
      unit: zip(names, unit.counters()).map { Counter(name: $0, value: $1) }, machine: machineCounters())
  }

  private func machineCounters() -> [Counter] {
    let traps = processor.counts
    let pages = os.counts
    return [
      Counter(name: "pagesMapped", value: pages.allMapped),
      Counter(name: "largePagesMapped", value: pages.allMapped - pages.mapped[space.mapper.layout.pageShifts[0], default: 0]),
      Counter(name: "tableBytes", value: os.tableByteCount),
      Counter(name: "stops", value: traps.stops),
      Counter(name: "traps", value: traps.traps),
      Counter(name: "reexecuted", value: traps.reexecuted),
      Counter(name: "spuriousFaults", value: pages.spuriousFaults),
      Counter(name: "programFaults", value: traps.programFaults),
      Counter(name: "deviceAccesses", value: traps.deviceAccesses),
      Counter(name: "kernelAccesses", value: traps.kernelAccesses),
    ]
  }

  /// The valid entries of every cache that the architecture has, by name.
  public func dumpCaches() throws(MachineError) -> [(name: String, entries: [pgk_cached_v1])] {
    var dumps: [(name: String, entries: [pgk_cached_v1])] = []
    for (index, cache) in architecture.caches.enumerated() {
      let entries = try asMachineError { () throws(UnitError) in try unit.dump(cache: index) }
      dumps.append((String(cString: cache.name), entries))
    }
    return dumps
  }
}
