// Special operations: register loads and invalidations that only run performs.
//
// Intel SDM volume 3A, "Operations that Invalidate TLBs and Paging-Structure Caches"; volume 3C, "Operations that
// Invalidate Cached Mappings"; AMD APM volume 2, "TLB Flush"; volume 3, INVLPGA.
import CPagingKit
import PagingKit

/// Operation number of a special access: bits 7:0 of its address; a register in 15:8.
enum Operation: UInt64 {
  case readRegister, writeRegister, invlpg, invpcid, invept, invvpid, invlpga, tlbControl
}

extension X86Unit {
  func perform(_ access: pgk_access_v1, _ value: inout pgk_value_v1, isAnswered: Bool) -> SpecialEnd {
    guard let operation = Operation(rawValue: access.address & 0xff), access.address >> 16 == 0 else {
      return .refused(Refusal(PGK_E_ARGUMENT, "special access 0x\(String(access.address, radix: 16)) is no operation of x86"))
    }
    let index = Int(access.address >> 8)
    switch operation {
    case .readRegister:
      guard let register = Register(rawValue: index) else { return noRegister(index) }
      value = pgk_value_v1()
      value.low = registers[register]
      return .finished
    case .writeRegister:
      guard let register = Register(rawValue: index) else { return noRegister(index) }
      return move(to: register, value.low)
    default:
      state.engine.caches.counters.pointee.invalidations &+= 1
      return invalidate(operation, value)
    }
  }

  private func noRegister(_ index: Int) -> SpecialEnd {
    .refused(Refusal(PGK_E_ARGUMENT, "register \(index) of \(Register.allCases.count)"))
  }

  /// MOV to a control register, WRMSR, WRPKRU: checked as one change of state.
  private func move(to register: Register, _ value: UInt64) -> SpecialEnd {
    do throws(Refusal) {
      let keeps = register == .cr3 && registers.has(CR4.PCIDE) && value >> 63 != 0
      let given = register == .cr3 && registers.has(CR4.PCIDE) ? value & ~(1 << 63) : value
      let unknown = given & ~register.definition.writable
      guard unknown == 0 else {
        throw Refusal(PGK_E_UNKNOWN_BIT, "\(register.definition.name): the model does not know bit \(unknown.trailingZeroBitCount)")
      }
      var new = registers
      new[register] = given
      try checkFeatures(new)
      if let fault = inconsistency(new) ?? forbidden(registers, new) { return faulted(fault) }
      if let exit = loadPointers(&new, loadsRoot: register == .cr3, isMove: true) { return .listed(exit) }
      commit(new, loadsRoot: register == .cr3, keepsTranslations: keeps)
      return .finished
    } catch {
      return .refused(error)
    }
  }

  private func faulted(_ outcome: pgk_register_outcome_v1) -> SpecialEnd {
    var listed = pgk_listed_v1()
    listed.class_ = UInt8(PGK_CLASS_GUEST_FAULT)
    listed.outcome = outcome.outcome
    listed.code = outcome.code
    listed.word_count = Word.countOfFault
    listed.slot = PGK_NO_ENTRY
    return .listed(listed)
  }

  private func invalidate(_ operation: Operation, _ value: pgk_value_v1) -> SpecialEnd {
    let type = value.high & 0xff
    let identifier = UInt32(truncatingIfNeeded: value.high >> 8)
    switch operation {
    case .invlpg:
      // With an address that is not canonical it does nothing.
      guard isCanonical(value.low) else { return .finished }
      dropPage(value.low, pcid: registers.pcid, withGlobal: true)
      // Of the paging-structure caches all of the PCID goes, whatever the address.
      dropPrefixes(pcid: registers.pcid)
    case .invpcid:
      guard type <= 3, identifier < 4096 else { return badType("INVPCID", type) }
      guard registers.has(CR4.PCIDE) || identifier == 0 || type >= 2, type > 0 || isCanonical(value.low) else {
        return .listed(generalProtectionItem())
      }
      invpcid(type, identifier, value.low)
    case .invept:
      guard type == 1 || type == 2 else { return badType("INVEPT", type) }
      let tag = Self.eptTag(value.low)
      state.engine.caches.removeAll(where: state.contexts { $0.root & 1 != 0 && (type == 2 || $0.root == tag) })
    case .invvpid:
      // VPID 0 is the host's and fails but where all are meant.
      guard type <= 3, type == 2 || identifier != 0, type > 0 || isCanonical(value.low) else { return badType("INVVPID", type) }
      invvpid(type, identifier, value.low)
    case .invlpga: dropPage(value.low) { $0.stage == 1 && $0.machine == identifier }
    case .tlbControl:
      guard type == 1 || type == 3 || type == 7 else { return badType("TLB_CONTROL", type) }
      tlbControl(type, asid: identifier)
    case .readRegister, .writeRegister: break
    }
    return .finished
  }

