// Rules that decide a step, each with the title of the section that states it.
import CPagingKit
import PagingKit

enum Rule: UInt32, CaseIterable {
  // What an entry is, by the structure that it stands in.
  case table32, tablePAE, tableLong, tableNested, tableEPT
  case leaf32, leafPAE, leafLong, leafNested, leafEPT
  // What happens besides.
  case cached, cachedSecond, updated, updatedNested, updatedEPT
  case unpaged, translated, translatedNested, translatedEPT, tlb
  // Why an address or an entry is refused.
  case canonical, thirtyTwoBits, width, absentPointer, absent, absentNested, absentEPT, reserved, reservedNested, misconfigured
  // Why the rights do not suffice.
  case user, write, execute, smep, smap, shadowStack, key
  case nestedUser, nestedWrite, nestedExecute, eptRead, eptWrite, eptExecute
  case contention

  var definition: NamedMeaning {
    switch self {
    case .table32: NamedMeaning("the entry references a table", "SDM 3A, 32-Bit Paging")
    case .tablePAE: NamedMeaning("the entry references a table", "SDM 3A, PAE Paging")
    case .tableLong: NamedMeaning("the entry references a table", "SDM 3A, 4-Level Paging and 5-Level Paging")
    case .tableNested: NamedMeaning("the nested entry references a table", "APM 2, Nested Table Walk")
    case .tableEPT: NamedMeaning("the EPT entry references a table", "SDM 3C, EPT Translation Mechanism")
    case .leaf32: NamedMeaning("the entry maps a page", "SDM 3A, 32-Bit Paging")
    case .leafPAE: NamedMeaning("the entry maps a page", "SDM 3A, PAE Paging")
    case .leafLong: NamedMeaning("the entry maps a page", "SDM 3A, 4-Level Paging and 5-Level Paging")
    case .leafNested: NamedMeaning("the nested entry maps a page", "APM 2, Nested Table Walk")
    case .leafEPT: NamedMeaning("the EPT entry maps a page", "SDM 3C, EPT Translation Mechanism")
    case .cached: NamedMeaning("a paging-structure cache gave the table", "SDM 3A, Paging-Structure Caches")
    case .cachedSecond: NamedMeaning("a cache of guest-physical mappings gave the table", "SDM 3C, Information That May Be Cached")
    case .updated: NamedMeaning("accessed or dirty flag set", "SDM 3A, Accessed and Dirty Flags")
    case .updatedNested: NamedMeaning("accessed or dirty flag set in the nested table", "APM 2, Nested Table Walk")
    case .updatedEPT: NamedMeaning("accessed or dirty flag for EPT set", "SDM 3C, Accessed and Dirty Flags for EPT")
    case .unpaged: NamedMeaning("CR0.PG is 0: the linear address is the physical one", "SDM 3A, Paging Modes and Control Bits")
    case .translated: NamedMeaning("the rights of all entries together allow the access", "SDM 3A, Determination of Access Rights")
    case .translatedNested: NamedMeaning("the nested entries together allow the access", "APM 2, Nested Table Walk")
    case .translatedEPT: NamedMeaning("the EPT entries together allow the access", "SDM 3C, EPT Violations")
    case .tlb: NamedMeaning("the TLB had the translation", "SDM 3A, Translation Lookaside Buffers (TLBs)")
    case .canonical: NamedMeaning("the linear address is not canonical", "SDM 1, Canonical Addressing")
    case .thirtyTwoBits: NamedMeaning("outside long mode linear addresses have 32 bits", "SDM 3A, Paging Modes and Control Bits")
    case .width: NamedMeaning("the guest-physical address is wider than the second stage translates", "SDM 3C, EPT Translation Mechanism; APM 2, Nested Table Walk")
    case .absentPointer: NamedMeaning("P is 0 in the PDPTE register of the address", "SDM 3A, PDPTE Registers")
    case .absent: NamedMeaning("P is 0: nothing else in the entry counts", "SDM 3A, Page-Fault Exceptions")
    case .absentNested: NamedMeaning("P is 0 in the nested entry", "APM 2, Nested versus Guest Page Faults, Fault Ordering")
    case .absentEPT: NamedMeaning("the EPT entry is not present", "SDM 3C, EPT Violations")
    case .reserved: NamedMeaning("a reserved bit is set", "SDM 3A, Page-Fault Exceptions")
    case .reservedNested: NamedMeaning("a reserved bit is set in the nested entry", "APM 2, Nested versus Guest Page Faults, Fault Ordering")
    case .misconfigured: NamedMeaning("the EPT entry is misconfigured", "SDM 3C, EPT Misconfigurations")
    case .user: NamedMeaning("an access in user mode needs U/S = 1 in every entry", "SDM 3A, Determination of Access Rights")
    case .write: NamedMeaning("R/W is 0 in an entry, and a user or CR0.WP asks for it", "SDM 3A, Determination of Access Rights")
    case .execute: NamedMeaning("XD is 1 in an entry", "SDM 3A, Determination of Access Rights")
    case .smep: NamedMeaning("SMEP keeps the supervisor from fetching from user pages", "SDM 3A, Determination of Access Rights")
    case .smap: NamedMeaning("SMAP keeps the supervisor's data accesses from user pages", "SDM 3A, Determination of Access Rights")
    case .shadowStack: NamedMeaning("a shadow-stack access needs a shadow-stack page of its own mode", "SDM 3A, Determination of Access Rights")
    case .key: NamedMeaning("the protection key forbids the access", "SDM 3A, Protection Keys")
    case .nestedUser: NamedMeaning("U/S is 0 in a nested entry, and nested accesses are user accesses", "APM 2, Nested Table Walk")
    case .nestedWrite: NamedMeaning("R/W is 0 in a nested entry; guest tables are always written", "APM 2, Nested Table Walk")
    case .nestedExecute: NamedMeaning("NX is 1 in a nested entry", "APM 2, Nested Table Walk")
    case .eptRead: NamedMeaning("R is 0 in an EPT entry", "SDM 3C, EPT Violations")
    case .eptWrite: NamedMeaning("W is 0 in an EPT entry", "SDM 3C, EPT Violations")
    case .eptExecute: NamedMeaning("X for the mode of the page is 0 in an EPT entry", "SDM 3C, EPT Violations")
    case .contention: NamedMeaning("the entry changed again and again while it was updated", "SDM 3A, Accessed and Dirty Flags")
    }
  }
}

