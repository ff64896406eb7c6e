// The first stage: the guest's own tables, or the only ones.
import CPagingKit
import PagingKit

/// A format that a CR3 can select.
@usableFromInline protocol FirstStageFormat: PageTableFormat where Controls == UnsafePointer<EntryControls> {
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

/// Outside long mode the byte behind the last linear address is the first. (An access that wraps may also raise #GP, by the
/// limit of its segment: SDM 3A, "Limit Checking".)
@inline(__always) @usableFromInline func wrapped(_ address: UInt64) -> UInt64 { address == 1 &<< 32 ? 0 : address }

/// Which upper bits of a pointer are metadata ("Linear-Address Masking").
@frozen @usableFromInline struct PointerMasking {
  /// The bit that is copied upward, for user and supervisor pointers; 63 masks nothing.
  @usableFromInline var userBit: UInt64 = 63
  @usableFromInline var supervisorBit: UInt64 = 63

  @usableFromInline init() {}

  /// No pointer has metadata.
  @usableFromInline var isOff: Bool { userBit == 63 && supervisorBit == 63 }

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

/// What the registers say about the first stage, computed when they change and kept in one place.
@frozen @usableFromInline struct FirstStageParameters {
  @usableFromInline var root: UInt64 = 0
  @usableFromInline let controls: UnsafeMutablePointer<EntryControls>
  @usableFromInline var judgement = Judgement()
  @usableFromInline var masking = PointerMasking() {
    didSet { isUnmasked = masking.isOff }
  }
  @usableFromInline private(set) var isUnmasked = true
  @usableFromInline var context = ContextTag(number: 1)
  @usableFromInline var globalContext = ContextTag(number: 1)
  /// PDPTE registers; used only by formats that have them, and not where a walk reads them.
  @usableFromInline var pointers: InlineArray<4, UInt64> = [0, 0, 0, 0]
  @usableFromInline var readsPointers = false

  @usableFromInline init(controls: UnsafeMutablePointer<EntryControls>) { self.controls = controls }
}

/// Root, controls and rights of one first-stage regime. One pointer: the unit owns what it points to, for longer than
/// any batch.
@frozen @usableFromInline struct FirstStage<Format: FirstStageFormat> {
  // SAFETY: the unit allocates the parameters at init, frees them at deinit, and changes them between batches only.
  @usableFromInline let parameters: UnsafePointer<FirstStageParameters>

  @inline(__always) @usableFromInline init(_ parameters: UnsafePointer<FirstStageParameters>) { self.parameters = parameters }

  @inline(__always) @usableFromInline var controls: UnsafePointer<EntryControls> { UnsafePointer(parameters.pointee.controls) }
  @inline(__always) @usableFromInline var judgement: Judgement { parameters.pointee.judgement }
  @inline(__always) @usableFromInline var context: ContextTag { parameters.pointee.context }
  @inline(__always) @usableFromInline var globalContext: ContextTag { parameters.pointee.globalContext }

  @inline(__always) @usableFromInline func untagged(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 {
    if Format.is32Bit { return wrapped(address) }
    return parameters.pointee.isUnmasked || access.isFetch ? address : parameters.pointee.masking.masked(address)
  }

  @inline(__always) @usableFromInline func isCanonical(_ address: UInt64) -> Bool {
    if Format.is32Bit { return address &>> 32 == 0 }
    let shift = 64 &- Format.radix.inputBits
    return UInt64(bitPattern: Int64(bitPattern: address &<< shift) &>> Int64(truncatingIfNeeded: shift)) == address
  }

  /// Where a walk of the address begins when nothing is cached; nil if its PDPTE register is not present.
  @inline(__always) @usableFromInline func start(_ address: UInt64) -> WalkStart? {
    if Format.hasPointerRegisters && !parameters.pointee.readsPointers {
      let pointer = parameters.pointee.pointers[Int(truncatingIfNeeded: address &>> 30) & 3]
      return pointer & 1 == 0 ? nil : WalkStart(table: pointer & EntryBits.address, level: 1)
    }
    return WalkStart(table: parameters.pointee.root, level: Format.radix.levelCount &- 1)
  }

  /// Down to the leaf, judged, and marked. `reason` of the result says why not, and `caches.fault` the rest.
  @inline(__always) @usableFromInline
  func walk<Tables: TableMemory, Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ tables: inout Tables, _ observer: Observer
  ) -> Descent {
    guard let root = start(address) else { return absentPointer(address, caches, observer) }
    return walk(address, access, caches, &tables, observer, root: root, first: start(address, root, caches))
  }

  /// Where a walk begins, with what the walk caches know.
  @inline(__always) @usableFromInline func start(_ address: UInt64, _ root: WalkStart, _ caches: TranslationCaches) -> WalkStart {
    caches.hasPrefix ? caches.start(address, root: root, Format.self, context, caches.prefix) : root
  }

  /// The usual walk from `start`, if this is one: the result but for the final address of a second stage.
  ///
  /// Transparent, since the inliner leaves a caller of this size alone otherwise, and each miss then costs a call more.
  @_transparent @usableFromInline
  func glance<Tables: QuietTables>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ start: WalkStart, _ tables: inout Tables,
    _ result: inout WalkResult
  ) -> Bool {
    let seen = Glance<Format>(address, from: start, isWritten: access.isWrite, controls, &tables)
    guard seen.isPlain, permits(seen, access, caches) else { return false }
    if caches.hasPrefix { caches.prefix.fill(address, context, from: start, seen) }
    take(seen, &result)
    return true
  }

