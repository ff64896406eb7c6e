// Names of levels and layouts that the formats share, and where they come from.
import PagingKit

/// The public headers of the manufacturer's kernel, by name. No instruction-set manual is public.
enum KernelHeader {
  static let edition = "public kernel sources of MCST (arch/e2k)"
  static let pageTableV3 = "pgtable-v3.h, " + edition
  static let pageTableV6 = "pgtable-v6.h, " + edition
  static let guestPhysicalTable = "kvm/pgtable-tdp.h, " + edition
  static let memoryUnitTypes = "mmu_types.h"
  static let registers = "mmu_regs_types.h"
  static let virtualRegisters = "kvm/mmu_hv_regs_types.h"
  static let traps = "trap_def.h"
  static let faults = "mm/fault.c"
}

enum ElbrusLevels {
  /// Level 0 first. The kernel counts them 1 to 4.
  static let names: [FormatDefinition.Level] = [
    .init("PTE", mayBeLeaf: true), .init("PMD", mayBeLeaf: true), .init("PUD", mayBeLeaf: true), .init("PGD", mayBeLeaf: false),
  ]

  /// The four kinds of entry of a format whose other fields are the same at every level.
  static func layouts(top: [Field], frameTop: UInt8, low: [Field]) -> [EntryLayout] {
    let frame = Field("PFN", frameTop, 12)
    func large(_ shift: UInt8) -> [Field] { [Field("PFN", frameTop, shift), Field("ignored", shift - 1, 12)] }
    return [
      EntryLayout("directory entry", .table, levels: [1, 2, 3], top + [frame] + low),
      EntryLayout("PUD that maps 1 GiB", .leaf, levels: [2], top + large(30) + low),
      EntryLayout("PMD that maps 2 MiB", .leaf, levels: [1], top + large(21) + low),
      EntryLayout("PTE that maps 4 KiB", .leaf, levels: [0], top + [frame] + low),
    ]
  }
}
