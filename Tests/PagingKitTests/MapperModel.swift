import PagingKit
import Testing

/// What the tables should say, kept as a dictionary from the first 4 KiB page of each mapping.
struct DictionaryModel {
  struct Page: Equatable {
    var output: UInt64
    var shift: Int
    var flags: PageAttributes.Flags
  }

  let layout: TableLayout
  var pages: [UInt64: Page] = [:]

  init(_ layout: TableLayout) { self.layout = layout }

  /// The page that holds an address.
  func page(holding address: UInt64) -> (start: UInt64, page: Page)? {
    for shift in layout.pageShifts {
      let start = (address >> UInt64(shift)) << UInt64(shift)
      if let page = pages[start], page.shift == shift { return (start, page) }
    }
    return nil
  }

  func overlapping(_ range: PageRange<Virtual>) -> [(UInt64, Page)] {
    pages.filter { range.overlaps(PageRange(Address($0.key), byteCount: 1 << UInt64($0.value.shift))) }
      .map { ($0.key, $0.value) }
  }

  /// A page-aligned address near others, in both halves of a signed space.
  func randomAddress(_ random: inout SplitMix64) -> UInt64 {
    let near = UInt64.random(in: 0..<64, using: &random) << 12
    let far = UInt64.random(in: 0..<4, using: &random) << 21 | UInt64.random(in: 0..<2, using: &random) << 30
    let isUpper = layout.isSignExtended && Bool.random(using: &random)
    return isUpper ? UInt64.max << UInt64(layout.inputBits - 1) | near | far : near | far
  }

  mutating func applyRandomOperation(to mapper: TestMapper, _ random: inout SplitMix64) throws {
    let address = randomAddress(&random)
    let flags = PageAttributes.Flags(rawValue: UInt32.random(in: 0..<0x80, using: &random) | 1)
    switch Int.random(in: 0..<4, using: &random) {
    case 0, 1: try map(mapper, address, flags, &random)
    case 2: try edit(mapper, range(from: address, &random), unmapping: true, flags)
    default: try edit(mapper, range(from: address, &random), unmapping: false, flags)
    }
    let probe = randomAddress(&random) | UInt64.random(in: 0..<4096, using: &random)
    try compare(mapper, at: probe)
  }

  func range(from address: UInt64, _ random: inout SplitMix64) -> PageRange<Virtual> {
    PageRange(Address(address), byteCount: UInt64.random(in: 1...40, using: &random) << 12)
  }

  mutating func map(_ mapper: TestMapper, _ address: UInt64, _ flags: PageAttributes.Flags, _ random: inout SplitMix64) throws {
    let shift = Int.random(in: 0..<4, using: &random) == 0 ? layout.pageShifts.randomElement(using: &random)! : 12
    let start = (address >> UInt64(shift)) << UInt64(shift)
    let output = UInt64.random(in: 0..<4, using: &random) << UInt64(max(shift, 12)) & ((1 << UInt64(layout.outputBits)) - 1)
    let isFree = overlapping(PageRange(Address(start), byteCount: 1 << UInt64(shift))).isEmpty
    switch refusal({ () throws(MapError) in
      try mapper.map(Address(start), to: Address(output), pageShift: shift, PageAttributes(flags)).drop()
    }) {
    case nil:
      #expect(isFree, "\(hexText(start)) was mapped twice")
      pages[start] = Page(output: output, shift: shift, flags: flags)
    case .alreadyMapped: #expect(!isFree)
    case .occupiedByTable: #expect(!isFree || layout.hasFixedRoot)
    case let other?: throw other
    }
  }

  mutating func edit(_ mapper: TestMapper, _ range: PageRange<Virtual>, unmapping: Bool, _ flags: PageAttributes.Flags) throws {
    let touched = overlapping(range)
    let isWhole = touched.allSatisfy { range.contains(PageRange(Address($0.0), byteCount: 1 << UInt64($0.1.shift))) }
    switch refusal({ () throws(MapError) in
      if unmapping {
        try mapper.unmap(range).drop()
        mapper.releaseRetiredTables()
      } else {
        try mapper.protect(range, PageAttributes(flags)).drop()
      }
    }) {
    case nil: #expect(isWhole, "\(range) splits a page")
    case .splitsLargerPage:
      #expect(!isWhole)
      return
    case let other?: throw other
    }
    for (start, page) in touched {
      pages[start] = unmapping
        ? nil : Page(output: page.output, shift: page.shift, flags: flags.union(page.flags.intersection(.marks)))
    }
  }

  private func refusal(_ body: () throws(MapError) -> Void) -> MapError? {
    do { try body() } catch { return error }
    return nil
  }

  func compare(_ mapper: TestMapper, at address: UInt64) throws {
    let expected = page(holding: address)
    let found = try mapper.mapping(of: Address(address))
    #expect(found?.input.bits == expected?.start, "at \(hexText(address))")
    #expect(found?.output.bits == expected?.page.output, "at \(hexText(address))")
    #expect(found?.attributes.flags == expected?.page.flags, "at \(hexText(address))")
  }

  func compareAll(with mapper: TestMapper) throws {
    var found: [UInt64: Page] = [:]
    for range in try mapper.mappedRanges() {
      try mapper.forEachMapping(in: range) {
        found[$0.input.bits] = Page(output: $0.output.bits, shift: $0.pageShift, flags: $0.attributes.flags)
      }
    }
    #expect(found == pages)
  }
}
