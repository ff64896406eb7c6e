// Who makes an access: privilege modes, and the instructions that access memory as another mode would.
import CPagingKit
import PagingKit

/// Indices into the declared privileges.
enum Privilege: Int, CaseIterable {
  case u, s, m, vu, vs
  case uHLV, sHLV, uHLVX, sHLVX, uHSV, sHSV
  case uSS, sSS, vuSS, vsSS

  /// HLVX: execute permission takes the place of read permission.
  static let hlvx: UInt32 = 1 << uHLVX.rawValue | 1 << sHLVX.rawValue
  /// Shadow-stack instructions.
  static let shadowStack: UInt32 = 1 << uSS.rawValue | 1 << sSS.rawValue | 1 << vuSS.rawValue | 1 << vsSS.rawValue

  var bit: UInt32 { 1 << UInt32(rawValue) }

  /// The mode that executes the instruction.
  var mode: Privilege {
    switch self {
    case .uHLV, .uHLVX, .uHSV, .uSS: .u
    case .sHLV, .sHLVX, .sHSV, .sSS: .s
    case .vuSS: .vu
    case .vsSS: .vs
    default: self
    }
  }

  /// V of that mode.
  var isVirtual: Bool { mode == .vu || mode == .vs }
  var isHypervisorAccess: Bool { (Privilege.uHLV.rawValue...Privilege.sHSV.rawValue).contains(rawValue) }
  var isShadowStack: Bool { Self.shadowStack & bit != 0 }

  /// Whether an instruction of this kind exists: HSV only stores, HLV and HLVX only load, nothing but a mode fetches.
  func allows(kind: UInt8) -> Bool {
    switch self {
    case .uHLV, .sHLV, .uHLVX, .sHLVX: UInt32(kind) == PGK_READ
    case .uHSV, .sHSV: UInt32(kind) == PGK_WRITE
    case .uSS, .sSS, .vuSS, .vsSS: [PGK_READ, PGK_WRITE, PGK_MODIFY].contains(UInt32(kind))
    default: kind < PGK_SPECIAL
    }
  }

  static let definitions: [NamedMeaning] = [
    NamedMeaning("U", "user mode"),
    NamedMeaning("S", "supervisor mode; HS-mode with the H extension"),
    NamedMeaning("M", "machine mode: not translated, but for loads and stores under mstatus.MPRV"),
    NamedMeaning("VU", "virtual user mode"),
    NamedMeaning("VS", "virtual supervisor mode"),
    NamedMeaning("U.hlv", "HLV executed in U-mode; hstatus.SPVP says as which mode it loads"),
    NamedMeaning("S.hlv", "HLV executed in HS-mode"),
    NamedMeaning("U.hlvx", "HLVX executed in U-mode"),
    NamedMeaning("S.hlvx", "HLVX executed in HS-mode"),
    NamedMeaning("U.hsv", "HSV executed in U-mode"),
    NamedMeaning("S.hsv", "HSV executed in HS-mode"),
    NamedMeaning("U.ss", "shadow-stack instruction in U-mode"),
    NamedMeaning("S.ss", "shadow-stack instruction in S-mode"),
    NamedMeaning("VU.ss", "shadow-stack instruction in VU-mode"),
    NamedMeaning("VS.ss", "shadow-stack instruction in VS-mode"),
  ]
}
