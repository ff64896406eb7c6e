// The description of x86 as data.
import CPagingKit
import PagingKit

extension X86Unit {
  static let firstStages: [X86Format?] = [.fourLevel, .fiveLevel, .pae, .twoLevel, nil]
  static let secondStages: [X86Format] = [.nptFourLevel, .nptFiveLevel, .nptPAE, .nptTwoLevel, .ept4, .ept5]

  /// One-stage regimes, then every guest over every second stage.
  static let regimePairs: [(first: X86Format?, second: X86Format?)] =
    firstStages.map { ($0, nil) } + firstStages.flatMap { first in secondStages.map { (first, $0) } }

  static func regimeIndex(first: X86Format?, second: NestedControls.Kind) -> Int? {
    let format: X86Format? = switch second {
    case .none: nil
    case .nptTwoLevel: .nptTwoLevel
    case .nptPAE: .nptPAE
    case .nptFourLevel: .nptFourLevel
    case .nptFiveLevel: .nptFiveLevel
    case .ept4: .ept4
    case .ept5: .ept5
    }
    return regimePairs.firstIndex { $0.first == first && $0.second == format }
  }

  private static let regimes: [RegimeDefinition] = regimePairs.map { first, second in
    let name = first?.definition.name ?? "bare"
    let title = first?.definition.title ?? "no paging"
    return RegimeDefinition(
      second.map { "\(name)/\($0.definition.name)" } ?? name, second.map { "\(title) under \($0.definition.title)" } ?? title,
      first: first?.rawValue, second: second?.rawValue, user: Int(Privilege.user), supervisor: Int(Privilege.supervisor))
  }

  static let definition = ArchitectureDefinition(
    name: "x86", title: "x86 (Intel 64, AMD64)", version: "0.1.0",
    reference: "Intel SDM volume 3 (edition 080); AMD APM volume 2 (revision 3.41)",
    formats: X86Format.allCases.map(\.definition), regimes: regimes, registers: Register.allCases.map(\.definition),
    options: X86Model.options,
    privileges: [
      NamedMeaning("supervisor", "CPL 0 to 2"), NamedMeaning("user", "CPL 3"),
      NamedMeaning("implicit-supervisor", "accesses to system tables, whatever the CPL"),
      NamedMeaning("user-shadow-stack", "shadow-stack accesses at CPL 3"),
      NamedMeaning("supervisor-shadow-stack", "shadow-stack accesses at CPL 0 to 2"),
    ],
    outcomes: Outcome.allCases.map(\.definition), words: Word.definitions, rules: Rule.allCases.map(\.definition),
    encoders: X86Encoders.all, verdicts: ArchitectureDefinition.preciseVerdicts, identifierBits: 12,
    contextKey: ["cr0", "cr4", "efer", "rflags", "pkru", "pkrs"])
}

/// Rules that decide a step, with the section that states them.
enum Rule: UInt32, CaseIterable {
  case table, leaf, cached, updated, translated, absent, reserved, canonical, user, supervisorPage, write, execute, read, key
  case eptAbsent, misconfigured, eptRead, eptWrite, eptExecute, width, nestedUser, contention, tlb

  var definition: NamedMeaning {
    switch self {
    case .table: NamedMeaning("the entry references a table", "SDM 3A, 4-Level Paging and 5-Level Paging")
    case .leaf: NamedMeaning("the entry maps a page", "SDM 3A, 4-Level Paging and 5-Level Paging")
    case .cached: NamedMeaning("a paging-structure cache gave the table", "SDM 3A, Paging-Structure Caches")
    case .updated: NamedMeaning("accessed or dirty flag set", "SDM 3A, Accessed and Dirty Flags")
    case .translated: NamedMeaning("the translation is complete", "SDM 3A, Access Rights")
    case .absent: NamedMeaning("P is 0: nothing else in the entry counts", "SDM 3A, Page-Fault Exceptions")
    case .reserved: NamedMeaning("a reserved bit is set", "SDM 3A, Page-Fault Exceptions")
    case .canonical: NamedMeaning("the linear address is not canonical", "SDM 1, Canonical Addressing")
    case .user: NamedMeaning("a user access needs U/S = 1 in every entry", "SDM 3A, Access Rights")
    case .supervisorPage: NamedMeaning("SMAP or SMEP keeps the supervisor from user pages", "SDM 3A, Access Rights")
    case .write: NamedMeaning("R/W is 0 in an entry", "SDM 3A, Access Rights")
    case .execute: NamedMeaning("XD is 1 in an entry", "SDM 3A, Access Rights")
    case .read: NamedMeaning("a shadow-stack access needs a shadow-stack page", "SDM 3A, Access Rights")
    case .key: NamedMeaning("the protection key forbids the access", "SDM 3A, Protection Keys")
    case .eptAbsent: NamedMeaning("the EPT entry is not present", "SDM 3C, EPT Violations")
    case .misconfigured: NamedMeaning("the EPT entry is misconfigured", "SDM 3C, EPT Misconfigurations")
    case .eptRead: NamedMeaning("the second stage does not allow reading", "SDM 3C, EPT Violations")
    case .eptWrite: NamedMeaning("the second stage does not allow writing", "SDM 3C, EPT Violations; APM 2, Nested Paging")
    case .eptExecute: NamedMeaning("the second stage does not allow fetching", "SDM 3C, EPT Violations; APM 2, Nested Paging")
    case .width: NamedMeaning("the guest-physical address is too wide for the second stage", "SDM 3C, EPT Translation Mechanism")
    case .nestedUser: NamedMeaning("nested accesses are user accesses", "APM 2, Nested Paging")
    case .contention: NamedMeaning("the entry changed while it was updated", "SDM 3A, Accessed and Dirty Flags")
    case .tlb: NamedMeaning("the TLB had the translation", "SDM 3A, Translation Lookaside Buffers (TLBs)")
    }
  }
}

extension X86Unit {
  func rule(_ reason: FaultReason, stage: UInt8, level: Int, kind: UInt32) -> UInt32 {
    let rule: Rule = switch reason {
    case .none: Self.rule(ofStep: kind)
    case .nonCanonical: .canonical
    case .notPresent, .invalid: stage == 2 && nested.isEPT ? .eptAbsent : .absent
    case .reserved, .misaligned: .reserved
    case .misconfigured: .misconfigured
    case .readDenied: stage == 2 ? .eptRead : .read
    case .writeDenied, .dirtyClear, .accessedClear: stage == 2 ? .eptWrite : .write
    case .executeDenied: stage == 2 ? .eptExecute : .execute
    case .privilege: stage == 2 ? .nestedUser : .user
    case .userPage: .supervisorPage
    case .key: .key
    case .tooWide: .width
    case .entryHole, .outputHole: .reserved
    case .contention: .contention
    }
    return rule.rawValue
  }

  private static func rule(ofStep kind: UInt32) -> Rule {
    switch kind {
    case PGK_STEP_TABLE: .table
    case PGK_STEP_LEAF: .leaf
    case PGK_STEP_CACHED: .cached
    case PGK_STEP_UPDATED: .updated
    case PGK_STEP_TLB_HIT: .tlb
    default: .translated
    }
  }
}
