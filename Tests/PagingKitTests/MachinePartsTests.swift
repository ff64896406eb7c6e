import CPagingKit
@testable import PagingKit
import Testing

@Suite struct `Frames` {
  @Test(arguments: [UInt64(1), 2, 3])
  func `never overlap, are aligned to their size, and all come back`(_ seed: UInt64) {
    let range: Range<UInt64> = 0x5000..<0x80_3000
    var pool = FramePool(range)
    var random = SplitMix64(seed: seed)
    var owned: [(UInt64, Int)] = []
    var pages: Set<UInt64> = []
    for _ in 0..<4000 {
      if random.next(below: 5) < 3 {
        let shift = 12 + Int(random.next(below: 6))
        guard let (address, _) = pool.allocate(shift: shift) else { continue }
        #expect(address & ((1 << UInt64(shift)) - 1) == 0)
        #expect(address >= range.lowerBound && address + (1 << UInt64(shift)) <= range.upperBound)
        for page in address >> 12..<(address + 1 << UInt64(shift)) >> 12 { #expect(pages.insert(page).inserted) }
        owned.append((address, shift))
      } else if !owned.isEmpty {
        let (address, shift) = owned.remove(at: Int(random.next(below: UInt64(owned.count))))
        for page in address >> 12..<(address + 1 << UInt64(shift)) >> 12 { pages.remove(page) }
        pool.release(address, shift: shift)
      }
    }
    for (address, shift) in owned { pool.release(address, shift: shift) }
    var count = 0
    while pool.allocate(shift: 12) != nil { count += 1 }
    #expect(count == (range.upperBound - range.lowerBound) >> 12)
  }

  @Test func `of a large size can be had again after small ones came back`() {
    var pool = FramePool(0..<0x40_0000)
    let small = (0..<1024).map { _ in pool.allocate(shift: 12)!.address }
    #expect(pool.allocate(shift: 21) == nil)
    for address in small { pool.release(address, shift: 12) }
    #expect(pool.allocate(shift: 22)?.address == 0)
  }
}

@Suite struct `Areas of a space` {
  @Test(arguments: [UInt64(1), 2, 3])
  func `agree with a list of pages`(_ seed: UInt64) {
    var areas = Areas()
    var model = [PageAttributes?](repeating: nil, count: 64)
    var random = SplitMix64(seed: seed)
    for _ in 0..<2000 {
      let first = Int(random.next(below: 64)), last = min(63, first + Int(random.next(below: 12)))
      let range = PageRange<Virtual>(Address(UInt64(first) << 12), byteCount: UInt64(last - first + 1) << 12)
      let attributes = PageAttributes(PageAttributes.Flags(rawValue: UInt32(random.next(below: 16))))
      switch random.next(below: 3) {
      case 0:
        areas.insert(Area(range, attributes))
        for page in first...last { model[page] = attributes }
      case 1:
        areas.remove(range)
        for page in first...last { model[page] = nil }
      default:
        areas.protect(range, attributes)
        for page in first...last where model[page] != nil { model[page] = attributes }
      }
      for page in 0..<64 { #expect(areas.area(holding: Address(UInt64(page) << 12 | 0xfff))?.attributes == model[page]) }
      for (lower, upper) in zip(areas.list, areas.list.dropFirst()) { #expect(lower.range.last < upper.range.start) }
    }
  }

  @Test func `may reach to the last address`() {
    var areas = Areas()
    areas.insert(Area(PageRange(from: Address(0), through: Address(.max)), .program))
    areas.remove(PageRange(from: Address(0), through: Address(0xfff)))
    areas.remove(PageRange(from: Address(.max - 0xfff), through: Address(.max)))
    #expect(areas.list.map(\.range) == [PageRange(from: Address(0x1000), through: Address(.max - 0x1000))])
  }
}
