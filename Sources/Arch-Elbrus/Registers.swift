// The register file of the memory unit, by name and number. Kernel headers mmu_regs_types.h, kvm/mmu_hv_regs_types.h.
import PagingKit

/// One register: where it is, and which bits it keeps.
struct ElbrusRegister: Sendable {
  enum Place: Sendable, Equatable {
    /// Number in the memory unit; the address of a register access is the number times 16.
    case memoryUnit(UInt64)
    /// In the control unit, reached by instructions of its own.
    case controlUnit(UInt64)
    /// Not a register: what qualifies the accesses that follow.
    case qualifier
    /// An exception by its number, as the trap info registers show it.
    case trap(UInt64)
  }

  let name: String
  let place: Place
  /// Bits that the register keeps; others written by software are dropped.
  let mask: UInt64
  let firstISET: Int
  let help: String

  init(_ name: String, _ place: Place, _ mask: UInt64, _ help: String, from firstISET: Int = 3) {
    self.name = name
    self.place = place
    self.mask = mask
    self.firstISET = firstISET
    self.help = help
  }

  var definition: RegisterDefinition {
    // Software writes roots and bounds with low bits set, so only what is no register refuses bits.
    let isMasked = kind == .control || kind == .record
    return RegisterDefinition(
      name, width: isMasked ? 64 : UInt32(64 - mask.leadingZeroBitCount), writable: isMasked ? .max : mask, kind: kind, help)
  }

  private var kind: RegisterDefinition.Kind {
    switch place {
    case .qualifier: .qualifier
    case .trap: .status
    case .memoryUnit(0x05): .record
    case .memoryUnit(ElbrusUnit.windowNumber), .memoryUnit(ElbrusUnit.pointerNumber): .status
    case .controlUnit(2), .controlUnit(3): .status
    default: .control
    }
  }
}

/// Indices of the registers that the model looks at.
enum RegisterIndex {
  static func index(_ name: String) -> Int {
    guard let index = ElbrusRegister.all.firstIndex(where: { $0.name == name }) else { preconditionFailure("no register \(name)") }
    return index
  }

  static let mmuCR = index("mmu_cr")
  static let pid = index("pid")
  static let userRoot = index("u_pptb")
  static let userWindow = index("u_vptb")
  static let osRoot = index("os_pptb")
  static let osWindow = index("os_vptb")
  static let osBase = index("os_vab")
  static let trapPoint = index("trap_point")
  static let trapCount = index("trap_count")
  static let virtualControl = index("virt_ctrl_mu")
  static let machine = index("gid")
  static let guestPhysicalRoot = index("gp_pptb")
  static let shadowMMUCR = index("sh_mmu_cr")
  static let shadowPID = index("sh_pid")
  static let shadowOSRoot = index("sh_os_pptb")
  static let shadowOSWindow = index("sh_os_vptb")
  static let shadowOSBase = index("sh_os_vab")
  static let coreMode = index("core_mode")
  static let shadowCoreMode = index("sh_core_mode")
  static let trapInfoHigh = index("tir_hi")
  static let trapInfoLow = index("tir_lo")
  static let writeMask = index("g_w_imask_mmu_cr")
  static let interceptPointer = index("ptr")
  static let interceptWindow = index("intc_info_mu")
  static let accessSpecifier = index("mas")
  static let channel = index("chan")
  static let isGuest = index("guest_mode")
}

extension ElbrusRegister {
  private static let frame: UInt64 = 0xffff_ffff_f000
  private static let window: UInt64 = 0xff80_0000_0000

  /// In the order of the description.
  static let all: [ElbrusRegister] = controls + typeRanges + bounds + virtual + controlUnit + traps + qualifiers

  private static let controls = [
    ElbrusRegister("mmu_cr", .memoryUnit(0x00), 0xffff, "control: bit 0 tlb_en, 2:1 cd, 5 set3, 11 ipd"),
    ElbrusRegister("pid", .memoryUnit(0x01), 0xfff, "context of the address space; the kernel's is 0"),
    ElbrusRegister("u2_pptb", .memoryUnit(0x02), 0x0fff_f018, "root of the secondary space"),
    ElbrusRegister("u_vptb", .memoryUnit(0x03), window, "window on the user or united tables"),
    ElbrusRegister("u_pptb", .memoryUnit(0x04), frame, "root of the user or united tables"),
    ElbrusRegister("trap_point", .memoryUnit(0x05), 0xffff_ffff_fe00, "physical address of the trap cellar"),
    ElbrusRegister("trap_count", .memoryUnit(0x06), 0x3f, "double words in the trap cellar, 3 a record"),
    ElbrusRegister("mpt_b", .memoryUnit(0x07), frame, "physical protection table of the secondary space"),
    ElbrusRegister("pci_l_b", .memoryUnit(0x08), 0xffff_ffc0_0000, "PCI low bound, 4 MiB aligned"),
    ElbrusRegister("us_cl_d", .memoryUnit(0x09), .max, "user stack clearing disabled"),
    ElbrusRegister("ph_h_b", .memoryUnit(0x0a), 0xffff_ffc0_0000, "high bound of low physical memory, 4 MiB aligned"),
    ElbrusRegister("used_4kb_dtlb", .memoryUnit(0x0b), .max, "diagnostics"),
    ElbrusRegister("used_dtlb_mpt_dw", .memoryUnit(0x0c), .max, "diagnostics"),
    ElbrusRegister("apic_base", .memoryUnit(0x0d), frame, "registers of the local interrupt controller"),
    ElbrusRegister("hw0", .memoryUnit(0x0e), .max, "implementation control"),
    ElbrusRegister("pid2", .memoryUnit(0x0f), 0xfff, "context of the secondary space"),
  ]

