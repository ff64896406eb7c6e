// Loading the PDPTE registers of PAE paging. Intel SDM volume 3A, "PDPTE Registers".
import CPagingKit
import PagingKit

extension X86Unit {
  /// The four PDPTEs are loaded and checked when CR3 is, and when paging begins or what caches hold changes. Gives what
  /// stops the load. Under nested paging a walk reads them; entering a guest under EPT gives them, so that only the guest's
  /// own loads read them there.
  func loadPointers(_ new: inout Registers, loadsRoot: Bool, isMove: Bool) -> pgk_listed_v1? {
    guard new.paging == .pae, model.mode != .npt, model.mode != .ept || isMove else { return nil }
    let hasChanged = (registers[.cr0] ^ new[.cr0]) & (CR0.PG | CR0.CD | CR0.NW) != 0
      || (registers[.cr4] ^ new[.cr4]) & (CR4.PAE | CR4.PGE | CR4.PSE | CR4.SMEP) != 0
    guard loadsRoot || registers.paging != .pae || hasChanged else { return nil }
    var root = new.root
    if let exit = translatePointers(&root) { return exit }
    let controls = model.entryControls(efer: new[.efer], cr4: new[.cr4], isLegacyPAE: true)
    var pointers: [UInt64] = []
    for i in 0..<4 as Range<UInt64> {
      var pointer: UInt64 = .max
      _ = state.engine.memory.load(root + 8 * i, byteCount: 8, &pointer)
      if pointer & 1 != 0 && pointer & controls.reservedPDPTE != 0 { return generalProtectionItem() }
      pointers.append(pointer)
    }
    for (register, pointer) in zip([Register.pdpte0, .pdpte1, .pdpte2, .pdpte3], pointers) { new[register] = pointer }
    return nil
  }

  /// Under EPT the pointers are read through it: as reads, also where its flags make other table accesses writes.
  private func translatePointers(_ root: inout UInt64) -> pgk_listed_v1? {
    guard nested.isEPT else { return nil }
    var read = pgk_access_v1()
    read.kind = UInt8(PGK_READ)
    let engine = state.engine
    var stage = NestedStage(UnsafePointer(second), read, engine.caches, engine.memory, NoObserver())
    var output = SecondStageOutput()
    let isDone = stage.translate(Address(root), for: .final, &output)
    engine.caches.counters.pointee.entryReads &+= UInt64(stage.reads)
    guard isDone else { return pointerExit(engine.caches.fault.pointee, root) }
    root = output.address.bits
    return nil
  }

  /// Table "Exit Qualification for EPT Violations": bits 7 and 8 are 0, for there is no linear address.
  private func pointerExit(_ fault: WalkFault, _ address: UInt64) -> pgk_listed_v1 {
    var listed = generalProtectionItem()
    let isMisconfigured = fault.reason == .misconfigured
    listed.class_ = UInt8(PGK_CLASS_SECOND_STAGE)
    listed.outcome = (isMisconfigured ? Outcome.eptMisconfiguration : .eptViolation).rawValue
    listed.code = isMisconfigured ? 49 : 48
    listed.stage = 2
    listed.word_count = Word.count
    (listed.slot, listed.level) = (fault.slot, fault.level)
    listed.flags = UInt8(PGK_LISTED_HAS_GUEST_PHYSICAL)
    listed.guest_physical = address
    setWord(&listed, Word.guestPhysical, address)
    if isMisconfigured { return listed }
    dropGuestPhysical(address)
    setWord(&listed, Word.qualification, 1 | UInt64(fault.rights.rawValue & 7) << 3)
    return listed
  }
}
