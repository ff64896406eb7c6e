// Outcomes, raw words and rules by name, and the one table from reasons to them.
import CPagingKit
import PagingKit

/// What an access may end in, in the order of the description behind "finished".
enum Outcome: UInt8, CaseIterable {
  // Bits of the fault type, kernel header mmu_types.h.
  case pageMiss = 1, illegalPage, writeToReadOnly, privileged, protected, inputOutput, system, outsideBounds, physicalProtection
  // The instruction side, which never enters the trap cellar.
  case fetchMiss, fetchProtection
  case diagnostic
  // Intercepts, kernel header kvm/mmu_hv_regs_types.h.
  case guestPhysicalData, guestPhysicalFetch, inputOutputIntercept
  case forced, forcedGuestFault, shadowData, readIntercept, writeIntercept
  case cacheFlush, cacheLineFlush, instructionFlush, instructionLineOfUser, instructionLineOfSystem
  case tlbFlush, pageFlushLast, pageFlushUpper, entryProbe

  var definition: OutcomeDefinition {
    switch self {
    case .pageMiss: .init("page_miss", number: 29, "P is 0 and VALID is 1")
    case .illegalPage: .init("illegal_page", number: 29, "VALID is 0; kept by the TLB")
    case .writeToReadOnly: .init("nwrite_page", number: 29, "a store, or a load with store semantics, where W is 0")
    case .privileged: .init("priv_page", number: 29, "PV is 1 and the access is not privileged")
    case .protected: .init("prot_page", number: 29, "protection of a page")
    case .inputOutput: .init("io_page", number: 29, "an I/O page by an ordinary access, or the reverse")
    case .system: .init("isys_page", number: 29, "a system page by an instruction access")
    case .outsideBounds: .init("ph_bound", number: 29, "there is nothing at the physical address")
    case .physicalProtection: .init("ph_pr_page", number: 29, "physical page protection")
    case .fetchMiss: .init("instr_page_miss", number: 20, "a fetch where P or VALID is 0")
    case .fetchProtection: .init("instr_page_prot", number: 21, "a fetch where NON_EX is 1, or PV against the privilege")
    case .diagnostic: .init("diagnostic", isFault: false, "a speculative load where VALID is 0: no trap, the destination gets the diagnostic value")
    case .guestPhysicalData: .init("GPA_DATA", number: 3, "the GP tables refuse a load or store, or a table read for one")
    case .guestPhysicalFetch: .init("GPA_INSTR", number: 4, "the GP tables refuse a fetch, or a table read for one")
    case .inputOutputIntercept: .init("MAS_IOADDR", number: 8, "the GP tables refuse an access with the I/O MAS")
    case .forced: .init("FORCED", number: 0, "an innocent neighbour in the list of intercepts")
    case .forcedGuestFault: .init("FORCED_GVA", number: 1, "a fault of the guest's own in the list of intercepts: moved to its cellar")
    case .shadowData: .init("SHADOW_DATA", number: 2, "the shadow tables refuse a load or store")
    case .readIntercept: .init("READ_MU", number: 9, "a guest reads a register; software supplies the data")
    case .writeIntercept: .init("WRITE_MU", number: 10, "a guest writes a register; software may replace the data")
    case .cacheFlush: .init("CACHE_FLUSH", number: 11, "a guest flushes the data cache")
    case .cacheLineFlush: .init("CACHE_LINE_FLUSH", number: 12, "a guest flushes a line of the data cache")
    case .instructionFlush: .init("ICACHE_FLUSH", number: 13, "a guest flushes the instruction cache")
    case .instructionLineOfUser: .init("ICACHE_LINE_FLUSH_USER", number: 14, "a guest flushes a user's line of the instruction cache")
    case .instructionLineOfSystem: .init("ICACHE_LINE_FLUSH_SYSTEM", number: 15, "a guest flushes a system line of the instruction cache")
    case .tlbFlush: .init("TLB_FLUSH", number: 16, "a guest flushes the whole TLB")
    case .pageFlushLast: .init("TLB_PAGE_FLUSH_LAST", number: 17, "a guest flushes a page of the TLB")
    case .pageFlushUpper: .init("TLB_PAGE_FLUSH_UPPER", number: 18, "a guest flushes links of the walk caches")
    case .entryProbe: .init("TLB_ENTRY_PROBE", number: 19, "a guest probes an entry")
    }
  }

