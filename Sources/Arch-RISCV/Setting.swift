// What the registers mean for translation, worked out when they change and constant in a batch.
import CPagingKit
import PagingKit

/// The upper bits that a mode ignores in the addresses of loads and stores.
///
/// "Pointer Masking Extensions": the ignored bits repeat the highest one that is left, or are zero where the first stage
/// is bare. Fetches, HLVX and modes with MXR in effect ignore nothing.
struct PointerMasking {
  /// Bit n: privilege n has PMLEN 7, or 16.
  var seven: UInt32 = 0
  var sixteen: UInt32 = 0
  var isZeroExtended = false
  /// XLEN bits.
  var width: UInt64 = .max

  @inline(__always) func transformed(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 {
    if seven | sixteen == 0 || access.isFetch { return address & width }
    return masked(address, access)
  }

  @inline(never) private func masked(_ address: UInt64, _ access: pgk_access_v1) -> UInt64 {
    let privilege: UInt32 = 1 &<< UInt32(access.privilege & 31)
    let length: UInt64 = seven & privilege != 0 ? 7 : sixteen & privilege != 0 ? 16 : 0
    if isZeroExtended { return (address << length) >> length }
    return UInt64(bitPattern: Int64(bitPattern: address << length) >> Int64(length))
  }
}

/// One first stage: satp and its controls, or vsatp and the guest's.
struct FirstStage {
  var translation = AddressTranslation(mode: .bare, identifier: 0, root: 0)
  var controls = EntryControls()
  var judge = RightsJudge()
  var masking = PointerMasking()
}

/// What walks of one first stage look at. The unit owns it and changes it between batches, so regimes only point to it.
struct StageParameters {
  var stage: FirstStage
  var contexts: StageContexts
  /// Policies of the model: see there.
  let updatesThenFaults: Bool
  let asksSecondStageFirst: Bool

  init(_ stage: FirstStage, _ contexts: StageContexts, _ model: Model) {
    self.stage = stage
    self.contexts = contexts
    updatesThenFaults = model.updatesThenFaults
    asksSecondStageFirst = model.asksSecondStageFirst
  }
}

/// Everything that accesses need to know of the registers.
struct Setting {
  let is32: Bool
  var native = FirstStage()
  var guest = FirstStage()
  var second = AddressTranslation(mode: .bare, identifier: 0, root: 0)
  var secondControls = EntryControls()
  /// Loads and stores of M-mode are made as another mode's (mstatus.MPRV with MPP below M).
  var machineModifies = false
  /// And as a guest's (MPV).
  var machineIsGuest = false
  /// Privileges whose instructions do not exist now: HLV in U-mode without hstatus.HU, shadow stacks that are off.
  var missing: UInt32 = 0

  init(_ registers: Registers, _ model: Model) {
    is32 = RegisterRules(model: model).is32(registers)
    native.translation = AddressTranslation(registers[.satp], is32: is32)
    guest.translation = AddressTranslation(registers[.vsatp], is32: is32)
    second = AddressTranslation(registers[.hgatp], is32: is32, isGuest: true)
    setMachine(registers)
    setControls(registers, model)
    setJudges(registers)
    setMasking(registers)
    setMissing(registers)
  }

  private mutating func setMachine(_ registers: Registers) {
    machineModifies = registers.has(.mstatus, CSR.MPRV) && registers.field(.mstatus, CSR.MPP) != 3
    machineIsGuest = machineModifies && registers.has(.mstatus, CSR.MPV)
  }

  private mutating func setControls(_ registers: Registers, _ model: Model) {
    func controls(_ register: Register, addressBits: UInt64, hasShadowStack: Bool) -> EntryControls {
      let value = Entry(registers.effective(register))
      if is32 { return .rv32(hasShadowStack: hasShadowStack, updates: value.has(CSR.ADUE), addressBits: addressBits) }
      return .rv64(
        hasPBMT: value.has(CSR.PBMTE), hasNAPOT: model.hasSvnapot, hasShadowStack: hasShadowStack, updates: value.has(CSR.ADUE),
        addressBits: addressBits)
    }
    native.controls = controls(.menvcfg, addressBits: model.addressBits, hasShadowStack: registers.has(.menvcfg, CSR.SSE))
    let guestHasStack = Entry(registers.effective(.henvcfg)).has(CSR.SSE)
    // A second stage has an opinion of its own about guest physical addresses that are too wide.
    guest.controls = controls(.henvcfg, addressBits: second.mode == .bare ? model.addressBits : 64, hasShadowStack: guestHasStack)
    secondControls = controls(.menvcfg, addressBits: model.addressBits, hasShadowStack: false)
  }

