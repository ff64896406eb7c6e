// One stage: a united root, or a user root and an OS root split at OS_VAB.
import CPagingKit
import PagingKit

/// What registers and model say about the first stage, computed when they change and kept in one place.
struct FirstStageParameters {
  let controls: UnsafeMutablePointer<EntryControls>
  var judgement = Judgement()
  var userRoot: UInt64 = 0
  var osRoot: UInt64 = 0
  /// Lowest address of the OS root; all ones while one root serves all.
  var osBase = UInt64.max
  var context = ContextTag(number: 0)
  var globalContext = ContextTag(number: 0)
  /// Bits of an address that are not ignored.
  var addressMask: UInt64 = 0xffff_ffff_ffff
  var links = NegativeLinks()
  let largePages = LargePages()
  /// The largest region of memory, looked at before the others when an address must exist.
  var regionBase: UInt64 = 0
  var regionByteCount: UInt64 = 0

  init(controls: UnsafeMutablePointer<EntryControls>) { self.controls = controls }
}

/// Translation by the tables of U_PPTB and OS_PPTB. Under shadow paging the hypervisor's tables, with the same walk.
///
/// One pointer: the unit owns what it points to, for longer than any batch.
struct NativeRegime<Format: ElbrusFormat>: Regime {
  // SAFETY: allocated by the unit at init, freed at deinit; registers change it between batches only.
  let parameters: UnsafeMutablePointer<FirstStageParameters>

  /// How often a walk begins anew when entries change under it.
  static var patience: Int { 16 }

  @inline(__always) var controls: UnsafePointer<EntryControls> { UnsafePointer(parameters.pointee.controls) }
  @inline(__always) var judgement: Judgement { parameters.pointee.judgement }
  @inline(__always) var context: ContextTag { parameters.pointee.context }
  @inline(__always) var globalContext: ContextTag { parameters.pointee.globalContext }
  @inline(__always) var privileges: UInt32 { 0b11 }

  @inline(__always) func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 { address & parameters.pointee.addressMask }

  @inline(__always) func isCanonical(_ address: UInt64) -> Bool { address &>> 48 == 0 }

  @inline(__always) func judge(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason {
    judgement.cachedRefusal(rights, access)
  }

  @inline(__always) func root(of address: UInt64) -> WalkStart {
    let p = parameters.pointee
    return WalkStart(table: address >= p.osBase ? p.osRoot : p.userRoot, level: Format.radix.levelCount &- 1)
  }

  @inline(__always) func prefetch(_ address: UInt64, _ memory: PhysicalMemory, _ before: inout PrefetchedTable) {
    Walker<Format, PhysicalTables>.prefetch(address, from: root(of: address), controls, memory, &before)
  }

  /// A glance gives most answers: every entry is there and marked. Anything else is walked in full.
  @inline(__always)
  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer,
    from _: WalkStart?
  ) -> WalkResult {
    let start = start(address, caches)
    guard !Observer.isWatching, !caches.hasEntries, !parameters.pointee.links.mayBeThere else {
      return walkInFull(address, access, caches, memory, observer, start)
    }
    var quiet = QuietMemory(memory)
    let seen = Glance<Format>(
      address, from: start, isWritten: Judgement.isStore(access), controls, &quiet)
    guard seen.isPlain, judgement.refusal(seen.rights, access) == .none, exists(seen.output, memory) else {
      return walkInFull(address, access, caches, memory, observer, start)
    }
    caches.prefix.fill(address, context, from: start, seen)
    var result = result(seen)
    result.reads = quiet.reads
    if result.pageShift == LargePages.shift { keepLarge(address, result, caches) }
    return result
  }

  /// A large page has one place in the TLB.
  @inline(never) func keepLarge(_ address: UInt64, _ result: WalkResult, _ caches: TranslationCaches) {
    parameters.pointee.largePages.fill(address, result.isGlobal ? globalContext : context, caches)
  }

  /// Where a walk begins, with what the walk caches know.
  @inline(__always) private func start(_ address: UInt64, _ caches: TranslationCaches) -> WalkStart {
    let root = root(of: address)
    return caches.hasPrefix ? caches.start(address, root: root, Format.self, context, caches.prefix) : root
  }

  @inline(__always) func result(_ seen: Glance<Format>) -> WalkResult {
    var result = WalkResult()
    result.output = seen.output
    result.rights = seen.rights
    result.attributes = Format.attributes(of: seen.leaf, controls)
    result.level = UInt8(truncatingIfNeeded: seen.level)
    result.pageShift = seen.pageShift
    result.isGlobal = Format.isGlobal(seen.leaf, controls)
    return result
  }

