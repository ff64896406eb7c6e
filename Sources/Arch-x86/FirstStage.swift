// The first stage: the guest's own tables, or the only ones.
import CPagingKit
import PagingKit

/// A format that a CR3 can select.
@usableFromInline protocol FirstStageFormat: PageTableFormat where Controls == EntryControls {
  /// Protection keys are in its leaves.
  static var hasKeys: Bool { get }
  /// Linear addresses have 32 bits, and upper bits are no part of them.
  static var is32Bit: Bool { get }
  /// Natively a walk starts below four registers.
  static var hasPointerRegisters: Bool { get }
}

extension FourLevel: FirstStageFormat {
  @inline(__always) @usableFromInline static var hasKeys: Bool { true }
  @inline(__always) @usableFromInline static var is32Bit: Bool { false }
  @inline(__always) @usableFromInline static var hasPointerRegisters: Bool { false }
}
extension FiveLevel: FirstStageFormat {
  @inline(__always) @usableFromInline static var hasKeys: Bool { true }
  @inline(__always) @usableFromInline static var is32Bit: Bool { false }
  @inline(__always) @usableFromInline static var hasPointerRegisters: Bool { false }
}
extension PAE: FirstStageFormat {
  @inline(__always) @usableFromInline static var hasKeys: Bool { false }
  @inline(__always) @usableFromInline static var is32Bit: Bool { true }
  @inline(__always) @usableFromInline static var hasPointerRegisters: Bool { true }
}
extension TwoLevel: FirstStageFormat {
  @inline(__always) @usableFromInline static var hasKeys: Bool { false }
  @inline(__always) @usableFromInline static var is32Bit: Bool { true }
  @inline(__always) @usableFromInline static var hasPointerRegisters: Bool { false }
}

/// Which upper bits of a pointer are metadata ("Linear-Address Masking").
@frozen @usableFromInline struct PointerMasking {
  /// The bit that is copied upward, for user and supervisor pointers; 63 masks nothing.
  @usableFromInline var userBit: UInt64 = 63
  @usableFromInline var supervisorBit: UInt64 = 63

  @usableFromInline init() {}

  /// Bits 62 down to the one above the copied bit become copies of it; bit 63 stays and must equal it, or the address is
  /// not canonical.
  @inline(__always) @usableFromInline func masked(_ address: UInt64) -> UInt64 {
    let bit = address &>> 63 == 0 ? userBit : supervisorBit
    if bit == 63 { return address }
    let shift = 63 &- bit
    let extended = UInt64(bitPattern: Int64(bitPattern: address &<< shift) &>> Int64(truncatingIfNeeded: shift))
    return extended & ~(1 &<< 63) | address & (1 &<< 63)
  }
}

/// Root, controls and rights of one first-stage regime.
@frozen @usableFromInline struct FirstStage<Format: FirstStageFormat> {
  @usableFromInline var root: UInt64
  /// PDPTE registers; used only by formats that have them, and not where a walk reads them.
  @usableFromInline var pointers: InlineArray<4, UInt64>
  @usableFromInline var readsPointers: Bool
  @usableFromInline var controls: EntryControls
  @usableFromInline var judgement: Judgement
  @usableFromInline var masking: PointerMasking
  @usableFromInline var context: ContextTag
  @usableFromInline var globalContext: ContextTag

  @inline(__always) @usableFromInline func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 {
    Format.is32Bit || access.isFetch ? address : masking.masked(address)
  }

  @inline(__always) @usableFromInline func isCanonical(_ address: UInt64) -> Bool {
    if Format.is32Bit { return address &>> 32 == 0 }
    let shift = 64 &- Format.radix.inputBits
    return UInt64(bitPattern: Int64(bitPattern: address &<< shift) &>> Int64(truncatingIfNeeded: shift)) == address
  }

  /// Where a walk of the address begins when nothing is cached; nil if its PDPTE register is not present.
  @inline(__always) @usableFromInline func start(_ address: UInt64) -> WalkStart? {
    if Format.hasPointerRegisters && !readsPointers {
      let pointer = pointers[Int(truncatingIfNeeded: address &>> 30) & 3]
      return pointer & 1 == 0 ? nil : WalkStart(table: pointer & EntryBits.address, level: 1)
    }
    return WalkStart(table: root, level: Format.radix.levelCount &- 1)
  }

