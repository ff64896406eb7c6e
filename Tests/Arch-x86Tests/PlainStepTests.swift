// What formats say of plain entries in few steps, against what they say in full.
import PagingKit
import Testing

@testable import Arch_x86

@Suite struct `A plain entry` {
  /// Entries that are near to plain ones: only some bits differ.
  private func entry(_ random: inout SplitMix64) -> Entry {
    var bits: UInt64 = random.next(below: 2) == 0 ? 0x21 : 0x61
    if random.next(below: 3) == 0 { bits |= 0x80 }
    for _ in 0..<random.next(below: 4) { bits ^= 1 << random.next(below: 64) }
    if random.next(below: 4) == 0 { bits |= random.next() & 0x000f_ffff_ffff_f000 }
    return Entry(bits)
  }

  private func compare<Format: PageTableFormat>(_ format: Format.Type, seed: UInt64) where Format.Controls == UnsafePointer<EntryControls> {
    var random = SplitMix64(seed: seed)
    withUnsafeTemporaryAllocation(of: EntryControls.self, capacity: 1) { place in
      for _ in 0..<40_000 {
        var controls = EntryControls()
        controls.reserved = random.next(below: 2) == 0 ? 1 << 63 | 0xf << 48 : random.next() & random.next() & ~0xfff
        controls.reservedUpper = random.next(below: 2) << 8
        controls.reserved2MiB = 0x1f_e000
        controls.reserved1GiB = random.next(below: 2) == 0 ? .max : 0x3fff_e000
        controls.reservedPDPTE = 0x1e6
        place.baseAddress!.initialize(to: controls)
        let entry = entry(&random)
        let level = Int(random.next(below: UInt64(Format.radix.levelCount)))
        let isWritten = random.next(below: 2) == 1
        let pointer = UnsafePointer(place.baseAddress!)
        let short = Format.plainStep(entry, at: level, isWritten: isWritten, pointer)
        let full = Format.markedStep(entry, at: level, isWritten: isWritten, pointer)
        #expect("\(short)" == "\(full)", "seed \(seed), level \(level), written \(isWritten), entry \(String(entry.bits, radix: 16))")
        if "\(short)" != "\(full)" { return }
      }
    }
  }

  @Test func `is the same in few steps as in full, in 4-level paging`() { compare(FourLevel.self, seed: 41) }
  @Test func `is the same in few steps as in full, in 5-level paging`() { compare(FiveLevel.self, seed: 51) }
  @Test func `is the same in few steps as in full, in PAE paging`() { compare(PAE.self, seed: 31) }
}
