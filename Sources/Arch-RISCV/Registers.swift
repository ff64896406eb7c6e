// The registers that translation looks at, and those that a trap writes.
import CPagingKit
import PagingKit

/// Indices into the declared registers.
enum Register: Int, CaseIterable {
  case satp, mstatus, menvcfg, senvcfg, vsatp, hgatp, vsstatus, hstatus, henvcfg
  case scause, stval, htval, htinst, vscause, vstval, mcause, mtval, mtval2, mtinst
}

/// Fields of the registers, by the manual's names. What has no effect here is known, kept and read back.
enum CSR {
  // mstatus, with the bits of mstatush above for RV32; sstatus and vsstatus have the same places.
  static let SPP = Field("SPP", 8)
  static let MPP = Field("MPP", 12, 11)
  static let MPRV = Field("MPRV", 17)
  static let SUM = Field("SUM", 18)
  static let MXR = Field("MXR", 19)
  static let TVM = Field("TVM", 20)
  static let UXL = Field("UXL", 33, 32)
  static let SXL = Field("SXL", 35, 34)
  static let mGVA = Field("GVA", 38)
  static let MPV = Field("MPV", 39)
  // hstatus
  static let GVA = Field("GVA", 6)
  static let SPV = Field("SPV", 7)
  static let SPVP = Field("SPVP", 8)
  static let HU = Field("HU", 9)
  static let VTVM = Field("VTVM", 20)
  static let VSXL = Field("VSXL", 33, 32)
  static let HUPMM = Field("HUPMM", 49, 48)
  // menvcfg, henvcfg, senvcfg
  static let SSE = Field("SSE", 3)
  static let PMM = Field("PMM", 33, 32)
  static let ADUE = Field("ADUE", 61)
  static let PBMTE = Field("PBMTE", 62)
  // satp, vsatp, hgatp for XLEN 64 and 32
  static let MODE = Field("MODE", 63, 60)
  static let ASID = Field("ASID", 59, 44)
  static let VMID = Field("VMID", 57, 44)
  static let PPN = Field("PPN", 43, 0)
  static let MODE32 = Field("MODE", 31)
  static let ASID32 = Field("ASID", 30, 22)
  static let VMID32 = Field("VMID", 28, 22)
  static let PPN32 = Field("PPN", 21, 0)

  /// sstatus shows these bits of mstatus: SIE, SPIE, SPP, VS, FS, XS, SUM, MXR, UXL, SD.
  static let sstatus: UInt64 = 0x8000_0003_000d_e722
  static let sstatus32: UInt64 = 0x0000_0000_800d_e722
  /// And mstatus besides: MIE, MPIE, MPP, MPRV, TVM, TW, TSR, SXL, GVA, MPV.
  static let mstatus: UInt64 = sstatus | 0x0000_00cc_0072_1888
  static let mstatus32: UInt64 = sstatus32 | 0x0000_00c0_0072_1888
  /// GVA, SPV, SPVP, HU, VGEIN, VTVM, VTW, VTSR, VSXL.
  static let hstatus: UInt64 = 0x0000_0003_0073_f3c0
  static let hstatus32: UInt64 = 0x0000_0000_0073_f3c0
  /// FIOM, CBIE, CBCFE, CBZE; and STCE of menvcfg and henvcfg.
  static let senvcfg: UInt64 = 0x0000_0000_0000_00f1
  static let menvcfg: UInt64 = senvcfg | 1 << 63
}

/// How satp, vsatp and hgatp select a format.
enum Mode: UInt8 {
  case bare, sv32, sv39, sv48, sv57

  static let names = ["bare", "sv32", "sv39", "sv48", "sv57"]
  var name: String { Self.names[Int(rawValue)] }

  /// The MODE field of 64-bit registers.
  init?(field: UInt64) {
    switch field {
    case 0: self = .bare
    case 8: self = .sv39
    case 9: self = .sv48
    case 10: self = .sv57
    default: return nil
    }
  }

  var field: UInt64 {
    switch self {
    case .bare: 0
    case .sv32: 1
    case .sv39: 8
    case .sv48: 9
    case .sv57: 10
    }
  }
}

/// satp, vsatp or hgatp, taken apart.
struct AddressTranslation: Equatable {
  var mode = Mode.bare
  var identifier: UInt32 = 0
  var root: UInt64 = 0

