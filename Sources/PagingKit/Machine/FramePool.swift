// Physical frames of any size, given out and taken back.

/// A buddy allocator over a range of addresses, with blocks of 4 KiB and up.
///
/// Addresses come lowest first, and the same requests get the same frames on every run. What was never asked for costs
/// nothing, however large the range.
struct FramePool {
  static let smallestShift = 12

  /// Never given out: from here to `end`.
  private var next: UInt64
  private let end: UInt64
  /// Blocks that were freed, by log2 of their size. An entry counts only while `isFree` has it.
  private var stacks = [[UInt64]](repeating: [], count: 64)
  private var isFree = [Set<UInt64>](repeating: [], count: 64)
  private var freeBlockCount = 0

  init(_ range: Range<UInt64>) {
    next = range.lowerBound
    end = range.upperBound
  }

  /// A block aligned to its own size; `isFresh` if nobody ever had it. Nil if there is none.
  mutating func allocate(shift: Int) -> (address: UInt64, isFresh: Bool)? {
    if let reused = takeFreed(shift) { return (reused, false) }
    let size: UInt64 = 1 << UInt64(shift)
    let start = next.addingReportingOverflow(size - 1)
    let aligned = start.partialValue & ~(size - 1)
    guard !start.overflow, aligned <= end, end - aligned >= size else { return nil }
    releaseGap(next, aligned)
    next = aligned + size
    return (aligned, true)
  }

  mutating func release(_ address: UInt64, shift: Int) {
    var address = address
    var shift = shift
    while shift < 62, isFree[shift].remove(address ^ (1 << UInt64(shift))) != nil {
      address &= ~(1 << UInt64(shift))
      shift += 1
      freeBlockCount -= 1
    }
    isFree[shift].insert(address)
    freeBlockCount += 1
    stacks[shift].append(address)
  }

  /// A freed block of the size, or the lower part of a larger one.
  private mutating func takeFreed(_ shift: Int) -> UInt64? {
    guard freeBlockCount > 0 else { return nil }
    for larger in shift..<63 {
      guard let block = popFreed(larger) else { continue }
      for part in (shift..<larger).reversed() { release(block + 1 << UInt64(part), shift: part) }
      return block
    }
    return nil
  }

  private mutating func popFreed(_ shift: Int) -> UInt64? {
    while let block = stacks[shift].popLast() {
      if isFree[shift].remove(block) != nil {
        freeBlockCount -= 1
        return block
      }
    }
    return nil
  }

  /// What alignment skipped is there for smaller requests.
  private mutating func releaseGap(_ start: UInt64, _ end: UInt64) {
    var start = start
    while start < end {
      let shift = min(start.trailingZeroBitCount, 63 - (end - start).leadingZeroBitCount)
      release(start, shift: shift)
      start += 1 << UInt64(shift)
    }
  }
}