extension X86Unit {
  func rule(_ reason: FaultReason, stage: UInt8, level: Int, kind: UInt32) -> UInt32 {
    rule(reason, stage: stage, level: level, kind: kind, pgk_access_v1()).rawValue
  }

  func rule(_ reason: FaultReason, stage: UInt8, level: Int, kind: UInt32, _ access: pgk_access_v1) -> Rule {
    if reason == .none { return stage == 2 ? ruleOfSecondStage(kind) : ruleOfFirstStage(kind) }
    return stage == 2 ? refusalOfSecondStage(reason) : refusalOfFirstStage(reason, level: level, access)
  }

  private func ruleOfFirstStage(_ kind: UInt32) -> Rule {
    let paging = registers.paging
    return switch kind {
    case PGK_STEP_TABLE: paging == .twoLevel ? .table32 : paging == .pae ? .tablePAE : .tableLong
    case PGK_STEP_LEAF: paging == .twoLevel ? .leaf32 : paging == .pae ? .leafPAE : .leafLong
    case PGK_STEP_CACHED: .cached
    case PGK_STEP_UPDATED: .updated
    case PGK_STEP_TLB_HIT: .tlb
    default: paging == nil ? .unpaged : .translated
    }
  }

  private func ruleOfSecondStage(_ kind: UInt32) -> Rule {
    let isEPT = nested.isEPT
    return switch kind {
    case PGK_STEP_TABLE: isEPT ? .tableEPT : .tableNested
    case PGK_STEP_LEAF: isEPT ? .leafEPT : .leafNested
    case PGK_STEP_CACHED: .cachedSecond
    case PGK_STEP_UPDATED: isEPT ? .updatedEPT : .updatedNested
    case PGK_STEP_TLB_HIT: .tlb
    default: isEPT ? .translatedEPT : .translatedNested
    }
  }

  private func refusalOfFirstStage(_ reason: FaultReason, level: Int, _ access: pgk_access_v1) -> Rule {
    switch reason {
    case .nonCanonical: return registers.isLongMode ? .canonical : .thirtyTwoBits
    case .notPresent, .invalid:
      return registers.paging == .pae && level == 2 && !first.pointee.readsPointers ? .absentPointer : .absent
    case .entryHole where nested.kind != .none: return .width
    case .contention: return .contention
    case .key: return .key
    case .privilege, .userPage, .readDenied, .writeDenied, .executeDenied:
      if Privilege.isShadowStack(access.privilege) { return .shadowStack }
      if reason == .userPage { return access.isFetch ? .smep : .smap }
      return reason == .privilege ? .user : reason == .executeDenied ? .execute : .write
    case .tooWide: return .width
    default: return .reserved
    }
  }

  private func refusalOfSecondStage(_ reason: FaultReason) -> Rule {
    let isEPT = nested.isEPT
    return switch reason {
    case .notPresent, .invalid: isEPT ? .absentEPT : .absentNested
    case .misconfigured: .misconfigured
    case .privilege: .nestedUser
    case .readDenied: .eptRead
    case .writeDenied: isEPT ? .eptWrite : .nestedWrite
    case .executeDenied: isEPT ? .eptExecute : .nestedExecute
    case .tooWide: .width
    case .contention: .contention
    default: isEPT ? .misconfigured : .reservedNested
    }
  }
}