  @inline(never)
  private func walkInFull<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer,
    _ start: WalkStart
  ) -> WalkResult {
    var tables = PhysicalTables(memory, caches, stage: 1, hole: .fault)
    var descent = descend(address, access, from: start, caches, &tables, observer)
    mark(&descent, address, access, caches, &tables, observer)
    caches.keep(address, Format.self, controls, context, descent)
    var result = result(descent, access)
    result.reads = tables.reads
    if descent.reason != .none {
      refuse(descent, address, caches, &result)
    } else if !exists(descent.output, memory) {
      caches.fault.pointee = WalkFault(.outputHole, stage: 1)
      result.reason = .outputHole
    } else if result.pageShift == LargePages.shift {
      keepLarge(address, result, caches)
    }
    return result
  }

  /// Down to the leaf, judged.
  private func descend<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, from start: WalkStart, _ caches: TranslationCaches, _ tables: inout PhysicalTables,
    _ observer: Observer
  ) -> Descent {
    if let level = negativeLink(address, start.level, caches) { return invalidLink(level, caches.path) }
    var descent = Walker<Format, PhysicalTables>.descend(
      address, from: start, isWritten: Judgement.isStore(access), stage: 1, controls, &tables, path: caches.path, observer)
    if descent.reason == .none { descent.reason = judgement.refusal(descent.rights, access) }
    return descent
  }

  /// A and D of an access that nothing refuses. An entry that has changed since it was read begins the walk anew.
  private func mark<Observer: WalkObserver>(
    _ descent: inout Descent, _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches,
    _ tables: inout PhysicalTables, _ observer: Observer
  ) {
    var attempts = 0
    while descent.reason == .none && descent.isUnmarked {
      let exchange = Walker<Format, PhysicalTables>.mark(
        from: descent.top, to: descent.level, input: address, isWritten: Judgement.isStore(access), stage: 1, controls, &tables,
        path: caches.path, observer, updates: &caches.counters.pointee.updates)
      if exchange == .lost && attempts < Self.patience {
        attempts &+= 1
        descent = descend(address, access, from: start(address, caches), caches, &tables, observer)
        continue
      }
      if exchange != .done {
        descent.reason = exchange == .lost ? .contention : .entryHole
        descent.isRefusedByMemory = exchange == .refused
      }
      break
    }
  }

  @inline(__always) func exists(_ address: UInt64, _ memory: PhysicalMemory) -> Bool {
    address &- parameters.pointee.regionBase < parameters.pointee.regionByteCount || memory.answers(address)
  }

  /// What the leaf says, its marks as they are after the access.
  @inline(__always)
  func result(_ descent: Descent, _ access: pgk_access_v1) -> WalkResult {
    let leaf = Format.marked(descent.leaf, at: descent.level, isLeaf: true, isWritten: Judgement.isStore(access), controls)
    var result = WalkResult()
    result.output = descent.output
    result.rights = Format.rights(of: leaf, at: descent.level, isLeaf: true, controls)
    result.attributes = Format.attributes(of: leaf, controls)
    result.level = UInt8(truncatingIfNeeded: descent.level)
    result.pageShift = descent.pageShift
    result.isGlobal = Format.isGlobal(leaf, controls)
    return result
  }

  /// VALID = 0 is kept as a negative entry of the page, until it is flushed; P = 0 is not kept.
  @inline(never)
  private func refuse(_ descent: Descent, _ address: UInt64, _ caches: TranslationCaches, _ result: inout WalkResult) {
    caches.fault.pointee = descent.fault(path: caches.path, noted: caches.fault.pointee)
    let (level, reads) = (result.level, result.reads)
    result = WalkResult()
    result.level = level
    result.reads = reads
    result.reason = descent.reason
    guard descent.reason == .invalid else { return }
    if parameters.pointee.links.isKept && descent.level > 0 {
      parameters.pointee.links.keep(address, level: descent.level, context, caches)
    } else {
      result.isNegative = true
    }
  }

  /// Before v6 a walk asks the TLB for the tables on the way, lowest first, and ends at one that is known to be invalid.
  @inline(__always)
  private func negativeLink(_ address: UInt64, _ top: Int, _ caches: TranslationCaches) -> Int? {
    guard parameters.pointee.links.mayBeThere else { return nil }
    return parameters.pointee.links.level(of: address, upTo: top, context, globalContext, caches)
  }

  @inline(never) private func invalidLink(_ level: Int, _ path: UnsafeMutablePointer<PathStep>) -> Descent {
    path[level] = PathStep(slot: PGK_NO_ENTRY, place: 0, entry: Entry(0))
    var descent = Descent()
    descent.top = level
    descent.level = level
    descent.reason = .invalid
    return descent
  }
}

extension TranslationCaches {
  /// Fills the walk caches with the directories that a walk went through, of a walk that failed further down too.
  @inline(__always)
  func keep<Format: ElbrusFormat>(
    _ address: UInt64, _ format: Format.Type, _ controls: UnsafePointer<EntryControls>, _ context: ContextTag, _ descent: Descent
  ) {
    if hasPrefix {
      let start = WalkStart(table: 0, level: descent.top, rights: descent.topRights)
      fill(address, format, controls, context, from: start, downTo: descent.level, path: path, prefix)
    }
    if hasEntries { fillEntries(format, controls, from: descent.top, downTo: descent.level, path: path) }
  }
}

extension Descent {
  /// The failure with the entry that decided: refused, or a leaf whose rights refuse.
  func fault(path: UnsafeMutablePointer<PathStep>, noted: WalkFault) -> WalkFault {
    if isRefusedByMemory { return noted }
    var fault = WalkFault(reason, stage: 1)
    let step = path[level]
    fault.level = UInt8(truncatingIfNeeded: level)
    fault.slot = step.slot
    fault.entry = step.entry.bits
    fault.rights = rights
    return fault
  }
}

extension PhysicalMemory {
  /// Whether anything answers at the address.
  @inline(__always) func answers(_ address: UInt64) -> Bool {
    if case .hole = place(address) { return false }
    return true
  }
}
