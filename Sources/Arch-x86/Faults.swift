// One table: what failed becomes an exception or an exit, with its error code and qualification.
import CPagingKit
import PagingKit

/// Outcomes by index in the description; 0 is "finished".
enum Outcome: UInt8, CaseIterable {
  case generalProtection = 1, pageFault, nestedPageFault, eptViolation, eptMisconfiguration, interceptedSpecial

  var definition: OutcomeDefinition {
    switch self {
    case .generalProtection: OutcomeDefinition("general_protection", number: 13, "#GP: a linear address that is not canonical, or a bad register load")
    case .pageFault: OutcomeDefinition("page_fault", number: 14, "#PF")
    case .nestedPageFault: OutcomeDefinition("npf", "#VMEXIT(NPF): the nested page table refuses")
    case .eptViolation: OutcomeDefinition("ept_violation", number: 48, "VM exit: EPT violation")
    case .eptMisconfiguration: OutcomeDefinition("ept_misconfig", number: 49, "VM exit: EPT misconfiguration")
    case .interceptedSpecial: OutcomeDefinition("intercept", "a special operation that the hypervisor wants to see")
    }
  }
}

/// Raw words by index.
enum Word {
  static let code = 0, info1 = 1, info2 = 2, qualification = 3, guestPhysical = 4, linear = 5
  static let count: UInt8 = 6
  /// How many lead to the last that an outcome fills.
  static let countOfFault: UInt8 = 1, countOfNestedFault: UInt8 = 3

  static let definitions = [
    NamedMeaning("code", "error code"),
    NamedMeaning("info1", "EXITINFO1 of a nested page fault"),
    NamedMeaning("info2", "EXITINFO2 of a nested page fault: the guest-physical address"),
    NamedMeaning("qualification", "exit qualification of an EPT violation"),
    NamedMeaning("gpa", "guest-physical address"),
    NamedMeaning("linear", "guest linear address"),
  ]
}

extension X86Unit {
  func describe(_ fault: WalkFault, _ listed: inout pgk_listed_v1) {
    listed.word_count = Word.count
    if fault.hasGuestPhysical {
      listed.guest_physical = fault.guestPhysical
      listed.flags |= UInt8(PGK_LISTED_HAS_GUEST_PHYSICAL)
    }
    if fault.stage == 2 {
      describeSecondStage(fault, &listed)
    } else if fault.reason == .nonCanonical {
      finish(&listed, .generalProtection, code: 0, vector: 13)
    } else {
      listed.fault_address = reportedAddress(listed)
      finish(&listed, .pageFault, code: errorCode(fault, listed.access), vector: 14)
      dropPage(listed.fault_address, pcid: registers.pcid, withGlobal: true)
    }
  }

  /// Faults report the linear address after masking, and fetches are not masked.
  private func reportedAddress(_ listed: pgk_listed_v1) -> UInt64 {
    let address = listed.fault_address
    guard registers.isLongMode else { return wrapped(address) }
    return listed.access.isFetch ? address : masking.masked(address)
  }

  private func finish(_ listed: inout pgk_listed_v1, _ outcome: Outcome, code: UInt64, vector: UInt32) {
    listed.class_ = UInt8(PGK_CLASS_GUEST_FAULT)
    listed.outcome = outcome.rawValue
    listed.code = vector
    listed.word_count = Word.countOfFault
    setWord(&listed, Word.code, code)
  }

  /// "Page-Fault Exceptions": the bits of the error code.
  func errorCode(_ fault: WalkFault, _ access: pgk_access_v1) -> UInt64 {
    var code: UInt64 = 0
    if fault.reason != .notPresent { code |= 1 << 0 }
    if access.isWrite { code |= 1 << 1 }
    if Privilege.isUser(access.privilege) { code |= 1 << 2 }
    if fault.reason == .reserved { code |= 1 << 3 }
    let hasExecuteDisable = registers.has(CR4.PAE) && registers[.efer] & EFER.NXE != 0
    if access.isFetch && (registers.has(CR4.SMEP) || hasExecuteDisable) { code |= 1 << 4 }
    if isKeyViolation(fault, access) { code |= 1 << 5 }
    if Privilege.isShadowStack(access.privilege) { code |= 1 << 6 }
    return code
  }

  /// The key forbids the access, whether or not something else does too.
  private func isKeyViolation(_ fault: WalkFault, _ access: pgk_access_v1) -> Bool {
    guard fault.reason != .notPresent, fault.reason != .reserved, registers.paging?.hasKeys == true else { return false }
    return judgement.keyForbids(fault.rights, attributes: fault.attributes, access)
  }