  /// Down to the leaf, judged, and marked. `reason` of the result says why not, and `caches.fault` the rest.
  @inline(__always) @usableFromInline
  func walk<Tables: TableMemory, Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ tables: inout Tables, _ observer: Observer
  ) -> Descent {
    guard let root = start(address) else { return absentPointer(address, caches, observer) }
    var attempt = 0
    while true {
      let start = caches.hasPrefix ? caches.start(address, root: root, Format.radix, context, caches.prefix) : root
      var descent = Walker<Format, Tables>.descend(
        address, from: start, isWritten: access.isWrite, stage: 1, controls, &tables, path: caches.path, observer)
      if descent.reason == .none {
        descent.reason = judge(descent, access, caches, start)
        if descent.reason == .none && descent.isUnmarked { mark(&descent, address, access, caches, &tables, observer) }
      }
      if descent.reason == .contention && attempt < 64 {
        attempt &+= 1
        continue
      }
      if caches.hasPrefix {
        caches.fill(address, Format.self, controls, context, tables: descent.tableCount, path: caches.path, caches.prefix)
      }
      if descent.reason != .none { record(descent, caches, tables.fault, address, observer) }
      return descent
    }
  }

  @inline(__always) @usableFromInline
  func judge(_ descent: Descent, _ access: pgk_access_v1, _ caches: TranslationCaches, _ start: WalkStart) -> FaultReason {
    let attributes = attributes(of: descent, caches, start)
    let reason = judgement.judge(descent.rights, attributes: attributes, access)
    if Format.hasKeys && reason == .none && judgement.keyForbids(descent.rights, attributes: attributes, access) { return .key }
    return reason
  }

  /// The leaf's key, and whether it is a shadow-stack page: writable above, but not in the leaf, and dirty.
  @inline(__always) @usableFromInline
  func attributes(of descent: Descent, _ caches: TranslationCaches, _ start: WalkStart) -> UInt8 {
    let attributes = Format.attributes(of: descent.leaf, controls)
    guard descent.leaf.bits & 0x42 == 0x40 else { return attributes }
    let above = descent.count > 1 ? caches.path[descent.count &- 2].rights : start.rights
    return above.has(.write) ? attributes | Attribute.shadowStack : attributes
  }

  @inline(never) @usableFromInline
  func mark<Tables: TableMemory, Observer: WalkObserver>(
    _ descent: inout Descent, _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ tables: inout Tables,
    _ observer: Observer
  ) {
    let exchange = Walker<Format, Tables>.mark(
      descent, input: address, isWritten: access.isWrite, stage: 1, controls, &tables, path: caches.path, observer,
      updates: &caches.counters.pointee.updates)
    switch exchange {
    case .done: break
    case .lost: descent.reason = .contention
    case .refused:
      descent.reason = tables.fault.reason
      descent.isRefusedByMemory = true
    }
  }

  @inline(never) @usableFromInline
  func record<Observer: WalkObserver>(
    _ descent: Descent, _ caches: TranslationCaches, _ memoryFault: WalkFault, _ address: UInt64, _ observer: Observer
  ) {
    if descent.isRefusedByMemory {
      caches.fault.pointee = memoryFault
      return
    }
    var fault = WalkFault(descent.reason, stage: 1)
    fault.level = UInt8(truncatingIfNeeded: descent.level)
    fault.rights = descent.rights
    let isJudged = descent.tableCount < descent.count
    let step = caches.path[isJudged ? descent.count &- 1 : descent.count]
    fault.slot = step.slot
    fault.entry = step.entry.bits
    fault.attributes = Format.attributes(of: step.entry, controls)
    caches.fault.pointee = fault
    if isJudged {
      observer.didStep(
        PGK_STEP_REFUSED, slot: step.slot, entry: step.entry.bits, input: address, output: 0, level: descent.level, stage: 1, descent.reason)
    }
  }

  @inline(never) @usableFromInline
  func absentPointer<Observer: WalkObserver>(_ address: UInt64, _ caches: TranslationCaches, _ observer: Observer) -> Descent {
    var descent = Descent()
    descent.reason = .notPresent
    descent.level = 2
    caches.fault.pointee = WalkFault(.notPresent, stage: 1)
    caches.fault.pointee.level = 2
    observer.didStep(PGK_STEP_REFUSED, slot: PGK_NO_ENTRY, entry: 0, input: address, output: 0, level: 2, stage: 1, .notPresent)
    return descent
  }

  /// What the first stage says of a page, as a result; the second stage completes it.
  @inline(__always) @usableFromInline
  func result(_ descent: Descent, _ access: pgk_access_v1, _ caches: TranslationCaches) -> WalkResult {
    var result = WalkResult()
    result.output = descent.output
    result.rights = access.isWrite ? descent.rights.union(.dirty) : descent.rights
    result.attributes = Format.attributes(of: descent.leaf, controls)
    result.level = UInt8(truncatingIfNeeded: descent.level)
    result.pageShift = descent.pageShift
    result.isGlobal = Format.isGlobal(descent.leaf, controls)
    return result
  }
}