  /// The bit of the fault type, bit 0 being bit 35 of the condition word; 0 if the outcome has none.
  var faultType: UInt64 {
    switch self {
    case .pageMiss: 1 << 10
    case .illegalPage: 1 << 8
    case .writeToReadOnly: 1 << 9
    case .privileged: 1 << 7
    case .protected: 1 << 6
    case .system: 1 << 5
    case .inputOutput: 1 << 4
    case .physicalProtection: 1 << 3
    case .outsideBounds: 1 << 11
    default: 0
    }
  }
}

/// Reasons to outcomes; every row visible.
enum FaultTable {
  /// What the first stage, or the only one, makes of a reason.
  static func outcome(_ reason: FaultReason, isFetch: Bool) -> Outcome {
    switch reason {
    case .notPresent, .contention: isFetch ? .fetchMiss : .pageMiss
    // The hypervisor turns an illegal page of an intercepted fetch into a miss.
    case .invalid, .nonCanonical: isFetch ? .fetchMiss : .illegalPage
    case .writeDenied: .writeToReadOnly
    case .privilege: isFetch ? .fetchProtection : .privileged
    case .executeDenied: .fetchProtection
    case .entryHole, .outputHole, .tooWide: isFetch ? .fetchMiss : .outsideBounds
    default: isFetch ? .fetchProtection : .protected
    }
  }

  /// The fault type that an intercept of the second stage reports.
  static func secondStage(_ reason: FaultReason) -> Outcome {
    switch reason {
    case .notPresent: .pageMiss
    case .writeDenied: .writeToReadOnly
    case .executeDenied: .protected
    case .entryHole, .outputHole, .tooWide: .outsideBounds
    default: .protected
    }
  }
}

/// What decided, in words, with the header that says so.
enum Rule: UInt32, CaseIterable {
  case directory, leaf, cached, marked, translated
  case invalid, absent, write, privilege, execute, outside, wide, contention
  case guestPhysicalAbsent, guestPhysicalWrite, guestPhysicalExecute

  var meaning: NamedMeaning {
    switch self {
    case .directory: .init("VALID and P: the entry points to the next table", KernelHeader.memoryUnitTypes)
    case .leaf: .init("VALID and P, at the last level or with HUGE: the entry maps a page, and its rights alone count", KernelHeader.memoryUnitTypes)
    case .cached: .init("found in a TLB or walk cache", "tlb_regs_types.h")
    case .marked: .init("A is set in entries that were read, D in the leaf of a store, when nothing refuses the access", KernelHeader.pageTableV6)
    case .translated: .init("the leaf allows the access", KernelHeader.memoryUnitTypes)
    case .invalid: .init("VALID is 0: illegal page; a speculative load gets the diagnostic value", KernelHeader.faults)
    case .absent: .init("VALID is 1 and P is 0: page miss, not cached", KernelHeader.faults)
    case .write: .init("W of the leaf is 0: no store and no load with store semantics", KernelHeader.memoryUnitTypes)
    case .privilege: .init("PV of the leaf is 1: privileged accesses only", KernelHeader.pageTableV6)
    case .execute: .init("NON_EX of the leaf is 1: no fetch", KernelHeader.traps)
    case .outside: .init("there is no memory at the physical address", KernelHeader.memoryUnitTypes)
    case .wide: .init("bits above 47 are not 0 (policy canonical = illegal)", KernelHeader.registers)
    case .contention: .init("an entry kept changing while A or D was being set", KernelHeader.memoryUnitTypes)
    case .guestPhysicalAbsent: .init("P of the GP entry is 0: intercept", KernelHeader.virtualRegisters)
    case .guestPhysicalWrite: .init("W of the GP leaf is 0: intercept of a store, or of setting A or D in a guest table", KernelHeader.virtualRegisters)
    case .guestPhysicalExecute: .init("NON_EX of the GP leaf is 1: intercept of a fetch", KernelHeader.virtualRegisters)
    }
  }

  static func of(_ reason: FaultReason, stage: UInt8, kind: UInt32) -> Rule {
    switch reason {
    case .none: ofStep(kind)
    case .notPresent: stage == 2 ? .guestPhysicalAbsent : .absent
    case .writeDenied: stage == 2 ? .guestPhysicalWrite : .write
    case .executeDenied: stage == 2 ? .guestPhysicalExecute : .execute
    case .privilege: .privilege
    case .nonCanonical: .wide
    case .entryHole, .outputHole, .tooWide: .outside
    case .contention: .contention
    default: .invalid
    }
  }

  private static func ofStep(_ kind: UInt32) -> Rule {
    switch kind {
    case PGK_STEP_TABLE: .directory
    case PGK_STEP_LEAF: .leaf
    case PGK_STEP_UPDATED: .marked
    case PGK_STEP_TRANSLATED: .translated
    default: .cached
    }
  }
}
