// What the processor is, fixed when a unit is opened.
import PagingKit

/// XLEN, address width, extensions, and the choices that the manual leaves open.
struct Model {
  let is32: Bool
  let addressBits: UInt64
  let hasSvnapot: Bool
  let hasSvpbmt: Bool
  let hasSvadu: Bool
  let hasHypervisor: Bool
  let hasSmnpm: Bool
  let hasSsnpm: Bool
  let hasZicfiss: Bool
  /// The second stage is asked for the final address before the rights, A and D of the first-stage leaf are looked at.
  let asksSecondStageFirst: Bool
  /// A and D stay set when the access then fails in the second stage, or finds no memory.
  let updatesThenFaults: Bool

  init(_ options: OptionValues) {
    is32 = options.choice("xlen") == "32"
    addressBits = UInt64(options.integer("pa.bits"))
    hasSvnapot = options.boolean("svnapot")
    hasSvpbmt = options.boolean("svpbmt")
    hasSvadu = options.boolean("svadu")
    hasHypervisor = options.boolean("h")
    hasSmnpm = options.boolean("smnpm")
    hasSsnpm = options.boolean("ssnpm")
    hasZicfiss = options.boolean("zicfiss")
    asksSecondStageFirst = options.choice("stage-order") == "before"
    updatesThenFaults = options.boolean("update-then-fault")
  }

  static let options: [Option] = [
    Option("xlen", .model, .choice("64", of: ["64", "32"]), "width of machine registers; with 64, mstatus.SXL = 1 makes the supervisor a 32-bit one"),
    Option("pa.bits", .model, .integer(56, in: 32...56), "width of physical addresses; addresses beyond are holes"),
    Option("svnapot", .feature, .boolean(true), "Svnapot: 64 KiB pages of contiguous entries"),
    Option("svpbmt", .feature, .boolean(true), "Svpbmt: memory types in entries, where menvcfg.PBMTE and henvcfg.PBMTE are set"),
    Option("svadu", .feature, .boolean(true), "Svadu: A and D set by the hart, where menvcfg.ADUE and henvcfg.ADUE are set; otherwise they fault (Svade)"),
    Option("h", .feature, .boolean(true), "the hypervisor extension"),
    Option("smnpm", .feature, .boolean(false), "Smnpm: pointer masking for S-mode by menvcfg.PMM"),
    Option("ssnpm", .feature, .boolean(false), "Ssnpm: pointer masking for U-, VS- and VU-mode by senvcfg.PMM, henvcfg.PMM and hstatus.HUPMM"),
    Option("zicfiss", .feature, .boolean(false), "Zicfiss: shadow-stack pages, where xenvcfg.SSE is set"),
    Option("stage-order", .policy, .choice("after", of: ["after", "before"]), "when the second stage is asked for the final address: after the checks of the first-stage leaf, or before its rights, A and D"),
    Option("update-then-fault", .policy, .boolean(true), "A and D stay updated when the access then fails in a later stage or finds no memory"),
  ]
}
