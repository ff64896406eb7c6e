// The tables from guest-physical to physical addresses, ISET v6 and later. Kernel header kvm/pgtable-tdp.h.
import PagingKit

/// GP entries: as V6, without VALID, PV, G, INT_PR and NWA, and with a rule for combining memory types.
enum FormatGP: ElbrusFormat {
  static let NON_EX = Field("NON_EX", 63)
  static let MT = Field("MT", 62, 60)
  static let SW2 = Field("SW2", 11)
  static let SW1 = Field("SW1", 10)
  static let MTCR = Field("MTCR", 9, 8)
  static let HUGE = Field("HUGE", 7)
  static let D = Field("D", 6)
  static let A = Field("A", 5)
  static let W = Field("W", 1)
  static let P = Field("P", 0)

  @inline(__always) static var frameMask: UInt64 { 0xffff_ffff_f000 }

  @inline(__always)
  static func step(_ entry: Entry, at level: Int, _ controls: UnsafePointer<EntryControls>) -> Step {
    guard entry.bits & EntryBits.present != 0 else { return .absent }
    return target(entry.bits, level, controls)
  }

  /// The leaf's, in the places of the second stage.
  @inline(__always)
  static func rights(of entry: Entry, at level: Int, isLeaf: Bool, _ controls: UnsafePointer<EntryControls>) -> Rights {
    guard isLeaf else { return .all }
    let bits = entry.bits
    let collected = 0x2f | (bits & 2) &<< 5 | (~bits &>> 63) &<< 7 | (bits & EntryBits.dirty) &>> 2
    return Rights(rawValue: UInt8(truncatingIfNeeded: collected | (controls.pointee.isAlwaysDirty ? 0x10 : 0)))
  }

  private static let top = [NON_EX, MT, Field("zero", 59, 48)]
  private static let low = [SW2, SW1, MTCR, HUGE, D, A, Field("zero", 4, 2), W, P]

  static let definition = FormatDefinition(
    name: "gp", title: "Guest-physical page table", reference: KernelHeader.guestPhysicalTable, radix: radix, stage: 2,
    outputBits: 48, isSignExtended: false, attributes: NeutralAttributes.secondStage, levels: ElbrusLevels.names,
    layouts: ElbrusLevels.layouts(top: top, frameTop: 47, low: low))
}
