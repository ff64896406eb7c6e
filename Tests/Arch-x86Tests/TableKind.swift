// The shapes of tables, as far as building them by hand needs it. The judge does not use this.

/// A kind of paging structures.
enum TableKind: CaseIterable {
  case twoLevel, pae, fourLevel, fiveLevel, ept4, ept5

  var levels: Int {
    switch self {
    case .twoLevel: 2
    case .pae: 3
    case .fourLevel, .ept4: 4
    case .fiveLevel, .ept5: 5
    }
  }
  var indexBits: Int { self == .twoLevel ? 10 : 9 }
  var size: UInt64 { self == .twoLevel ? 4 : 8 }
  var isEPT: Bool { self == .ept4 || self == .ept5 }
  var isLong: Bool { self == .fourLevel || self == .fiveLevel }
  /// Bits of the address that is translated.
  var inputBits: Int { self == .pae ? 32 : 12 + levels * indexBits }
  /// What makes an entry present.
  var present: UInt64 { isEPT ? 0x407 : 1 }

  func shift(_ level: Int) -> Int { 12 + level * indexBits }
  func index(_ address: UInt64, _ level: Int) -> UInt64 {
    let bits = self == .pae && level == 2 ? 2 : indexBits
    return address >> UInt64(shift(level)) & (1 << UInt64(bits) - 1)
  }

  /// Levels at which a leaf may stand.
  func leafLevels(hasPSE: Bool) -> [Int] {
    switch self {
    case .twoLevel: hasPSE ? [0, 1] : [0]
    case .pae: [0, 1]
    default: [0, 1, 2]
    }
  }

  func isLeaf(_ entry: UInt64, _ level: Int, hasPSE: Bool = true) -> Bool {
    level == 0 || leafLevels(hasPSE: hasPSE).contains(level) && entry >> 7 & 1 == 1
  }

  /// The address that an entry holds.
  func address(_ entry: UInt64, isLargeLeaf: Bool, _ level: Int) -> UInt64 {
    if self == .twoLevel { return isLargeLeaf ? entry & 0xffc0_0000 | (entry >> 13 & 0xff) << 32 : entry & 0xffff_f000 }
    let address = entry & 0xf_ffff_ffff_f000
    return isLargeLeaf ? address & ~(1 << UInt64(shift(level)) - 1) : address
  }

  /// Address bits of an entry.
  func field(_ address: UInt64, isLargeLeaf: Bool) -> UInt64 {
    self == .twoLevel && isLargeLeaf ? address & 0xffc0_0000 | (address >> 32 & 0xff) << 13 : address
  }
}