  private func isCanonical(_ address: UInt64) -> Bool {
    guard registers.isLongMode else { return true }
    let top = Int64(bitPattern: address) >> (registers.has(CR4.LA57) ? 56 : 47)
    return top == 0 || top == -1
  }

  private func badType(_ name: String, _ type: UInt64) -> SpecialEnd {
    .refused(Refusal(PGK_E_ARGUMENT, "\(name): type \(type) or its descriptor is invalid"))
  }

  func generalProtectionItem() -> pgk_listed_v1 {
    var listed = pgk_listed_v1()
    listed.class_ = UInt8(PGK_CLASS_GUEST_FAULT)
    listed.outcome = Outcome.generalProtection.rawValue
    listed.code = 13
    listed.word_count = Word.countOfFault
    listed.slot = PGK_NO_ENTRY
    return listed
  }

  /// 0: one address of a PCID, not global; 1: a PCID, not global; 2: all, global too; 3: all but global.
  private func invpcid(_ type: UInt64, _ pcid: UInt32, _ address: UInt64) {
    switch type {
    case 0: dropPage(address, pcid: pcid, withGlobal: false)
    case 1: dropAll { !$0.isGlobal && $0.space == pcid }
    case 2: dropAll { _ in true }
    default: dropAll { !$0.isGlobal }
    }
  }

  /// 0: one address of a VPID; 1: a VPID; 2: every VPID but 0; 3: a VPID but its global translations.
  private func invvpid(_ type: UInt64, _ vpid: UInt32, _ address: UInt64) {
    let caches = state.engine.caches
    switch type {
    case 0: dropPage(address) { $0.stage == 1 && $0.machine == vpid }
    case 1: caches.removeAll(where: state.contexts { $0.stage == 1 && $0.machine == vpid })
    case 2: caches.removeAll(where: state.contexts { $0.stage == 1 && $0.machine != 0 })
    default: caches.removeAll(where: state.contexts { $0.stage == 1 && $0.machine == vpid && !$0.isGlobal })
    }
  }

  /// What VMRUN does with TLB_CONTROL. 1: everything; 3: an ASID; 7: an ASID but its global pages. What it keeps of
  /// guest-physical addresses is no page of the guest's, so that goes, too.
  private func tlbControl(_ control: UInt64, asid: UInt32) {
    let caches = state.engine.caches
    guard control != 1 else { return caches.removeAll() }
    caches.removeAll(where: state.contexts { $0.machine == asid && $0.root & 1 == 0 && (control == 3 || !$0.isGlobal) })
  }

  // MARK: Requests

  static func request(_ operation: Operation, register: Register? = nil, low: UInt64 = 0, high: UInt64 = 0) -> Request {
    Request(
      special: operation.rawValue | UInt64(register?.rawValue ?? 0) << 8, low: low, high: high, privilege: Privilege.supervisor)
  }

  static func write(_ register: Register, _ value: UInt64) -> Request { request(.writeRegister, register: register, low: value) }
}

/// The encoders behind libffi: they check their arguments and perform nothing.
enum X86Encoders {
  typealias Pointer = UnsafeMutableRawPointer?

