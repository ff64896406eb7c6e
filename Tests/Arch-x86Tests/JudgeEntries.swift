// Reserved bits, format by format. SDM 3A: figures and tables of 32-bit, PAE, 4-level and 5-level paging; 3C: formats of
// EPT entries.

extension JudgedProcessor {
  /// Bits 51:MAXPHYADDR.
  var reservedAddress: UInt64 {
    var mask: UInt64 = 0
    var bit = maxPhysical
    while bit < 52 {
      mask |= 1 << bit
      bit += 1
    }
    return mask
  }

  /// A page-directory entry of 32-bit paging that maps 4 MiB. With PSE-36 bits 20:13 are address bits 39:32, as far as
  /// MAXPHYADDR goes, at most 40; the bits above, up to 21, are reserved.
  func isReserved4MiB(_ entry: UInt64) -> Bool {
    let m = min(maxPhysical, 40)
    var bit = m - 19
    while bit <= 21 {
      if entry >> bit & 1 == 1 { return true }
      bit += 1
    }
    return false
  }

  func address4MiB(_ entry: UInt64) -> UInt64 { entry & 0xffc0_0000 | (entry >> 13 & 0xff) << 32 }

  /// A page-directory-pointer-table entry of PAE paging.
  func isReservedPointer(_ entry: UInt64) -> Bool {
    entry & (0b11 << 1) != 0 || entry & (0b1111 << 5) != 0 || entry & reservedAddress != 0 || entry >> 52 != 0
  }

  /// Level 1 is the page directory, 0 the page table.
  func isReservedPAE(_ entry: UInt64, level: UInt64, nxe: Bool) -> Bool {
    if entry & reservedAddress != 0 { return true }
    if entry >> 52 & 0x7ff != 0 { return true }
    if !nxe && entry >> 63 == 1 { return true }
    if level == 1 && entry >> 7 & 1 == 1 && entry & 0x1f_e000 != 0 { return true }
    return false
  }

  /// Levels 4 to 0: PML5E, PML4E, PDPTE, PDE, PTE. `reservesBit8`: AMD, without nested paging.
  func isReservedLong(_ entry: UInt64, level: UInt64, nxe: Bool, reservesBit8: Bool) -> Bool {
    if entry & reservedAddress != 0 { return true }
    if !nxe && entry >> 63 == 1 { return true }
    let isLarge = entry >> 7 & 1 == 1
    if level >= 3 && isLarge { return true }
    if level == 2 && isLarge {
      if !hasPage1GiB { return true }
      if entry & 0x3fff_e000 != 0 { return true }
    }
    if level == 1 && isLarge && entry & 0x1f_e000 != 0 { return true }
    if reservesBit8 && entry >> 8 & 1 == 1 && (level >= 3 || level == 2 && !isLarge) { return true }
    return false
  }

  /// Levels as above. Not present is asked first.
  func isMisconfigured(ept entry: UInt64, level: UInt64) -> Bool {
    let read = entry & 1 == 1, write = entry >> 1 & 1 == 1, execute = entry >> 2 & 1 == 1
    if write && !read { return true }
    if execute && !read && !hasEPTExecuteOnly { return true }
    if hasModeBasedExecute && entry >> 10 & 1 == 1 && !read && !hasEPTExecuteOnly { return true }
    if entry & reservedAddress != 0 { return true }
    let isLarge = entry >> 7 & 1 == 1
    switch level {
    case 3, 4:
      return entry >> 3 & 0x1f != 0
    case 2:
      if !isLarge { return entry >> 3 & 0xf != 0 }
      if !hasEPT1GiB { return true }
      if entry >> 12 & 0x3ffff != 0 { return true }
    case 1:
      if !isLarge { return entry >> 3 & 0xf != 0 }
      if !hasEPT2MiB { return true }
      if entry >> 12 & 0x1ff != 0 { return true }
    default: break
    }
    let type = entry >> 3 & 7
    return type == 2 || type == 3 || type == 7
  }
}
