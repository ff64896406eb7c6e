// Special operations: reads and writes of registers, and fences. Only run performs them.
import CPagingKit
import PagingKit

/// Bits 7:0 of a special access's address. Bit 8: rs1 is not x0; bit 9: rs2 is not x0; bits 27:16: a CSR's number.
enum Operation: UInt64 {
  case csrRead = 1, csrWrite, sfenceVMA, sinvalVMA, hfenceVVMA, hinvalVVMA, hfenceGVMA, hinvalGVMA

  static let hasAddress: UInt64 = 1 << 8
  static let hasIdentifier: UInt64 = 1 << 9
}

/// A special access taken apart.
struct SpecialAccess {
  let operation: Operation
  let csr: UInt64
  let hasAddress: Bool
  let hasIdentifier: Bool
  let mode: Privilege

  init?(_ access: pgk_access_v1) {
    let word = access.address
    guard let operation = Operation(rawValue: word & 0xff), word >> 28 == 0, word & 0xfc00 == 0,
      let privilege = Privilege(rawValue: Int(access.privilege))
    else { return nil }
    self.operation = operation
    csr = word >> 16
    hasAddress = word & Operation.hasAddress != 0
    hasIdentifier = word & Operation.hasIdentifier != 0
    mode = privilege.mode
  }
}

extension RISCVUnit {
  func perform(_ access: pgk_access_v1, _ value: inout pgk_value_v1, isAnswered: Bool) -> SpecialEnd {
    guard let special = SpecialAccess(access), model.hasHypervisor || !special.mode.isVirtual else {
      return .refused(Refusal(PGK_E_ARGUMENT, "special access 0x\(String(access.address, radix: 16)) of privilege \(access.privilege) is no operation of RISC-V"))
    }
    switch special.operation {
    case .csrRead, .csrWrite: return performRegisterAccess(special, &value, isAnswered: isAnswered)
    default: return performFence(special, value, isAnswered: isAnswered)
    }
  }

  /// An operation that its mode may not do, or that software wants to see.
  func stopped(_ mode: Privilege, isVirtualInstruction: Bool, class listedClass: UInt32) -> SpecialEnd {
    let outcome: Outcome = isVirtualInstruction ? .virtualInstruction : .illegalInstruction
    var listed = pgk_listed_v1()
    listed.class_ = UInt8(listedClass)
    listed.outcome = outcome.rawValue
    listed.code = outcome.cause
    listed.slot = PGK_NO_ENTRY
    listed.flags = UInt8(PGK_LISTED_HAS_VALUE)
    return .listed(listed)
  }

  // MARK: Fences

  private func performFence(_ special: SpecialAccess, _ value: pgk_value_v1, isAnswered: Bool) -> SpecialEnd {
    let mode = special.mode
    let isSupervisorFence = special.operation == .sfenceVMA || special.operation == .sinvalVMA
    let isGuestFence = special.operation == .hfenceGVMA || special.operation == .hinvalGVMA
    if !isSupervisorFence && !model.hasHypervisor {
      return stopped(mode, isVirtualInstruction: false, class: PGK_CLASS_GUEST_FAULT)
    }
    if mode == .u || mode == .vu || mode == .vs && !isSupervisorFence {
      return stopped(mode, isVirtualInstruction: mode.isVirtual, class: PGK_CLASS_GUEST_FAULT)
    }
    if !isAnswered {
      if mode == .vs && registers.has(.hstatus, CSR.VTVM) { return stopped(mode, isVirtualInstruction: true, class: PGK_CLASS_INVALIDATION) }
      if mode == .s && registers.has(.mstatus, CSR.TVM) && (isSupervisorFence || isGuestFence) {
        return stopped(mode, isVirtualInstruction: false, class: PGK_CLASS_INVALIDATION)
      }
    }
    let address = special.hasAddress ? value.low : nil
    let identifier = special.hasIdentifier ? UInt32(truncatingIfNeeded: value.high) : nil
    state.engine.caches.counters.pointee.invalidations &+= 1
    if isGuestFence {
      fenceSecondStage(address, identifier.map { $0 & (setting.is32 ? 0x7f : 0x3fff) })
    } else {
      let isNative = isSupervisorFence && mode != .vs
      fenceFirstStage(isNative: isNative, address, identifier.map { $0 & (setting.is32 ? 0x1ff : 0xffff) })
    }
    return .finished
  }

  /// "Supervisor Memory-Management Fence Instruction". With an address only leaves; with an ASID no global mappings.
  private func fenceFirstStage(isNative: Bool, _ address: UInt64?, _ identifier: UInt32?) {
    let machine = setting.second.identifier
    let isMeant = state.contexts {
      let isOfStage = isNative ? TagKind.isNative($0.root) : TagKind.isGuest($0.root) && TagKind.hasFirstStage($0.root) && $0.machine == machine
      return isOfStage && (identifier == nil || !$0.isGlobal && $0.space == identifier)
    }
    guard let address else { return state.engine.caches.removeAll(where: isMeant) }
    let reached = address & setting.native.masking.width
    if isNative {
      state.engine.caches.removePage(reached, where: isMeant)
    } else {
      removeLeaf(reached, where: isMeant)
    }
  }

  /// Drops all that came from the first-stage leaf of the address. Where the second stage has smaller pages, a large leaf
  /// is cached in pieces, and the fence reaches each. Cost: all places of the TLBs.
  private func removeLeaf(_ address: UInt64, where isMeant: (ContextTag) -> Bool) {
    let caches = state.engine.caches
    let indexBits: UInt64 = setting.is32 ? 10 : 9
    for tlb in [caches.l1, caches.l1i, caches.l2] where !tlb.isAbsent {
      tlb.array.removeAll { word in
        let tag = PageTag(bits: word.tag)
        let pageShift = tlb.sizes.shift(ofClass: tag.sizeClass)
        let leafShift = max(12 + indexBits * UInt64(Translation(bits: word.payload).level), pageShift)
        let page = PageTag(address, shift: pageShift, sizeClass: 0, context: tag.context).pageNumber
        return (page ^ tag.pageNumber) >> (leafShift - pageShift) == 0 && isMeant(tag.context)
      }
    }
  }

  /// "Hypervisor Memory-Management Fence Instructions". Entries that map guest virtual addresses do not know the guest
  /// physical one, so all of the virtual machine go, and what was found through the second stage with them.
  private func fenceSecondStage(_ address: UInt64?, _ identifier: UInt32?) {
    let caches = state.engine.caches
    let isSecond = state.contexts { TagKind.isSecond($0.root) && (identifier == nil || $0.machine == identifier) }
    let isWhole = state.contexts {
      TagKind.isGuest($0.root) && TagKind.hasSecondStage($0.root) && (identifier == nil || $0.machine == identifier)
    }
    for tlb in [caches.l1, caches.l1i, caches.l2] { tlb.removeAll(where: isWhole) }
    caches.removePrefixes(where: isWhole)
    if let address {
      if !caches.nested.isAbsent { caches.nested.removePage(address << 2, where: isSecond) }
    } else {
      caches.nested.removeAll(where: isSecond)
      for level in 0..<TranslationCaches.prefixLevels { caches.secondPrefix[level].removeAll(where: isSecond) }
    }
  }
}

extension TagKind {
  static func hasSecondStage(_ code: UInt64) -> Bool { code >> 8 & 0xff != 0 }
}