  /// A value that `RegisterRules` let through.
  init(_ value: UInt64, is32: Bool, isGuest: Bool = false) {
    let entry = Entry(value)
    if is32 {
      mode = entry.has(CSR.MODE32) ? .sv32 : .bare
      identifier = UInt32(entry[isGuest ? CSR.VMID32 : CSR.ASID32])
      root = entry[CSR.PPN32] << 12
    } else {
      mode = Mode(field: entry[CSR.MODE]) ?? .bare
      identifier = UInt32(entry[isGuest ? CSR.VMID : CSR.ASID])
      root = entry[CSR.PPN] << 12
    }
  }

  init(mode: Mode, identifier: UInt32, root: UInt64) {
    self.mode = mode
    self.identifier = identifier
    self.root = root
  }

  /// The register's value.
  func value(is32: Bool) -> UInt64 {
    var entry = Entry(0)
    entry[is32 ? CSR.MODE32 : CSR.MODE] = mode.field
    entry[is32 ? CSR.ASID32 : CSR.ASID] = UInt64(identifier)
    entry[is32 ? CSR.PPN32 : CSR.PPN] = root >> 12
    return entry.bits
  }
}

/// All register values.
struct Registers: Equatable {
  var values = [UInt64](repeating: 0, count: Register.allCases.count)

  subscript(_ register: Register) -> UInt64 {
    get { values[register.rawValue] }
    set { values[register.rawValue] = newValue }
  }

  func has(_ register: Register, _ field: Field) -> Bool { Entry(self[register]).has(field) }
  func field(_ register: Register, _ field: Field) -> UInt64 { Entry(self[register])[field] }
  mutating func set(_ register: Register, _ field: Field, _ value: UInt64) {
    var entry = Entry(self[register])
    entry[field] = value
    self[register] = entry.bits
  }

  static let definitions: [RegisterDefinition] = Register.allCases.map { $0.definition }
}

extension Register {
  /// Known bits are those of a model with every feature.
  var definition: RegisterDefinition {
    let envcfg = CSR.SSE.mask | CSR.PMM.mask
    let updates = CSR.ADUE.mask | CSR.PBMTE.mask
    return switch self {
    case .satp: RegisterDefinition("satp", "supervisor address translation: MODE, ASID, PPN; 32 bits with XLEN 32")
    case .mstatus: RegisterDefinition("mstatus", writable: CSR.mstatus | CSR.mstatus32, "machine status, with mstatush as its upper half: SUM, MXR, MPRV, MPP, MPV, TVM")
    case .menvcfg: RegisterDefinition("menvcfg", writable: CSR.menvcfg | envcfg | updates, "machine environment configuration: ADUE, PBMTE, PMM, SSE")
    case .senvcfg: RegisterDefinition("senvcfg", writable: CSR.senvcfg | envcfg, "supervisor environment configuration: PMM, SSE of user modes")
    case .vsatp: RegisterDefinition("vsatp", "first stage of a guest: MODE, ASID, PPN")
    case .hgatp: RegisterDefinition("hgatp", writable: ~(0b11 << 58), "second stage: MODE, VMID, PPN")
    case .vsstatus: RegisterDefinition("vsstatus", writable: CSR.sstatus | CSR.sstatus32, "status of the guest's supervisor: SUM, MXR")
    case .hstatus: RegisterDefinition("hstatus", writable: CSR.hstatus | CSR.HUPMM.mask, "hypervisor status: SPVP, HU, VTVM, HUPMM")
    case .henvcfg: RegisterDefinition("henvcfg", writable: CSR.menvcfg | envcfg | updates, "hypervisor environment configuration: ADUE, PBMTE of the guest's first stage, PMM, SSE")
    case .scause: RegisterDefinition("scause", "cause of the last trap into S- or HS-mode")
    case .stval: RegisterDefinition("stval", "address of the last trap into S- or HS-mode")
    case .htval: RegisterDefinition("htval", "guest physical address of the last trap into HS-mode, shifted right by 2")
    case .htinst: RegisterDefinition("htinst", "pseudoinstruction of the last trap into HS-mode")
    case .vscause: RegisterDefinition("vscause", "cause of the last trap into VS-mode")
    case .vstval: RegisterDefinition("vstval", "address of the last trap into VS-mode")
    case .mcause: RegisterDefinition("mcause", "cause of the last trap into M-mode")
    case .mtval: RegisterDefinition("mtval", "address of the last trap into M-mode")
    case .mtval2: RegisterDefinition("mtval2", "guest physical address of the last trap into M-mode, shifted right by 2")
    case .mtinst: RegisterDefinition("mtinst", "pseudoinstruction of the last trap into M-mode")
    }
  }

  var name: String { definition.name }
}
