// The processor that a unit models: its options, and what they mean for entries.
import PagingKit

/// Revision and policies of one unit. Fixed when it is opened.
struct ElbrusModel: Sendable {
  /// Architecture revision, v3 to v7.
  let iset: Int
  /// Bits above 47 of an address are dropped; otherwise they make an illegal page.
  let ignoresUpperBits: Bool
  let marksEntries: Bool
  let isPresentFirst: Bool
  let isWriteFirst: Bool
  /// Whether VIRT_CTRL_MU knows of TRAP_POINT, PID, PID2, OS_VAB and HW0.
  enum OtherRegisters { case dbg1, never }
  let otherRegisters: OtherRegisters
  /// What stands before a fault in its group has its effect.
  let commitsBeforeFault: Bool
  /// Behind an item that goes to the guest everything does, not only innocent neighbours.
  let followsAll: Bool

  init(_ options: OptionValues) {
    iset = Int(options.integer("iset"))
    ignoresUpperBits = options.choice("canonical") == "ignore"
    marksEntries = options.choice("ad_policy") == "hardware"
    let order = options.choice("fault_order")
    isPresentFirst = order.hasPrefix("P-V")
    isWriteFirst = order.hasSuffix("W-PV-NON_EX")
    commitsBeforeFault = options.choice("commit_before_fault") == "all"
    followsAll = options.choice("follow") == "all"
    otherRegisters = options.choice("register_classes") == "dbg1" ? .dbg1 : .never
  }

  var hasVirtualisation: Bool { iset >= 6 }
  /// Width of a physical address.
  var physicalBits: UInt64 { iset >= 6 ? 48 : 40 }
  var physicalMask: UInt64 { (1 << physicalBits) - 1 }

  var entryControls: EntryControls {
    var controls = EntryControls()
    controls.largeLevels = iset >= 5 ? 0b110 : 0b010
    if !marksEntries {
      controls.accessed = 0
      controls.dirty = 0
      controls.isAlwaysDirty = true
    }
    controls.isPresentFirst = isPresentFirst
    return controls
  }

  var judgement: Judgement { Judgement(isWriteFirst: isWriteFirst) }

  static let options: [Option] = [
    Option("iset", .model, .integer(6, in: 3...7), "architecture revision; 5 brings 1 GiB pages, 6 the V6 tables, separate roots and virtualisation"),
    Option("canonical", .policy, .choice("ignore", of: ["ignore", "illegal"]), "bits 63:48 of an address: dropped, or an illegal page; what hardware does is not published"),
    Option("ad_policy", .policy, .choice("hardware", of: ["hardware", "ignore"]), "A in every entry read and D in the leaf of a store, set if nothing refuses the access; or never set"),
    Option(
      "fault_order", .policy,
      .choice("V-P-PV-W-NON_EX", of: ["V-P-PV-W-NON_EX", "V-P-W-PV-NON_EX", "P-V-PV-W-NON_EX", "P-V-W-PV-NON_EX"]),
      "which check comes first; hardware priority is not published"),
    Option(
      "commit_before_fault", .policy, .choice("all", of: ["all", "none"]),
      "operations before the first fault of a group have their effect, or are dropped with the rest; not published"),
    Option(
      "follow", .policy, .choice("all", of: ["all", "forced-only"]),
      "behind an item that goes to the guest every item goes there unperformed, or FORCED ones alone and others are finished; not published"),
    Option(
      "list_overflow", .policy, .choice("refuse", of: ["refuse"]),
      "a guest's group of more than 11 operations is not begun; what hardware does is not published"),
    Option(
      "register_classes", .policy, .choice("dbg1", of: ["dbg1", "never"]),
      "the class of TRAP_POINT, PID, PID2, OS_VAB and HW0 in VIRT_CTRL_MU, or none; not published"),
  ]
}