  @inline(__always) @usableFromInline
  func permits(_ seen: Glance<Format>, _ access: pgk_access_v1, _ caches: TranslationCaches) -> Bool {
    caches.permissions.permits(seen.rights.union(.beyondFirstStage), access)
      && (!Format.hasKeys || !judgement.hasKeys
        || !judgement.keyForbids(seen.rights, attributes: Format.attributes(of: seen.leaf, controls), access))
  }

  @inline(__always) @usableFromInline func take(_ seen: Glance<Format>, _ result: inout WalkResult) {
    result.output = seen.output
    result.rights = seen.rights
    result.attributes = Format.attributes(of: seen.leaf, controls)
    result.level = UInt8(truncatingIfNeeded: seen.level)
    result.pageShift = seen.pageShift
    result.isGlobal = Format.isGlobal(seen.leaf, controls)
  }

  /// The walk in full. `first` is where the first attempt begins.
  @inline(never) @usableFromInline
  func walk<Tables: TableMemory, Observer: WalkObserver>(
    _ address: UInt64, _ access: pgk_access_v1, _ caches: TranslationCaches, _ tables: inout Tables, _ observer: Observer,
    root: WalkStart, first: WalkStart
  ) -> Descent {
    let path = caches.path
    var start = first
    var attempt = 0
    while true {
      var descent = Walker<Format, Tables>.descend(
        address, from: start, isWritten: access.isWrite, stage: 1, controls, &tables, path: path, observer)
      var isJudged = false
      if descent.reason == .none {
        descent.reason = judge(descent.rights, descent.leaf, descent.level, access, caches, start)
        isJudged = true
        if descent.reason == .none && descent.isUnmarked {
          var copy = tables
          let exchange = Walker<Format, Tables>.mark(
            from: start.level, to: descent.level, input: address, isWritten: access.isWrite, stage: 1, controls, &copy,
            path: path, observer, updates: &caches.counters.pointee.updates)
          tables = copy
          if exchange != .done {
            descent.reason = exchange == .lost ? .contention : .entryHole
            descent.isRefusedByMemory = exchange == .refused
          }
        }
      }
      if descent.reason == .contention && attempt < 64 {
        attempt &+= 1
        start = self.start(address, root, caches)
        continue
      }
      if caches.hasPrefix {
        caches.fill(address, Format.self, controls, context, from: start, downTo: descent.level, path: path, caches.prefix)
      }
      if caches.hasEntries {
        caches.fillEntries(Format.self, controls, from: start.level, downTo: descent.level, path: path)
      }
      if descent.reason != .none && !descent.isRefusedByMemory {
        record(descent.reason, descent.rights, descent.level, isJudged: isJudged, caches, address, observer)
      }
      return descent
    }
  }

  /// What the row of permissions lets go on needs no more judging, but for keys.
  @inline(__always) @usableFromInline
  func judge(
    _ rights: Rights, _ leaf: Entry, _ level: Int, _ access: pgk_access_v1, _ caches: TranslationCaches, _ start: WalkStart
  ) -> FaultReason {
    if caches.permissions.permits(rights.union(.beyondFirstStage), access),
      !Format.hasKeys || !judgement.keyForbids(rights, attributes: Format.attributes(of: leaf, controls), access)
    {
      return .none
    }
    return judgeInFull(rights, leaf, level, access, caches, start)
  }

  @inline(never) @usableFromInline
  func judgeInFull(
    _ rights: Rights, _ leaf: Entry, _ level: Int, _ access: pgk_access_v1, _ caches: TranslationCaches, _ start: WalkStart
  ) -> FaultReason {
    if access.privilege >= 3 { return judgeShadowStack(rights, leaf, level, access, caches.path, start) }
    let reason = judgement.judge(rights, attributes: 0, access)
    if reason != .none { return reason }
    if Format.hasKeys && judgement.keyForbids(rights, attributes: Format.attributes(of: leaf, controls), access) { return .key }
    return .none
  }

  /// A shadow-stack page is writable above, but not in the leaf, and dirty.
  @inline(never) @usableFromInline
  func judgeShadowStack(
    _ rights: Rights, _ leaf: Entry, _ level: Int, _ access: pgk_access_v1, _ path: UnsafeMutablePointer<PathStep>, _ start: WalkStart
  ) -> FaultReason {
    var above = start.rights
    for upper in stride(from: start.level, to: level, by: -1) {
      above.formIntersection(Format.rights(of: path[upper].entry, at: upper, isLeaf: false, controls))
    }
    let isShadowStack = leaf.bits & 0x42 == 0x40 && above.has(.write)
    let attributes = Format.attributes(of: leaf, controls)
    let reason = judgement.judge(rights, attributes: isShadowStack ? attributes | Attribute.shadowStack : attributes, access)
    return Format.hasKeys && reason == .none && judgement.keyForbids(rights, attributes: attributes, access) ? .key : reason
  }

  @inline(never) @usableFromInline
  func record<Observer: WalkObserver>(
    _ reason: FaultReason, _ rights: Rights, _ level: Int, isJudged: Bool, _ caches: TranslationCaches, _ address: UInt64,
    _ observer: Observer
  ) {
    var fault = WalkFault(reason, stage: 1)
    fault.level = UInt8(truncatingIfNeeded: level)
    fault.rights = rights
    let step = caches.path[level]
    fault.slot = step.slot
    fault.entry = step.entry.bits
    fault.attributes = Format.attributes(of: step.entry, controls)
    caches.fault.pointee = fault
    if isJudged {
      observer.didStep(
        PGK_STEP_REFUSED, slot: step.slot, entry: step.entry.bits, input: address, output: 0, level: level, stage: 1, reason)
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
