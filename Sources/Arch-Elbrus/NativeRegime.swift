// One stage: a united root, or a user root and an OS root split at OS_VAB.
import CPagingKit
import PagingKit

/// Translation by the tables of U_PPTB and OS_PPTB. Under shadow paging the hypervisor's tables, with the same walk.
struct NativeRegime<Format: ElbrusFormat>: Regime {
  var controls = EntryControls()
  var judgement = Judgement()
  var userRoot: UInt64 = 0
  var osRoot: UInt64 = 0
  /// Lowest address of the OS root; all ones while one root serves all.
  var osBase = UInt64.max
  var context = ContextTag(number: 0)
  var globalContext = ContextTag(number: 0)
  /// Bits of an address that are not ignored.
  var addressMask: UInt64 = 0xffff_ffff_ffff

  /// How often a walk begins anew when entries change under it.
  static var patience: Int { 16 }

  @inline(__always) var privileges: UInt32 { 0b11 }

  @inline(__always) func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 { address & addressMask }

  @inline(__always) func isCanonical(_ address: UInt64) -> Bool { address &>> 48 == 0 }

  @inline(__always) func judge(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason {
    judgement.cachedRefusal(rights, access)
  }

  @inline(__always) func root(of address: UInt64) -> WalkStart {
    WalkStart(table: address >= osBase ? osRoot : userRoot, level: Format.radix.levelCount &- 1)
  }

  func walk<Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ memory: PhysicalMemory, _ observer: Observer
  ) -> WalkResult {
    var result = WalkResult()
    let root = root(of: address)
    let isStore = Judgement.isStore(access)
    var attempts = 0
    while true {
      var tables = PhysicalTables(memory, caches, stage: 1, hole: .fault)
      let start = caches.hasPrefix ? caches.start(address, root: root, Format.self, context, caches.prefix) : root
      var descent = Walker<Format, PhysicalTables>.descend(
        address, from: start, isWritten: isStore, stage: 1, controls, &tables, path: caches.path, observer)
      result.reads &+= tables.reads
      if descent.reason == .none { descent.reason = judgement.refusal(descent.rights, access) }
      if descent.reason == .none && descent.isUnmarked {
        var copy = tables
        let exchange = Walker<Format, PhysicalTables>.mark(
          from: descent.top, to: descent.level, input: address, isWritten: isStore, stage: 1, controls, &copy, path: caches.path, observer,
          updates: &caches.counters.pointee.updates)
        if exchange == .lost && attempts < Self.patience {
          attempts &+= 1
          continue
        }
        if exchange != .done {
          descent.reason = exchange == .lost ? .contention : .entryHole
          descent.isRefusedByMemory = exchange == .refused
        }
      }
      caches.keep(address, Format.self, controls, context, descent)
      if descent.reason == .none && !memory.answers(descent.output) { descent.reason = .outputHole }
      guard descent.reason == .none else {
        refuse(descent, caches, &result)
        return result
      }
      finish(descent, isStore, caches, &result)
      return result
    }
  }

  @inline(__always)
  private func finish(_ descent: Descent, _ isStore: Bool, _ caches: TranslationCaches, _ result: inout WalkResult) {
    let leaf = Format.marked(descent.leaf, at: descent.level, isLeaf: true, isWritten: isStore, controls)
    result.output = descent.output
    result.rights = Format.rights(of: leaf, at: descent.level, isLeaf: true, controls)
    result.attributes = Format.attributes(of: leaf, controls)
    result.level = UInt8(truncatingIfNeeded: descent.level)
    result.pageShift = descent.pageShift
    result.isGlobal = Format.isGlobal(leaf, controls)
  }

  /// VALID = 0 is kept as a negative entry of the page, until it is flushed; P = 0 is not kept.
  @inline(never)
  private func refuse(_ descent: Descent, _ caches: TranslationCaches, _ result: inout WalkResult) {
    result.reason = descent.reason
    result.level = UInt8(truncatingIfNeeded: descent.level)
    result.isNegative = descent.reason == .invalid
    caches.fault.pointee = descent.fault(path: caches.path, noted: caches.fault.pointee)
  }
}

extension TranslationCaches {
  /// Fills the walk caches with the directories that a walk went through, of a walk that failed further down too.
  @inline(__always)
  func keep<Format: ElbrusFormat>(
    _ address: UInt64, _ format: Format.Type, _ controls: EntryControls, _ context: ContextTag, _ descent: Descent
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
