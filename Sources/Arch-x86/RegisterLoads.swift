// Loading control registers: what is refused, what faults, and what is invalidated.
//
// Intel SDM volume 3A, "Control Registers", "Operations that Invalidate TLBs and Paging-Structure Caches".
import CPagingKit
import PagingKit

extension X86Unit {
  /// Loads registers as one change of state.
  func writeRegisters(_ values: [(index: Int, value: UInt64)]) throws(Refusal) -> RegisterLoad {
    var new = registers
    for (index, value) in values { new[Register(rawValue: index)!] = value }
    try checkFeatures(new)
    let loadsRoot = values.contains { $0.index == Register.cr3.rawValue }
    let givesPointers = values.contains { (Register.pdpte0.rawValue...Register.pdpte3.rawValue).contains($0.index) }
    if let fault = inconsistency(new) { return .faulted(fault) }
    if !givesPointers, loadPointers(&new, loadsRoot: loadsRoot, isMove: false) != nil { return .faulted(generalProtection()) }
    if new.paging == .pae && model.mode != .npt { try checkPointers(new) }
    commit(new, loadsRoot: loadsRoot, keepsTranslations: false)
    return .done
  }

  /// Puts new values in force, with the invalidations that loading them makes.
  func commit(_ new: Registers, loadsRoot: Bool, keepsTranslations: Bool) {
    let old = registers
    registers = new
    registersChanged()
    invalidate(old, new, loadsRoot: loadsRoot, keepsTranslations: keepsTranslations)
  }

  /// Bits of features that this model has not, named.
  func checkFeatures(_ new: Registers) throws(Refusal) {
    for (register, absent) in [(Register.cr4, model.absentCR4), (.cr3, model.absentCR3), (.efer, model.absentEFER), (.nestedCR4, model.absentCR4), (.nestedEFER, model.absentEFER)] {
      let unknown = new[register] & absent
      guard unknown == 0 else {
        throw Refusal(PGK_E_UNKNOWN_BIT, "\(register.definition.name) bit \(unknown.trailingZeroBitCount) belongs to a feature that is switched off; open the unit with it on")
      }
    }
    if model.mode == .ept {
      let length = new[.eptp] >> 3 & 7
      guard new[.eptp] == 0 || length == 3 || length == 4 && model.eptLevels == 5 else {
        throw Refusal(PGK_E_UNKNOWN_BIT, "ept.eptp bits 5:3 are \(length), expected 3 (4 levels)\(model.eptLevels == 5 ? " or 4 (5 levels)" : "")")
      }
      guard [0, 6].contains(new[.eptp] & 7) else {
        throw Refusal(PGK_E_UNKNOWN_BIT, "ept.eptp bits 2:0 are \(new[.eptp] & 7), expected 0 (uncacheable) or 6 (write-back)")
      }
      guard model.hasEPTFlags || new[.eptp] & 1 << 6 == 0 else {
        throw Refusal(PGK_E_UNKNOWN_BIT, "ept.eptp bit 6 asks for accessed and dirty flags, which are switched off")
      }
    }
    for register in [Register.eptp, .nestedCR3] where new[register] & model.reservedAddress != 0 {
      throw Refusal(PGK_E_UNKNOWN_BIT, "\(register.definition.name) is wider than maxphyaddr, \(model.maxPhysical) bits")
    }
    try checkGuest(new)
  }

  /// PDPTE registers that were given, not loaded from a table: an entry to the guest with a bad one fails.
  private func checkPointers(_ new: Registers) throws(Refusal) {
    let reserved = model.entryControls(efer: new[.efer], cr4: new[.cr4], isLegacyPAE: true).reservedPDPTE
    for register in [Register.pdpte0, .pdpte1, .pdpte2, .pdpte3] where new[register] & 1 != 0 && new[register] & reserved != 0 {
      let bit = (new[register] & reserved).trailingZeroBitCount
      throw Refusal(PGK_E_UNKNOWN_BIT, "\(register.definition.name): bit \(bit) is reserved in a PDPTE that is present")
    }
  }

  private func checkGuest(_ new: Registers) throws(Refusal) {
    let kind = new.paging?.definition.name ?? "nopaging"
    guard model.guest == "any" || !new.isPaged && registers.isPaged == false && model.guest != "nopaging" || kind == model.guest else {
      throw Refusal(PGK_E_ARGUMENT, "the registers select \(kind), but option ept.guest is \(model.guest)")
    }
  }

  /// Combinations that raise #GP(0).
  func inconsistency(_ new: Registers) -> pgk_register_outcome_v1? {
    let isWrong =
      new.isPaged && new[.cr0] & CR0.PE == 0
      || new.isLongMode && !new.has(CR4.PAE)
      || new.has(CR4.PCIDE) && !new.isLongMode
      || new.has(CR4.CET) && new[.cr0] & CR0.WP == 0
      || new[.cr0] & (CR0.NW | CR0.CD) == CR0.NW
      || new[.cr3] & model.reservedAddress != 0
    return isWrong ? generalProtection() : nil
  }

  /// Changes that raise #GP(0) although both states exist: what MOV and WRMSR do one register at a time.
  func forbidden(_ old: Registers, _ new: Registers) -> pgk_register_outcome_v1? {
    let changed = old[.cr4] ^ new[.cr4]
    let isWrong =
      old.isLongMode && changed & CR4.LA57 != 0
      || old.isPaged && (old[.efer] ^ new[.efer]) & EFER.LME != 0
      || changed & new[.cr4] & CR4.PCIDE != 0 && old[.cr3] & 0xfff != 0
    return isWrong ? generalProtection() : nil
  }

  func generalProtection() -> pgk_register_outcome_v1 {
    var outcome = pgk_register_outcome_v1()
    outcome.outcome = Outcome.generalProtection.rawValue
    outcome.code = 13
    outcome.word_count = Word.countOfFault
    return outcome
  }

  /// What MOV to CR0, CR3 and CR4 and WRMSR to EFER drop.
  private func invalidate(_ old: Registers, _ new: Registers, loadsRoot: Bool, keepsTranslations: Bool) {
    let changed = old[.cr4] ^ new[.cr4]
    let shape = CR4.PSE | CR4.LA57
    if changed & CR4.PGE != 0 || changed & old[.cr4] & CR4.PCIDE != 0 || changed & shape != 0
      || (old[.cr0] ^ new[.cr0]) & CR0.PG != 0 || old.isLongMode != new.isLongMode
    {
      dropAll { _ in true }
      return
    }
    let pcid = new.pcid
    if changed & CR4.PAE != 0 || changed & new[.cr4] & CR4.SMEP != 0 {
      dropAll { $0.isGlobal || $0.space == pcid }
    }
    if loadsRoot && !keepsTranslations { dropAll { !$0.isGlobal && $0.space == pcid } }
  }
}
