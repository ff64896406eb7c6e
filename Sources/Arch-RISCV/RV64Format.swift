// Entries of 8 bytes: Sv39, Sv48, Sv57 and their second-stage forms.
import PagingKit

/// "Sv39 page table entry": 44 bits of page number, Svpbmt and Svnapot above.
protocol RV64Format: RISCVFormat {}

extension RV64Format {
  static var PPN: Field { Field("PPN", 53, 10) }
  static var reserved: Field { Field("Reserved", 60, 54) }
  static var upperFields: [Field] { [N, PBMT, reserved] }
}

extension EntryControls {
  /// For entries of 8 bytes.
  static func rv64(hasPBMT: Bool, hasNAPOT: Bool, hasShadowStack: Bool, updates: Bool, addressBits: UInt64) -> EntryControls {
    let reserved = Field("Reserved", 60, 54).mask
    let tooWide: UInt64 = addressBits < 64 ? ~((1 << addressBits) - 1) : 0
    let special = Sv39.N.mask | Sv39.PBMT.mask
    return EntryControls(
      pointerReserved: special | reserved | Sv39.D.mask | Sv39.A.mask | Sv39.U.mask,
      leafReserved: reserved | (hasPBMT ? 0 : Sv39.PBMT.mask) | (hasNAPOT ? 0 : Sv39.N.mask),
      hasShadowStack: hasShadowStack, updates: updates, tooWide: tooWide
    ).withMasks(Sv39.self, leaf: reserved | special)
  }

  /// For entries of 4 bytes.
  static func rv32(hasShadowStack: Bool, updates: Bool, addressBits: UInt64) -> EntryControls {
    EntryControls(
      pointerReserved: Sv32.D.mask | Sv32.A.mask | Sv32.U.mask, leafReserved: 0, hasShadowStack: hasShadowStack,
      updates: updates, tooWide: addressBits < 64 ? ~((1 << addressBits) - 1) : 0
    ).withMasks(Sv32.self, leaf: 0)
  }

  /// What plain entries are told by. A page number lies two bits lower in an entry than in an address.
  private func withMasks<Format: RISCVFormat>(_ format: Format.Type, leaf: UInt64) -> EntryControls {
    var controls = self
    let kind = Format.V.mask | Format.R.mask | Format.W.mask | Format.X.mask
    controls.pointerMask = kind | pointerReserved | tooWide >> 2 & Format.PPN.mask
    controls.leafMask = leaf
    return controls
  }
}
