// Reading and loading registers, and what their values make of translation.
import CPagingKit
import PagingKit

/// Bits of registers that the model looks at. Kernel headers cpu_regs_types.h, mmu_regs_types.h.
enum RegisterBits {
  static let tlbEnabled: UInt64 = 1 << 0
  static let separateSpaces: UInt64 = 1 << 2
  static let tablesV6: UInt64 = 1 << 5
  static let guestPhysicalTables: UInt64 = 1 << 36
  static let shadowTables: UInt64 = 1 << 37
  /// What a kernel runs with: tlb_en, set3, ipd.
  static let runningMMUCR: UInt64 = 0x821
}

extension ElbrusUnit {
  /// Looking at the window onto the list changes nothing; accesses of the hypervisor's do.
  func readRegister(_ index: Int) -> UInt64 {
    if index == RegisterIndex.interceptPointer { return UInt64(window.pointer) }
    if case .trap(let number) = ElbrusRegister.all[index].place { return values[RegisterIndex.trapInfoHigh] >> number & 1 }
    return values[index]
  }

  func restoreRegisters(_ new: [UInt64]) {
    values = new
    registersChanged()
  }

  /// Loads registers as one change of state. Nothing is flushed by it: identifiers keep spaces and machines apart.
  func writeRegisters(_ list: [(index: Int, value: UInt64)]) throws(Refusal) -> RegisterLoad {
    var new = values
    for (index, value) in list {
      try check(ElbrusRegister.all[index], value)
      switch ElbrusRegister.all[index].place {
      case .trap(let number):
        new[RegisterIndex.trapInfoHigh] = new[RegisterIndex.trapInfoHigh] & ~(1 << number) | (value & 1) << number
      case .memoryUnit(Self.pointerNumber), .memoryUnit(Self.windowNumber): break
      default: new[index] = masked(ElbrusRegister.all[index], value)
      }
    }
    let entersMachine = list.contains { $0.index == RegisterIndex.machine } && !list.contains { $0.index == RegisterIndex.isGuest }
    if entersMachine { new[RegisterIndex.isGuest] = new[RegisterIndex.machine] == 0 ? 0 : 1 }
    values = new
    registersChanged()
    return .done
  }

  private func check(_ register: ElbrusRegister, _ value: UInt64) throws(Refusal) {
    guard value == 0 || register.firstISET <= model.iset else {
      throw Refusal(PGK_E_UNKNOWN_BIT, "\(register.name) is there from ISET v\(register.firstISET) on; this unit is v\(model.iset)")
    }
    if register.name == "mas", value & 7 == 7, value != 7 {
      throw Refusal(PGK_E_ARGUMENT, "mas 0x\(String(value, radix: 16)) is a special operation; the encoders make those")
    }
    if register.name == "core_mode", model.iset < 6, value & (RegisterBits.tablesV6 | RegisterBits.separateSpaces) != 0 {
      throw Refusal(PGK_E_UNKNOWN_BIT, "core_mode: V6 tables and separate spaces are there from ISET v6 on; this unit is v\(model.iset)")
    }
  }

  /// The bits that the register keeps on this model.
  func masked(_ register: ElbrusRegister, _ value: UInt64) -> UInt64 {
    let kept = value & register.mask
    switch register.name {
    case "u_pptb": return kept & model.physicalMask
    case "trap_point": return kept & model.physicalMask & ~(model.iset >= 5 ? 1023 : 511)
    default: return kept
    }
  }

  // MARK: Meaning

  /// Computes regimes and identifiers of the registers as they are.
  func registersChanged() {
    qualifier = AccessQualifier(mas: values[RegisterIndex.accessSpecifier], channel: values[RegisterIndex.channel])
    let effective = EffectiveRegisters(values, isGuest: isGuest)
    physical.addressMask = model.physicalMask
    configureFirstStage(effective)
    configureSecondStage()
    // When numbers run out in between, those given before are void, and all are asked for again.
    for _ in 0..<2 { configureContexts(effective) }
    selection = select(effective)
    state.engine.permissions.clear()
  }

  private func configureFirstStage(_ effective: EffectiveRegisters) {
    first.pointee.judgement = model.judgement
    first.pointee.userRoot = values[RegisterIndex.userRoot]
    first.pointee.osRoot = effective.osRoot
    first.pointee.osBase = effective.isSeparate ? effective.osBase : .max
    first.pointee.addressMask = model.ignoresUpperBits ? 0xffff_ffff_ffff : .max
    first.pointee.links.isKept = model.iset < 6
    first.pointee.links.window = values[RegisterIndex.userWindow]
  }

  private func configureSecondStage() {
    second.pointee.isEnabled = values[RegisterIndex.virtualControl] & RegisterBits.guestPhysicalTables != 0
    second.pointee.root = values[RegisterIndex.guestPhysicalRoot]
  }

  private func configureContexts(_ effective: EffectiveRegisters) {
    first.pointee.context = state.context(ContextIdentifiers(machine: machine, space: effective.space))
    first.pointee.globalContext = state.context(ContextIdentifiers(machine: machine, isGlobal: true))
    second.pointee.context = state.context(ContextIdentifiers(machine: machine, stage: 2))
  }

  /// Identifier of the machine whose translations are used and made.
  var machine: UInt32 { isGuest ? UInt32(values[RegisterIndex.machine]) : 0 }

  private func select(_ effective: EffectiveRegisters) -> Selection {
    let isV6 = effective.hasTablesV6
    guard effective.isTranslating else { return untranslated }
    let isShadow = values[RegisterIndex.virtualControl] & RegisterBits.shadowTables != 0
    if !isGuest || isShadow || !second.pointee.isEnabled { return isV6 ? .v6 : .v3 }
    return isV6 ? .guestV6 : .guestV3
  }
}

/// Registers in the role that they play now: a guest has copies of its own.
struct EffectiveRegisters {
  let isTranslating: Bool
  let isSeparate: Bool
  let hasTablesV6: Bool
  let space: UInt32
  let osRoot: UInt64
  let osBase: UInt64

  init(_ values: [UInt64], isGuest: Bool) {
    func value(_ native: Int, _ shadow: Int) -> UInt64 { values[isGuest ? shadow : native] }
    let mode = value(RegisterIndex.coreMode, RegisterIndex.shadowCoreMode)
    isTranslating = value(RegisterIndex.mmuCR, RegisterIndex.shadowMMUCR) & RegisterBits.tlbEnabled != 0
    isSeparate = mode & RegisterBits.separateSpaces != 0
    hasTablesV6 = mode & RegisterBits.tablesV6 != 0
    space = UInt32(value(RegisterIndex.pid, RegisterIndex.shadowPID))
    osRoot = value(RegisterIndex.osRoot, RegisterIndex.shadowOSRoot)
    osBase = value(RegisterIndex.osBase, RegisterIndex.shadowOSBase)
  }
}
