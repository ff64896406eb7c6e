// The page table of ISET v6 and later, with CORE_MODE.pt_v6. Kernel header pgtable-v6.h.
import PagingKit

/// V6 entries, the same bits at every level: a 48-bit physical address, VALID and PV below it, memory type and NON_EX above.
enum FormatV6: ElbrusFormat {
  static let NON_EX = Field("NON_EX", 63)
  static let MT = Field("MT", 62, 60)
  static let SW2 = Field("SW2", 11)
  static let SW1 = Field("SW1", 10)
  static let NWA = Field("NWA", 9)
  static let G = Field("G", 8)
  static let HUGE = Field("HUGE", 7)
  static let D = Field("D", 6)
  static let A = Field("A", 5)
  static let INT_PR = Field("INT_PR", 4)
  static let VALID = Field("VALID", 3)
  static let PV = Field("PV", 2)
  static let W = Field("W", 1)
  static let P = Field("P", 0)

  @inline(__always) static var frameMask: UInt64 { 0xffff_ffff_f000 }
  @inline(__always) static var validBit: UInt64 { 1 << 3 }

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
    let collected = 0xe1 | bits & 2 | (~bits &>> 63) &<< 2 | (~bits & 4) &<< 1 | (bits & EntryBits.dirty) &>> 2
    return Rights(rawValue: UInt8(truncatingIfNeeded: collected | (controls.pointee.isAlwaysDirty ? 0x10 : 0)))
  }

  @inline(__always)
  static func attributes(of leaf: Entry, _ controls: UnsafePointer<EntryControls>) -> UInt8 {
    let bits = leaf.bits
    let flags = ((bits &>> 4) & 1) &<< 3 | ((bits &>> 9) & 1) &<< 4 | ((bits &>> 8) & 1) &<< 5 | bits & EntryBits.dirty
    return UInt8(truncatingIfNeeded: (bits &>> 60) & 7 | flags)
  }

  @inline(__always)
  static func isGlobal(_ leaf: Entry, _ controls: UnsafePointer<EntryControls>) -> Bool { leaf.bits & EntryBits.global != 0 }

  private static let top = [NON_EX, MT, Field("zero", 59, 48)]
  private static let low = [SW2, SW1, NWA, G, HUGE, D, A, INT_PR, VALID, PV, W, P]

  static let definition = FormatDefinition(
    name: "v6", title: "Page table of ISET v6 and later", reference: KernelHeader.pageTableV6, radix: radix, outputBits: 48,
    isSignExtended: false, attributes: NeutralAttributes.firstStage, levels: ElbrusLevels.names,
    layouts: ElbrusLevels.layouts(top: top, frameTop: 47, low: low))
}