  private static let typeRanges = (0..<16).map {
    ElbrusRegister("mtrr\($0)", .memoryUnit(0x10 + UInt64($0)), .max, "memory type range \($0)")
  } + [
    ElbrusRegister("mtrr_def", .memoryUnit(0x30), .max, "memory type outside of ranges"),
    ElbrusRegister("pat", .memoryUnit(0x31), .max, "page attribute table"),
  ]

  private static let bounds = [
    ElbrusRegister("ph_hi_l_b", .memoryUnit(0x32), 0xffff_ffff_ffff, "low bound of high physical memory"),
    ElbrusRegister("ph_hi_h_b", .memoryUnit(0x33), 0xffff_ffff_ffff, "high bound of high physical memory"),
    ElbrusRegister("os_vptb", .memoryUnit(0x34), window, "window on the OS tables", from: 6),
    ElbrusRegister("os_pptb", .memoryUnit(0x35), frame, "root of the OS tables", from: 6),
    ElbrusRegister("pdpte0", .memoryUnit(0x38), .max, "secondary space"),
    ElbrusRegister("pdpte1", .memoryUnit(0x39), .max, "secondary space"),
    ElbrusRegister("pdpte2", .memoryUnit(0x3a), .max, "secondary space"),
    ElbrusRegister("pdpte3", .memoryUnit(0x3b), .max, "secondary space"),
    ElbrusRegister("tlu_cache", .memoryUnit(0x3c), .max, "diagnostics"),
  ]

  private static let virtual = [
    ElbrusRegister("virt_ctrl_mu", .memoryUnit(0x40), 0x3f_ffff_ffff, "what of a guest is intercepted; 36 gp_pt_en, 37 sh_pt_en", from: 6),
    ElbrusRegister("gid", .memoryUnit(0x41), 0xfff, "machine identifier; the hypervisor's is 0", from: 6),
    ElbrusRegister("gp_vptb", .memoryUnit(0x42), window, "window on the GP tables", from: 6),
    ElbrusRegister("gp_pptb", .memoryUnit(0x43), frame, "root of the GP tables", from: 6),
    ElbrusRegister("intc_info_mu", .memoryUnit(0x44), .max, "the list of intercepts, a double word at each access", from: 6),
    ElbrusRegister("ptr", .memoryUnit(0x45), 0x7f, "INTC_PTR_MU: double words in INTC_INFO_MU; an access of the hypervisor's clears it", from: 6),
    ElbrusRegister("sh_os_vptb", .memoryUnit(0x46), window, "the guest's OS_VPTB", from: 6),
    ElbrusRegister("sh_os_pptb", .memoryUnit(0x47), frame, "the guest's OS_PPTB", from: 6),
    ElbrusRegister("g_w_imask_mmu_cr", .memoryUnit(0x48), 0xffff, "bits of the guest's MMU_CR whose change is intercepted", from: 6),
    ElbrusRegister("sh_pid", .memoryUnit(0x49), 0xfff, "the guest's PID", from: 6),
    ElbrusRegister("sh_mmu_cr", .memoryUnit(0x4a), 0xffff, "the guest's MMU_CR", from: 6),
    ElbrusRegister("os_vab", .memoryUnit(0x4c), 0xf000_0000_0000, "lowest address of the OS space", from: 6),
    ElbrusRegister("sh_os_vab", .memoryUnit(0x4d), 0xf000_0000_0000, "the guest's OS_VAB", from: 6),
  ]

  private static let controlUnit = [
    ElbrusRegister("core_mode", .controlUnit(0), 0x7e, "bit 2 sep_virt_space, 3 gmi, 5 pt_v6"),
    ElbrusRegister("sh_core_mode", .controlUnit(1), 0x7e, "the guest's CORE_MODE", from: 6),
    ElbrusRegister("tir_hi", .controlUnit(2), 0xfff_ffff_ffff, "trap info: exceptions by number, 20 and 21 of fetches, 29 data_page"),
    ElbrusRegister("tir_lo", .controlUnit(3), 0xffff_ffff_ffff, "trap info: address of a fetch that faulted"),
  ]

  private static let traps = [
    ElbrusRegister("exc_instr_page_miss", .trap(20), 1, "TIR: a fetch where P or VALID is 0"),
    ElbrusRegister("exc_instr_page_prot", .trap(21), 1, "TIR: a fetch where NON_EX is 1, or PV against the privilege"),
    ElbrusRegister("exc_data_page", .trap(29), 1, "TIR: records in the trap cellar"),
  ]

  private static let qualifiers = [
    ElbrusRegister("mas", .qualifier, 0x7f, "MAS of loads and stores: 0x1 physical, 0x6 on channels 1 and 3 I/O, 0x7 on channel 0 wait lock, 0x5 its 16-byte form"),
    ElbrusRegister("chan", .qualifier, 0x3, "channel of loads and stores: ALC 0, 2, 3, 5"),
    ElbrusRegister("guest_mode", .qualifier, 0x1, "the guest that GID names runs; a load of GID enters it, or leaves for 0, unless this is loaded with it", from: 6),
  ]
}
