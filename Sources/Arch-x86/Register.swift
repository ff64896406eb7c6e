// Registers of the memory unit, by index in the description.
import PagingKit

/// Index of a register in the description.
enum Register: Int, CaseIterable {
  case cr0, cr2, cr3, cr4, efer, rflags, pkru, pkrs, errorCode, vpid
  case nestedCR3, nestedEFER, nestedCR4
  case eptp, mbec, pdpte0, pdpte1, pdpte2, pdpte3

  /// SDM volume 3A, "Control Registers"; the bits are those that some processor defines.
  static let knownCR0: UInt64 = 0xe005_003f
  static let knownCR4: UInt64 = 0x13f7_7fff
  static let knownEFER: UInt64 = 0xfd01

  var definition: RegisterDefinition {
    switch self {
    case .cr0: RegisterDefinition("cr0", writable: Self.knownCR0, preset: 0x31, "control register 0: PG, WP, PE")
    case .cr2: RegisterDefinition("cr2", "linear address of the last page fault")
    case .cr3: RegisterDefinition("cr3", writable: ~(1 << 63) & ~(0x1ff << 52), "root and PCID; bits 62 and 61 are LAM_U48 and LAM_U57")
    case .cr4: RegisterDefinition("cr4", writable: Self.knownCR4, "control register 4: PSE, PAE, PGE, LA57, PCIDE, SMEP, SMAP, PKE, CET, PKS, LAM_SUP")
    case .efer: RegisterDefinition("efer", writable: Self.knownEFER, "IA32_EFER: LME, LMA, NXE")
    case .rflags: RegisterDefinition("rflags", writable: 0x3f_7fd7, preset: 2, "RFLAGS; AC excuses explicit supervisor accesses from SMAP")
    case .pkru: RegisterDefinition("pkru", width: 32, "protection-key rights of user pages")
    case .pkrs: RegisterDefinition("pkrs", width: 32, "IA32_PKRS: protection-key rights of supervisor pages")
    case .errorCode: RegisterDefinition("error_code", width: 32, "error code that the last fault pushed")
    case .vpid: RegisterDefinition("vpid", width: 32, "VPID, or ASID under nested paging: tags the guest's translations")
    case .nestedCR3: RegisterDefinition("nested.ncr3", writable: 0x000f_ffff_ffff_ffe0, "nCR3: root of the nested page table")
    case .nestedEFER: RegisterDefinition("nested.efer", writable: Self.knownEFER, "the host's EFER, whose NXE counts in nested tables")
    case .nestedCR4: RegisterDefinition("nested.cr4", writable: Self.knownCR4, "the host's CR4: kind of the nested tables")
    case .eptp: RegisterDefinition("ept.eptp", writable: 0x000f_ffff_ffff_f07f, "EPT pointer: memory type 2:0, walk length 5:3, flags 6")
    case .mbec: RegisterDefinition("ept.mbec", width: 1, "mode-based execute control")
    case .pdpte0: RegisterDefinition("ept.pdptes.0", "PDPTE register 0 (PAE), as MOV to CR3 or VM entry loaded it")
    case .pdpte1: RegisterDefinition("ept.pdptes.1", "PDPTE register 1")
    case .pdpte2: RegisterDefinition("ept.pdptes.2", "PDPTE register 2")
    case .pdpte3: RegisterDefinition("ept.pdptes.3", "PDPTE register 3")
    }
  }
}

/// Bits of control registers.
enum CR0 {
  static let PE: UInt64 = 1 << 0
  static let WP: UInt64 = 1 << 16
  static let NW: UInt64 = 1 << 29
  static let CD: UInt64 = 1 << 30
  static let PG: UInt64 = 1 << 31
}

enum CR4 {
  static let PSE: UInt64 = 1 << 4
  static let PAE: UInt64 = 1 << 5
  static let PGE: UInt64 = 1 << 7
  static let LA57: UInt64 = 1 << 12
  static let PCIDE: UInt64 = 1 << 17
  static let SMEP: UInt64 = 1 << 20
  static let SMAP: UInt64 = 1 << 21
  static let PKE: UInt64 = 1 << 22
  static let CET: UInt64 = 1 << 23
  static let PKS: UInt64 = 1 << 24
  static let LAM_SUP: UInt64 = 1 << 28
}

enum EFER {
  static let LME: UInt64 = 1 << 8
  static let LMA: UInt64 = 1 << 10
  static let NXE: UInt64 = 1 << 11
}

/// All registers, by name.
struct Registers {
  private(set) var values = Register.allCases.map(\.definition.preset)

  subscript(_ register: Register) -> UInt64 {
    get { values[register.rawValue] }
    set { values[register.rawValue] = newValue }
  }

  init() {}
  init(_ values: [UInt64]) { self.values = values }

  var isPaged: Bool { self[.cr0] & CR0.PG != 0 }
  var isLongMode: Bool { isPaged && self[.efer] & EFER.LME != 0 }
  func has(_ bit: UInt64) -> Bool { self[.cr4] & bit != 0 }

  /// How the guest, or the only system, translates.
  var paging: X86Format? {
    guard isPaged else { return nil }
    if isLongMode { return has(CR4.LA57) ? .fiveLevel : .fourLevel }
    return has(CR4.PAE) ? .pae : .twoLevel
  }

  /// The PCID, 0 unless CR4.PCIDE.
  var pcid: UInt32 { has(CR4.PCIDE) ? UInt32(self[.cr3] & 0xfff) : 0 }

  /// Where the root table lies.
  var root: UInt64 {
    switch paging {
    case .pae: self[.cr3] & 0xffff_ffe0
    case .twoLevel: self[.cr3] & 0xffff_f000
    default: self[.cr3] & EntryBits.address
    }
  }
}
