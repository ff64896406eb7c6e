// From why a walk failed to the exception that the manual names, and its delivery.
import CPagingKit
import PagingKit

/// Exceptions, in the order of the description; index 0 is "finished".
enum Outcome: UInt8, CaseIterable {
  case instructionAccessFault = 1, illegalInstruction, loadAccessFault, storeAccessFault
  case instructionPageFault, loadPageFault, storePageFault
  case instructionGuestPageFault, loadGuestPageFault, virtualInstruction, storeGuestPageFault

  /// "Machine and supervisor cause register values".
  var cause: UInt32 {
    switch self {
    case .instructionAccessFault: 1
    case .illegalInstruction: 2
    case .loadAccessFault: 5
    case .storeAccessFault: 7
    case .instructionPageFault: 12
    case .loadPageFault: 13
    case .storePageFault: 15
    case .instructionGuestPageFault: 20
    case .loadGuestPageFault: 21
    case .virtualInstruction: 22
    case .storeGuestPageFault: 23
    }
  }

  var definition: OutcomeDefinition {
    switch self {
    case .instructionAccessFault: OutcomeDefinition("instructionAccessFault", number: 1, "no memory for a fetch, or for a table entry on its way")
    case .illegalInstruction: OutcomeDefinition("illegalInstruction", number: 2, "an operation that the privilege or mstatus.TVM forbids, or that hstatus.HU or SSE of menvcfg or senvcfg does not enable")
    case .loadAccessFault: OutcomeDefinition("loadAccessFault", number: 5, "no memory for a load, or for a table entry on its way")
    case .storeAccessFault: OutcomeDefinition("storeAccessFault", number: 7, "no memory for a store or AMO, or for a table entry on its way; or a shadow-stack page and an ordinary store")
    case .instructionPageFault: OutcomeDefinition("instructionPageFault", number: 12, "the first stage refuses a fetch")
    case .loadPageFault: OutcomeDefinition("loadPageFault", number: 13, "the first stage refuses a load")
    case .storePageFault: OutcomeDefinition("storePageFault", number: 15, "the first stage refuses a store or AMO")
    case .instructionGuestPageFault: OutcomeDefinition("instructionGuestPageFault", number: 20, "the second stage refuses a fetch, or a table entry on its way")
    case .loadGuestPageFault: OutcomeDefinition("loadGuestPageFault", number: 21, "the second stage refuses a load, or a table entry on its way")
    case .virtualInstruction: OutcomeDefinition("virtualInstruction", number: 22, "an operation that a guest's privilege or hstatus.VTVM forbids, or that SSE of henvcfg or senvcfg does not enable")
    case .storeGuestPageFault: OutcomeDefinition("storeGuestPageFault", number: 23, "the second stage refuses a store or AMO, or a table entry on its way")
    }
  }

  enum Family { case access, page, guestPage }

  /// The exception of the original access type. AMO and SC count as stores, LR as a load, shadow-stack instructions as stores.
  init(_ family: Family, _ access: pgk_access_v1) {
    let isShadowStack = (Privilege.shadowStack >> UInt32(access.privilege & 31)) & 1 != 0
    let isStore = access.isWrite || isShadowStack
    switch family {
    case .access: self = access.isFetch ? .instructionAccessFault : isStore ? .storeAccessFault : .loadAccessFault
    case .page: self = access.isFetch ? .instructionPageFault : isStore ? .storePageFault : .loadPageFault
    case .guestPage: self = access.isFetch ? .instructionGuestPageFault : isStore ? .storeGuestPageFault : .loadGuestPageFault
    }
  }

  var isGuestPageFault: Bool { self == .instructionGuestPageFault || self == .loadGuestPageFault || self == .storeGuestPageFault }
}

/// Raw words of a listed operation.
enum Words {
  static let definitions = [
    NamedMeaning("gpa", "guest physical address that faulted, with its two low bits clear: htval or mtval2 shifted left by 2"),
    NamedMeaning("tinst", "pseudoinstruction for htinst or mtinst, where a table access of the first stage faulted; otherwise 0"),
  ]
}

extension RISCVUnit {
  func describeFault(_ fault: WalkFault, _ listed: inout pgk_listed_v1) {
    let access = listed.access
    let outcome = outcome(of: fault, access)
    listed.outcome = outcome.rawValue
    listed.code = outcome.cause
    listed.class_ = UInt8(outcome.isGuestPageFault ? PGK_CLASS_SECOND_STAGE : PGK_CLASS_GUEST_FAULT)
    // Pointer masking is applied before a trap writes the address.
    let masking = setting.isGuest(access) ? setting.guest.masking : setting.native.masking
    listed.fault_address = masking.transformed(listed.fault_address, access)
    if outcome.isGuestPageFault {
      addGuestPhysical(fault, &listed)
    } else if fault.stage != 2 {
      listed.flags |= UInt8(PGK_LISTED_FINAL_ADDRESS)
    }
  }