  static let all: [EncoderDefinition] = [
    EncoderDefinition("invlpg", "i32(ptr,u64,ptr,ptr)", ["address"], "INVLPG: one linear address, global pages too", function: { _, address, access, value in
      deliver(X86Unit.request(.invlpg, low: address), access, value)
    } as @convention(c) (Pointer, UInt64, Pointer, Pointer) -> Int32),
    EncoderDefinition("invpcid", "i32(ptr,u32,u32,u64,ptr,ptr)", ["type", "pcid", "address"], "INVPCID, types 0 to 3", function: { unit, type, pcid, address, access, value in
      guard type <= 3, pcid < 4096 else { return refuse(unit, "type \(type), PCID \(pcid): expected a type from 0 to 3 and a PCID below 4096") }
      return deliver(X86Unit.request(.invpcid, low: address, high: UInt64(type) | UInt64(pcid) << 8), access, value)
    } as @convention(c) (Pointer, UInt32, UInt32, UInt64, Pointer, Pointer) -> Int32),
    EncoderDefinition("invept", "i32(ptr,u32,u64,ptr,ptr)", ["type", "eptp"], "INVEPT: 1 one EPT pointer, 2 all", function: { unit, type, eptp, access, value in
      guard type == 1 || type == 2 else { return refuse(unit, "type \(type): expected 1 or 2") }
      return deliver(X86Unit.request(.invept, low: eptp, high: UInt64(type)), access, value)
    } as @convention(c) (Pointer, UInt32, UInt64, Pointer, Pointer) -> Int32),
    EncoderDefinition("invvpid", "i32(ptr,u32,u32,u64,ptr,ptr)", ["type", "vpid", "address"], "INVVPID, types 0 to 3", function: { unit, type, vpid, address, access, value in
      guard type <= 3, vpid <= 0xffff, type == 2 || vpid != 0 else {
        return refuse(unit, "type \(type), VPID \(vpid): expected a type from 0 to 3, and but for type 2 a VPID from 1 to 65535")
      }
      return deliver(X86Unit.request(.invvpid, low: address, high: UInt64(type) | UInt64(vpid) << 8), access, value)
    } as @convention(c) (Pointer, UInt32, UInt32, UInt64, Pointer, Pointer) -> Int32),
    EncoderDefinition("invlpga", "i32(ptr,u64,u32,ptr,ptr)", ["address", "asid"], "INVLPGA: one linear address of an ASID", function: { _, address, asid, access, value in
      deliver(X86Unit.request(.invlpga, low: address, high: UInt64(asid) << 8), access, value)
    } as @convention(c) (Pointer, UInt64, UInt32, Pointer, Pointer) -> Int32),
    EncoderDefinition("tlb_control", "i32(ptr,u32,u32,ptr,ptr)", ["control", "asid"], "VMRUN's TLB_CONTROL: 1 all, 3 an ASID, 7 an ASID but its global pages", function: { unit, control, asid, access, value in
      guard control == 1 || control == 3 || control == 7 else { return refuse(unit, "control \(control): expected 1, 3 or 7") }
      return deliver(X86Unit.request(.tlbControl, high: UInt64(control) | UInt64(asid) << 8), access, value)
    } as @convention(c) (Pointer, UInt32, UInt32, Pointer, Pointer) -> Int32),
    register("mov_to_cr0", .cr0, "MOV to CR0"), register("mov_to_cr3", .cr3, "MOV to CR3; bit 63 keeps translations if CR4.PCIDE"),
    register("mov_to_cr4", .cr4, "MOV to CR4"), register("wrmsr_efer", .efer, "WRMSR to IA32_EFER"),
    register("wrpkru", .pkru, "WRPKRU"), register("wrmsr_pkrs", .pkrs, "WRMSR to IA32_PKRS"),
    EncoderDefinition("read_register", "i32(ptr,u32,ptr,ptr)", ["register"], "reads a register by its number in the description", function: { unit, index, access, value in
      guard let register = Register(rawValue: Int(index)) else {
        return refuse(unit, "register \(index): the last of the description is \(Register.allCases.count - 1)")
      }
      return deliver(X86Unit.request(.readRegister, register: register), access, value)
    } as @convention(c) (Pointer, UInt32, Pointer, Pointer) -> Int32),
  ]

  private static func refuse(_ unit: Pointer, _ reason: String) -> Int32 {
    PagingKit.refuse(unit, Refusal(PGK_E_ARGUMENT, reason))
  }

  private static func register(_ name: String, _ register: Register, _ help: String) -> EncoderDefinition {
    typealias Function = @convention(c) (Pointer, UInt64, Pointer, Pointer) -> Int32
    // A C function captures nothing, so each register has its own.
    let function: Function = switch register {
    case .cr0: { _, v, access, value in deliver(X86Unit.write(.cr0, v), access, value) }
    case .cr3: { _, v, access, value in deliver(X86Unit.write(.cr3, v), access, value) }
    case .cr4: { _, v, access, value in deliver(X86Unit.write(.cr4, v), access, value) }
    case .efer: { _, v, access, value in deliver(X86Unit.write(.efer, v), access, value) }
    case .pkru: { _, v, access, value in deliver(X86Unit.write(.pkru, v), access, value) }
    default: { _, v, access, value in deliver(X86Unit.write(.pkrs, v), access, value) }
    }
    return EncoderDefinition(name, "i32(ptr,u64,ptr,ptr)", ["value"], help, function: function)
  }
}