  private func describeSecondStage(_ fault: WalkFault, _ listed: inout pgk_listed_v1) {
    listed.class_ = UInt8(PGK_CLASS_SECOND_STAGE)
    if fault.purpose == .final { listed.flags |= UInt8(PGK_LISTED_FINAL_ADDRESS) }
    setWord(&listed, Word.guestPhysical, fault.guestPhysical)
    if fault.reason != .misconfigured {
      // SDM 3C, "Operations that Invalidate Cached Mappings": an EPT violation drops what it used of guest-physical
      // mappings, and if the linear address leads there, the combined mappings of this EPT pointer.
      dropGuestPhysical(fault.guestPhysical)
      if fault.purpose == .final {
        let pcid = registers.pcid, tag = eptTag
        dropPage(reportedAddress(listed)) { [self] in isOwn($0) && $0.root == tag && ($0.isGlobal || $0.space == pcid) }
      }
    }
    guard nested.isEPT else { return describeNested(fault, &listed) }
    let isMisconfigured = fault.reason == .misconfigured
    listed.outcome = (isMisconfigured ? Outcome.eptMisconfiguration : .eptViolation).rawValue
    listed.code = isMisconfigured ? 49 : 48
    if isMisconfigured { return }
    setWord(&listed, Word.linear, reportedAddress(listed))
    setWord(&listed, Word.qualification, qualification(fault, listed.access))
  }

  /// APM volume 2, "Nested versus Guest Page Faults, Fault Ordering": EXITINFO1 and EXITINFO2.
  private func describeNested(_ fault: WalkFault, _ listed: inout pgk_listed_v1) {
    let isFinal = fault.purpose == .final
    let isAbsent = fault.reason == .notPresent || fault.reason == .tooWide
    var info: UInt64 = 1 << 2
    if !isAbsent { info |= 1 << 0 }
    if isFinal ? listed.access.isWrite : true { info |= 1 << 1 }
    if fault.reason == .reserved { info |= 1 << 3 }
    if isFinal && listed.access.isFetch && nested.reportsFetch { info |= 1 << 4 }
    info |= isFinal ? 1 << 32 : 1 << 33
    listed.outcome = Outcome.nestedPageFault.rawValue
    listed.code = 0x400
    listed.word_count = Word.countOfNestedFault
    setWord(&listed, Word.info1, info)
    setWord(&listed, Word.info2, fault.guestPhysical)
  }

  /// Table "Exit Qualification for EPT Violations".
  private func qualification(_ fault: WalkFault, _ access: pgk_access_v1) -> UInt64 {
    let isFinal = fault.purpose == .final
    var bits: UInt64 = 1 << 7
    switch fault.purpose {
    case .final: bits |= access.isWrite ? 2 : access.isFetch ? 4 : 1
    case .tableRead: bits |= nested.eptControls.pointee.hasFlags ? 3 : 1
    case .tableUpdate: bits |= 3
    }
    bits |= UInt64(fault.rights.rawValue & 7) << 3
    if nested.eptControls.pointee.hasModeBasedExecute && fault.rights.has(.user) { bits |= 1 << 6 }
    guard isFinal else { return bits }
    bits |= 1 << 8
    if model.reportsAdvanced { bits |= advanced(fault) }
    return bits
  }

  /// What the guest's entries together say of the page: user-mode, writable, execute-disable.
  private func advanced(_ fault: WalkFault) -> UInt64 {
    let rights = fault.firstRights
    return (rights.has(.user) ? 1 << 9 : 0) | (rights.has(.write) ? 1 << 10 : 0) | (rights.has(.execute) ? 0 : 1 << 11)
  }

  /// #PF loads CR2 and pushes its code; #GP leaves CR2 alone.
  func deliver(_ listed: pgk_listed_v1) {
    if listed.outcome == Outcome.pageFault.rawValue { registers[.cr2] = listed.fault_address }
    registers[.errorCode] = listed.words.0 & 0xffff_ffff
  }
}

/// Sets a raw word; C arrays arrive as tuples.
func setWord(_ listed: inout pgk_listed_v1, _ index: Int, _ value: UInt64) {
  withUnsafeMutableBytes(of: &listed.words) { $0.storeBytes(of: value, toByteOffset: 8 * index, as: UInt64.self) }
}