  /// One row for each reason.
  private func outcome(of fault: WalkFault, _ access: pgk_access_v1) -> Outcome {
    switch fault.reason {
    case .entryHole, .outputHole, .tooWide, .contention, .pageKind:
      return Outcome(.access, access)
    case .privilege where fault.stage == 0:
      // The instruction does not exist for this privilege: a guest's host could give it, unless menvcfg withholds it from both.
      let isGuests = Privilege(rawValue: Int(access.privilege))?.isVirtual == true
      return isGuests && registers.has(.menvcfg, CSR.SSE) ? .virtualInstruction : .illegalInstruction
    case .nonCanonical where fault.stage == 1 && isGuestPhysical(access):
      let isShadowStack = Privilege(rawValue: Int(access.privilege))?.isShadowStack == true
      return Outcome(isShadowStack ? .access : .guestPage, access)
    default:
      return Outcome(fault.stage == 2 ? .guestPage : .page, access)
    }
  }

  /// Whether the access's own address is a guest physical one.
  private func isGuestPhysical(_ access: pgk_access_v1) -> Bool {
    setting.isGuest(access) && setting.guest.translation.mode == .bare
  }

  private func addGuestPhysical(_ fault: WalkFault, _ listed: inout pgk_listed_v1) {
    // An address that is too wide for the second stage alone never got there.
    let address = fault.hasGuestPhysical ? fault.guestPhysical : listed.fault_address
    let isFinal = fault.purpose == .final
    listed.stage = 2
    listed.guest_physical = address
    listed.flags |= UInt8(PGK_LISTED_HAS_GUEST_PHYSICAL) | (isFinal ? UInt8(PGK_LISTED_FINAL_ADDRESS) : 0)
    listed.word_count = 2
    listed.words.0 = address & ~3
    listed.words.1 = isFinal ? 0 : pseudoinstruction(isWrite: fault.purpose == .tableUpdate)
  }

  /// "Special pseudoinstruction values for guest-page faults": a load or store of an entry.
  private func pseudoinstruction(isWrite: Bool) -> UInt64 {
    (setting.is32 ? 0x2000 : 0x3000) | (isWrite ? 0x20 : 0)
  }

  // MARK: Delivery

  /// "Trap Entry". M-mode's own faults go to M-mode; guest-page and virtual-instruction faults, and faults of HLV and HSV,
  /// to HS-mode; a guest's other faults to VS-mode; the rest to S-mode.
  func deliverTrap(_ listed: pgk_listed_v1) {
    guard let outcome = Outcome(rawValue: listed.outcome), let privilege = Privilege(rawValue: Int(listed.access.privilege)) else { return }
    var changed = registers
    let isHypervisors = outcome.isGuestPageFault || outcome == .virtualInstruction
    let guestPhysical = outcome.isGuestPageFault ? listed.words.0 >> 2 : 0
    let instruction = outcome.isGuestPageFault ? listed.words.1 : 0
    let hasGuestAddress = setting.isGuest(listed.access) && outcome != .virtualInstruction && outcome != .illegalInstruction
    if privilege.mode == .m {
      changed[.mcause] = UInt64(outcome.cause)
      changed[.mtval] = listed.fault_address
      changed[.mtval2] = guestPhysical
      changed[.mtinst] = instruction
      changed.set(.mstatus, CSR.MPP, 3)
      changed.set(.mstatus, CSR.MPV, 0)
      if model.hasHypervisor { changed.set(.mstatus, CSR.mGVA, hasGuestAddress ? 1 : 0) }
    } else if privilege.isVirtual && !isHypervisors {
      changed[.vscause] = UInt64(outcome.cause)
      changed[.vstval] = listed.fault_address
      changed.set(.vsstatus, CSR.SPP, privilege.mode == .vs ? 1 : 0)
    } else {
      changed[.scause] = UInt64(outcome.cause)
      changed[.stval] = listed.fault_address
      changed.set(.mstatus, CSR.SPP, privilege.mode == .s || privilege.mode == .vs ? 1 : 0)
      if model.hasHypervisor {
        changed[.htval] = guestPhysical
        changed[.htinst] = instruction
        changed.set(.hstatus, CSR.GVA, hasGuestAddress ? 1 : 0)
        changed.set(.hstatus, CSR.SPV, privilege.isVirtual ? 1 : 0)
        if privilege.isVirtual { changed.set(.hstatus, CSR.SPVP, privilege.mode == .vs ? 1 : 0) }
      }
    }
    adopt(changed)
  }
}