  private mutating func setJudges(_ registers: Registers) {
    native.judge.hasShadowStack = native.controls.hasShadowStack
    native.judge.userPrivileges = Privilege.u.bit | Privilege.uSS.bit
    native.judge.supervisorMayUseUserPages = registers.has(.mstatus, CSR.SUM)
    native.judge.executableIsReadableFirst = registers.has(.mstatus, CSR.MXR)
    guest.judge.hasShadowStack = guest.controls.hasShadowStack
    guest.judge.userPrivileges = Privilege.vu.bit | Privilege.vuSS.bit
    guest.judge.supervisorMayUseUserPages = registers.has(.vsstatus, CSR.SUM)
    guest.judge.executableIsReadableFirst = registers.has(.vsstatus, CSR.MXR) || registers.has(.mstatus, CSR.MXR)
    guest.judge.executableIsReadableSecond = registers.has(.mstatus, CSR.MXR)
    if !registers.has(.hstatus, CSR.SPVP) {
      guest.judge.userPrivileges |= Privilege.allCases.filter(\.isHypervisorAccess).reduce(0) { $0 | $1.bit }
    }
    if machineModifies && registers.field(.mstatus, CSR.MPP) == 0 {
      if machineIsGuest { guest.judge.userPrivileges |= Privilege.m.bit } else { native.judge.userPrivileges |= Privilege.m.bit }
    }
  }

  private mutating func setMasking(_ registers: Registers) {
    native.masking.isZeroExtended = native.translation.mode == .bare
    guest.masking.isZeroExtended = guest.translation.mode == .bare
    if is32 {
      native.masking.width = 0xffff_ffff
      guest.masking.width = 0xffff_ffff
    }
    for privilege in Privilege.allCases where Privilege.hlvx & privilege.bit == 0 {
      if let (register, field) = maskingField(privilege, registers) {
        let isGuest = isGuest(privilege)
        let hasMXR = isGuest ? guest.judge.executableIsReadableFirst : native.judge.executableIsReadableFirst
        let value = hasMXR || is32 ? 0 : registers.field(register, field)
        var masking = isGuest ? guest.masking : native.masking
        if value == 2 { masking.seven |= privilege.bit }
        if value == 3 { masking.sixteen |= privilege.bit }
        if isGuest { guest.masking = masking } else { native.masking = masking }
      }
    }
  }

  /// Where the PMM of a privilege's accesses is.
  private func maskingField(_ privilege: Privilege, _ registers: Registers) -> (Register, Field)? {
    let isUser = (isGuest(privilege) ? guest : native).judge.userPrivileges & privilege.bit != 0
    switch privilege {
    case .m where !machineModifies: return nil
    case .uHLV, .uHSV: return isUser ? (.hstatus, CSR.HUPMM) : (.henvcfg, CSR.PMM)
    default: break
    }
    if isUser { return (.senvcfg, CSR.PMM) }
    return isGuest(privilege) ? (.henvcfg, CSR.PMM) : (.menvcfg, CSR.PMM)
  }

  private mutating func setMissing(_ registers: Registers) {
    if !registers.has(.hstatus, CSR.HU) {
      missing |= Privilege.uHLV.bit | Privilege.uHLVX.bit | Privilege.uHSV.bit
    }
    let menvcfg = registers.has(.menvcfg, CSR.SSE)
    let henvcfg = menvcfg && registers.has(.henvcfg, CSR.SSE)
    let senvcfg = registers.has(.senvcfg, CSR.SSE)
    if !menvcfg { missing |= Privilege.sSS.bit }
    if !menvcfg || !senvcfg { missing |= Privilege.uSS.bit }
    if !henvcfg { missing |= Privilege.vsSS.bit }
    if !henvcfg || !senvcfg { missing |= Privilege.vuSS.bit }
  }

  /// Whether loads and stores of the privilege are translated in two stages.
  func isGuest(_ privilege: Privilege) -> Bool {
    switch privilege {
    case .m: machineIsGuest
    case .u, .s, .uSS, .sSS: false
    default: true
    }
  }

  /// The same for an access, whose kind matters in M-mode.
  func isGuest(_ access: pgk_access_v1) -> Bool {
    guard let privilege = Privilege(rawValue: Int(access.privilege)) else { return false }
    return isGuest(privilege) && !(privilege == .m && access.isFetch)
  }
}

extension Registers {
  /// The value with the read-only zero rules applied: henvcfg has no bit that menvcfg does not allow.
  func effective(_ register: Register) -> UInt64 {
    let value = self[register]
    let dependent = CSR.ADUE.mask | CSR.PBMTE.mask | CSR.SSE.mask
    switch register {
    case .henvcfg: return value & (self[.menvcfg] | ~dependent)
    case .senvcfg: return has(.menvcfg, CSR.SSE) ? value : value & ~CSR.SSE.mask
    default: return value
    }
  }
}
