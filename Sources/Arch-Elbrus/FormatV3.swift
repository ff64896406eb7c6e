// The page table of ISET v3 to v5. Kernel header pgtable-v3.h.
import PagingKit

/// V3 entries, the same bits at every level: a 40-bit physical address, VALID and the rights above it.
enum FormatV3: ElbrusFormat {
  static let CUI = Field("CUI", 63, 48)
  static let INTL_WP = Field("INTL_WP", 47)
  static let INTL_PR = Field("INTL_PR", 46)
  static let SEC_MAP = Field("SEC_MAP", 45)
  static let NON_EX = Field("NON_EX", 43)
  static let INT_PR = Field("INT_PR", 42)
  static let PV = Field("PV", 41)
  static let VALID = Field("VALID", 40)
  static let AVAIL = Field("AVAIL", 11)
  static let NWA = Field("NWA", 10)
  static let CD2 = Field("CD2", 9)
  static let G = Field("G", 8)
  static let HUGE = Field("HUGE", 7)
  static let D = Field("D", 6)
  static let A = Field("A", 5)
  static let CD1 = Field("CD1", 4)
  static let PWT = Field("PWT", 3)
  static let W = Field("W", 1)
  static let P = Field("P", 0)

  @inline(__always) static var frameMask: UInt64 { 0xff_ffff_f000 }
  @inline(__always) static var validBit: UInt64 { 1 << 40 }

  /// VALID, then P, then what the entry leads to.
  @inline(__always)
  static func step(_ entry: Entry, at level: Int, _ controls: UnsafePointer<EntryControls>) -> Step {
    let usable = validBit | EntryBits.present
    guard entry.bits & usable == usable else { return missing(entry, controls) }
    return target(entry.bits, level, controls)
  }

  @inline(never)
  static func missing(_ entry: Entry, _ controls: UnsafePointer<EntryControls>) -> Step {
    if controls.pointee.isPresentFirst && entry.bits & EntryBits.present == 0 { return .absent }
    return entry.bits & validBit == 0 ? .refused(.invalid) : .absent
  }

  /// Leaves decide alone: kernels set PV and NON_EX in the directories of user space too.
  @inline(__always)
  static func rights(of entry: Entry, at level: Int, isLeaf: Bool, _ controls: UnsafePointer<EntryControls>) -> Rights {
    guard isLeaf else { return .all }
    let bits = entry.bits
    let collected = 0xe1 | bits & 2 | ((~bits &>> 43) & 1) &<< 2 | ((~bits &>> 41) & 1) &<< 3 | (bits & EntryBits.dirty) &>> 2
    return Rights(rawValue: UInt8(truncatingIfNeeded: collected | (controls.pointee.isAlwaysDirty ? 0x10 : 0)))
  }

  @inline(__always)
  static func attributes(of leaf: Entry, _ controls: UnsafePointer<EntryControls>) -> UInt8 {
    let bits = leaf.bits
    let type = (bits &>> 3) & 3 | ((bits &>> 9) & 1) &<< 2
    let flags = ((bits &>> 42) & 1) &<< 3 | ((bits &>> 10) & 1) &<< 4 | ((bits &>> 8) & 1) &<< 5 | bits & EntryBits.dirty
    return UInt8(truncatingIfNeeded: type | flags)
  }

  @inline(__always)
  static func isGlobal(_ leaf: Entry, _ controls: UnsafePointer<EntryControls>) -> Bool { leaf.bits & EntryBits.global != 0 }

  private static let top = [
    CUI, INTL_WP, INTL_PR, SEC_MAP, Field("reserved", 44), NON_EX, INT_PR, PV, VALID,
  ]
  private static let low = [AVAIL, NWA, CD2, G, HUGE, D, A, CD1, PWT, Field("UU2", 2), W, P]

  static let definition = FormatDefinition(
    name: "v3", title: "Page table of ISET v3 to v5", reference: KernelHeader.pageTableV3, radix: radix, outputBits: 40,
    isSignExtended: false, attributes: NeutralAttributes.firstStage, levels: ElbrusLevels.names,
    layouts: ElbrusLevels.layouts(top: top, frameTop: 39, low: low))
}
