// The first stage's walk in any memory: physical, or a guest's through the second stage.
import CPagingKit
import PagingKit

extension RISCVFormat {
  /// Sv39 and wider: the bits above the input repeat its top bit. Sv32 has no such bits. The second stage has its own rule:
  /// `SecondSetting.accepts`.
  @inline(__always) static func accepts(_ address: UInt64) -> Bool {
    if radix.entryBytes == 4 { return true }
    let unused = 64 &- radix.inputBits
    return Int64(bitPattern: address &<< unused) &>> Int64(bitPattern: unused) == Int64(bitPattern: address)
  }
}

/// Steps that both kinds of first stage share.
enum FirstWalk<Format: RISCVFormat, Tables: TableMemory> {
  /// A walk whose update lost against another writer starts again this often.
  @inline(__always) static var attempts: Int { 64 }

  /// The root, or where a walk cache leads.
  @inline(__always)
  static func start(_ root: UInt64, _ address: UInt64, _ context: ContextTag, _ caches: TranslationCaches) -> WalkStart {
    let top = WalkStart(table: root, level: Format.radix.levelCount &- 1)
    return caches.hasPrefix ? caches.start(address, root: top, Format.self, context, caches.prefix) : top
  }

  /// What the usual walk found becomes known to the walk caches.
  @inline(__always)
  static func fill(
    _ address: UInt64, _ controls: EntryControls, _ context: ContextTag, from start: WalkStart, downTo level: Int,
    _ caches: TranslationCaches
  ) {
    if caches.hasPrefix {
      caches.fill(address, Format.self, controls, context, from: start, downTo: level, path: caches.path, caches.prefix)
    }
    if caches.hasEntries { caches.fillEntries(Format.self, controls, from: start.level, downTo: level, path: caches.path) }
  }

  /// Down to a leaf or a refusal.
  @inline(__always)
  static func descend<Observer: WalkObserver>(
    from start: WalkStart, _ address: UInt64, _ access: pgk_access_v1, _ controls: EntryControls, _ context: ContextTag,
    _ caches: TranslationCaches, _ tables: inout Tables, _ observer: Observer
  ) -> Descent {
    let descent = Walker<Format, Tables>.descend(
      address, from: start, isWritten: access.isWrite, stage: 1, controls, &tables, path: caches.path, observer)
    fill(address, controls, context, from: start, downTo: descent.level, caches)
    return descent
  }

  /// Step 7: sets A, and D for a store, or faults where software does that. The descent comes back with a reason if it
  /// cannot go on.
  @inline(never)
  static func mark<Observer: WalkObserver>(
    _ descent: Descent, _ address: UInt64, _ access: pgk_access_v1, _ controls: EntryControls, _ caches: TranslationCaches,
    _ tables: inout Tables, _ observer: Observer
  ) -> Descent {
    var descent = descent
    guard controls.updates else {
      descent.reason = descent.leaf.has(Format.A) ? .dirtyClear : .accessedClear
      return descent
    }
    switch Walker<Format, Tables>.mark(
      from: descent.top, to: descent.level, input: address, isWritten: access.isWrite, stage: 1, controls, &tables,
      path: caches.path, observer, updates: &caches.counters.pointee.updates)
    {
    case .done: break
    case .lost: descent.reason = .contention
    case .refused:
      descent.reason = caches.fault.pointee.reason
      descent.isRefusedByMemory = true
    }
    return descent
  }

  /// Keeps why the walk failed, for who describes the fault, and tells who observes what the descent did not.
  @inline(never)
  static func record<Observer: WalkObserver>(
    _ descent: Descent, hasLeaf: Bool, _ address: UInt64, _ caches: TranslationCaches, _ observer: Observer
  ) {
    if descent.isRefusedByMemory { return }
    var fault = WalkFault(descent.reason, stage: 1)
    fault.level = UInt8(truncatingIfNeeded: descent.level)
    fault.rights = descent.rights
    let step = caches.path[descent.level]
    fault.slot = step.slot
    fault.entry = step.entry.bits
    caches.fault.pointee = fault
    guard hasLeaf else { return }
    observer.didStep(
      PGK_STEP_REFUSED, slot: step.slot, entry: step.entry.bits, input: address, output: 0, level: descent.level, stage: 1,
      descent.reason)
  }
}
