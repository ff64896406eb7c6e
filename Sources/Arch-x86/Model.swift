// What the modelled processor has: options of a unit.
import CPagingKit
import PagingKit

/// Properties of the processor and choices of the model.
struct X86Model {
  enum Mode: String, CaseIterable { case native, twoLevel = "2level", pae, fourLevel = "4level", fiveLevel = "5level", npt, ept }

  let maxPhysical: Int
  let isAMD: Bool
  let isEager: Bool
  let mode: Mode
  let has1GiB: Bool
  let hasEPTExecuteOnly: Bool
  let hasEPT2MiB: Bool
  let hasEPT1GiB: Bool
  let hasEPTFlags: Bool
  let eptLevels: Int
  let reportsAdvanced: Bool
  /// CR4 and CR3 bits of features that are switched off.
  let absentCR4: UInt64
  let absentCR3: UInt64
  let absentEFER: UInt64
  /// What ept.guest says the guest must be; nil: anything.
  let guest: String

  static let features: [(name: String, cr4: UInt64, help: String)] = [
    ("pcid", CR4.PCIDE, "process-context identifiers"), ("la57", CR4.LA57, "5-level paging"), ("smep", CR4.SMEP, "supervisor-mode execution prevention"),
    ("smap", CR4.SMAP, "supervisor-mode access prevention"), ("pku", CR4.PKE, "protection keys for user pages"),
    ("pks", CR4.PKS, "protection keys for supervisor pages"), ("cet", CR4.CET, "control-flow enforcement: shadow-stack pages"),
    ("lam", CR4.LAM_SUP, "linear-address masking"), ("pse", CR4.PSE, "4 MiB pages"), ("pge", CR4.PGE, "global pages"),
  ]

  static let options: [Option] = [
    Option("maxphyaddr", .model, .integer(46, in: 32...52), "MAXPHYADDR: width of physical addresses in bits (preset assumed)"),
    Option("vendor", .model, .choice("intel", of: ["intel", "amd"]), "amd: bit 8 is reserved in a PML4E, PML5E or PDPTE that references a table, except under nested paging"),
    Option("mode", .model, .choice("native", of: Mode.allCases.map(\.rawValue)), "native, or the name of one kind of paging: one stage; npt, ept: a guest under nested paging or EPT"),
    Option("ad_policy", .policy, .choice("commit", of: ["commit", "eager"]), "commit: accessed and dirty flags are set when the access succeeds; eager: accessed while going down"),
    Option("page1gb", .feature, .boolean(true), "1 GiB pages"),
    Option("nx", .feature, .boolean(true), "execute-disable"),
  ] + features.map { Option($0.name, .feature, .boolean(true), $0.help) } + [
    Option("ept.levels", .model, .integer(5, in: 4...5), "EPT levels that the processor has"),
    Option("ept.execute_only", .feature, .boolean(true), "execute-only EPT translations"),
    Option("ept.page_2m", .feature, .boolean(true), "2 MiB EPT pages"),
    Option("ept.page_1g", .feature, .boolean(true), "1 GiB EPT pages"),
    Option("ept.accessed_dirty", .feature, .boolean(true), "accessed and dirty flags for EPT"),
    Option("ept.advanced", .feature, .boolean(false), "advanced VM-exit information for EPT violations: bits 11:9"),
    Option("ept.guest", .model, .choice("any", of: ["any", "nopaging", "2level", "pae", "4level", "5level"]), "what the guest's registers must select under EPT"),
  ]

  init(_ options: OptionValues) {
    maxPhysical = Int(options.integer("maxphyaddr"))
    isAMD = options.choice("vendor") == "amd"
    isEager = options.choice("ad_policy") == "eager"
    mode = Mode(rawValue: options.choice("mode")) ?? .native
    has1GiB = options.boolean("page1gb")
    hasEPTExecuteOnly = options.boolean("ept.execute_only")
    hasEPT2MiB = options.boolean("ept.page_2m")
    hasEPT1GiB = options.boolean("ept.page_1g")
    hasEPTFlags = options.boolean("ept.accessed_dirty")
    eptLevels = Int(options.integer("ept.levels"))
    reportsAdvanced = options.boolean("ept.advanced")
    absentCR4 = Self.features.reduce(0) { options.boolean($1.name) ? $0 : $0 | $1.cr4 }
    absentCR3 = options.boolean("lam") ? 0 : 3 << 61
    absentEFER = options.boolean("nx") ? 0 : EFER.NXE
    guest = options.choice("ept.guest")
  }

  /// Address bits above MAXPHYADDR, in an 8-byte entry.
  var reservedAddress: UInt64 { EntryBits.address & ~((1 << UInt64(maxPhysical)) - 1) }

  /// What entries may hold under an EFER and a CR4.
  func entryControls(efer: UInt64, cr4: UInt64, isLegacyPAE: Bool) -> EntryControls {
    var c = EntryControls()
    // In PAE entries bits 62:52 are reserved as well.
    c.reserved = reservedAddress | (efer & EFER.NXE == 0 ? 1 << 63 : 0) | (isLegacyPAE ? 0x7ff << 52 : 0)
    // AMD reserves bit 8 natively; under nested paging the processors and emulators compared with ignore it in guest and host tables.
    c.reservedUpper = isAMD && mode != .npt && !isLegacyPAE ? EntryBits.global : 0
    c.reserved2MiB = 0x1f_e000
    c.reserved1GiB = has1GiB && !isLegacyPAE ? 0x3fff_e000 : .max
    c.hasPSE = cr4 & CR4.PSE != 0
    // PSE-36: bits 20:13 are address bits 39:32 as far as MAXPHYADDR reaches; bit 21 and the rest are reserved.
    let addressBits = UInt64(max(0, min(maxPhysical, 40) - 32))
    c.reserved4MiB = 0x3f_e000 & ~(((1 << addressBits) - 1) << 13)
    c.reservedPDPTE = 0x1e6 | reservedAddress | 0xfff << 52
    c.isEager = isEager
    c.hasGlobal = cr4 & CR4.PGE != 0
    return c
  }
}
