import CPagingKit
import PagingKit
import Testing

/// Table memory and frames of a test: plain bytes that also count.
final class TestTables: TableStorage, FrameSource {
  typealias Space = GuestPhysical
  let bytes: UnsafeMutableRawBufferPointer
  let map: PhysicalMapDescriptor
  var next: UInt64 = 0x1_0000
  var free: [UInt64: [UInt64]] = [:]
  var owned: [UInt64: UInt64] = [:]

  init(byteCount: Int) {
    bytes = .allocate(byteCount: byteCount, alignment: 4096)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    var region = pgk_region_v1()
    region.length = UInt64(byteCount)
    region.kind = PGK_REGION_RAM
    region.bytes = bytes.baseAddress
    map = PhysicalMapDescriptor([region])
  }

  deinit { bytes.deallocate() }

  func load(_ slot: Address<GuestPhysical>, byteCount: Int) throws(TableStorageError) -> UInt64 {
    guard slot.bits + UInt64(byteCount) <= UInt64(bytes.count) else { throw TableStorageError(slot: slot.bits) }
    return byteCount == 8
      ? bytes.load(fromByteOffset: Int(slot.bits), as: UInt64.self)
      : UInt64(bytes.load(fromByteOffset: Int(slot.bits), as: UInt32.self))
  }

  func store(_ value: UInt64, at slot: Address<GuestPhysical>, byteCount: Int) throws(TableStorageError) {
    guard slot.bits + UInt64(byteCount) <= UInt64(bytes.count) else { throw TableStorageError(slot: slot.bits) }
    if byteCount == 8 { bytes.storeBytes(of: value, toByteOffset: Int(slot.bits), as: UInt64.self) }
    else { bytes.storeBytes(of: UInt32(truncatingIfNeeded: value), toByteOffset: Int(slot.bits), as: UInt32.self) }
  }

  func allocateTable(byteCount: UInt64, alignment: UInt64) -> Address<GuestPhysical>? {
    var table = (next + alignment - 1) & ~(alignment - 1)
    if let reused = free[byteCount]?.popLast() {
      table = reused
      bytes[Int(table)..<Int(table + byteCount)].initializeMemory(as: UInt8.self, repeating: 0)
    } else {
      guard table + byteCount <= UInt64(bytes.count) else { return nil }
      next = table + byteCount
    }
    owned[table] = byteCount
    return Address(table)
  }

  func freeTable(_ table: Address<GuestPhysical>, byteCount: UInt64, alignment: UInt64) {
    #expect(owned.removeValue(forKey: table.bits) == byteCount, "a table is freed once, as it was made")
    free[byteCount, default: []].append(table.bits)
  }
}

typealias TestMapper = Mapper<Virtual, GuestPhysical>

func makeMapper(_ format: Int, byteCount: Int = 4 << 20) throws -> (TestMapper, TestTables) {
  let tables = TestTables(byteCount: byteCount)
  let unit = try Unit(Toy.architecture, map: tables.map)
  return (try TestMapper(unit: unit, format: format, memory: tables, frames: tables), tables)
}

let everyToyFormat = ToyFormat.all.indices

@Suite struct `Mapped tables` {
  @Test(arguments: everyToyFormat, [1, 2, 3] as [UInt64])
  func `agree with a plain dictionary on a random workload`(_ format: Int, _ seed: UInt64) throws {
    let (mapper, tables) = try makeMapper(format)
    var model = DictionaryModel(mapper.layout)
    var random = SplitMix64(seed: seed)
    for step in 0..<3000 {
      try model.applyRandomOperation(to: mapper, &random)
      if step % 300 == 0 { try model.compareAll(with: mapper) }
    }
    try model.compareAll(with: mapper)
    #expect(mapper.tableByteCount == tables.owned.values.reduce(0, +), "format \(format), seed \(seed)")
    try mapper.destroy()
    #expect(tables.owned.isEmpty, "format \(format), seed \(seed)")
  }

  @Test(arguments: everyToyFormat)
  func `are walked from the root to the leaf with slots and entries`(_ format: Int) throws {
    let (mapper, _) = try makeMapper(format)
    try mapper.map(Address(0x1234_5000), to: Address(0x7000), pageShift: 12, .program).drop()
    let steps = try mapper.walk(Address(0x1234_5678))
    #expect(steps.map(\.level) == mapper.layout.levels.indices.reversed())
    #expect(steps.map(\.kind) == steps.dropLast().map { _ in .table } + [.leaf])
    for (upper, lower) in zip(steps, steps.dropFirst()) {
      #expect(lower.slot.bits & ~(mapper.layout.tableByteCount(at: lower.level) - 1) == upper.output.bits)
    }
    #expect(try mapper.translate(Address(0x1234_5678)) == Address(0x7678))
  }

  @Test(arguments: everyToyFormat)
  func `have a root as large and as aligned as the format wants`(_ format: Int) throws {
    let (mapper, tables) = try makeMapper(format)
    let shape = ToyFormat.all[format]
    let rootBytes = UInt64(shape.entryBytes) << UInt64(shape.indexBits.last!)
    #expect(mapper.root.bits % max(rootBytes, 4096) == 0)
    #expect(mapper.root.bits % (1 << UInt64(shape.rootAlignmentShift)) == 0)
    #expect(tables.owned[mapper.root.bits] == max(rootBytes, 4096))
  }

  @Test func `below a root of four entries are all there from the start, and stay`() throws {
    let (mapper, _) = try makeMapper(2)
    let before = try (0..<4).map { try mapper.walk(Address(UInt64($0) << 30))[0].bits }
    #expect(before.allSatisfy { $0 != 0 })
    let page = PageRange<Virtual>(Address(0x4000_0000), byteCount: 4096)
    try mapper.map(page.start, to: Address(0), pageShift: 12, .program).drop()
    try mapper.unmap(page).drop()
    #expect(try (0..<4).map { try mapper.walk(Address(UInt64($0) << 30))[0].bits } == before)
  }
}

@Suite struct `A mapping that cannot be made` {
  @Test func `names the page that is there already`() throws {
    let (mapper, _) = try makeMapper(1)
    try mapper.map(Address(0x20_0000), to: Address(0x40_0000), pageShift: 21, .program).drop()
    for shift in [12, 21] {
      let error = #expect(throws: MapError.self) {
        try mapper.map(Address(0x20_0000), to: Address(0), pageShift: shift, .program).drop()
      }
      #expect(error?.description == "0x200000 is already mapped: 0x200000...0x3fffff -> 0x400000 rwxu---")
    }
  }

  @Test func `does not put a large page over a table of small ones`() throws {
    let (mapper, _) = try makeMapper(1)
    try mapper.map(Address(0x20_1000), to: Address(0x1000), pageShift: 12, .program).drop()
    let error = #expect(throws: MapError.self) {
      try mapper.map(Address(0x20_0000), to: Address(0), pageShift: 21, .program).drop()
    }
    guard case .occupiedByTable(0x20_0000, _) = error else {
      Issue.record("found \(String(describing: error))")
      return
    }
    #expect(try mapper.translate(Address(0x20_1000)) == Address(0x1000))
  }

  @Test func `is refused when the address is not one of the format`() throws {
    let (signed, _) = try makeMapper(1)
    let (unsigned, _) = try makeMapper(0)
    #expect(throws: MapError.self) { try signed.map(Address(1 << 38), to: Address(0), pageShift: 12, .program).drop() }
    #expect(throws: MapError.self) { try unsigned.map(Address(1 << 32), to: Address(0), pageShift: 12, .program).drop() }
    let top = Address<Virtual>(0xffff_ffff_ffff_f000)
    try signed.map(top, to: Address(0x3000), pageShift: 12, .program).drop()
    #expect(try signed.mappedRanges() == [PageRange(top, byteCount: 4096)])
  }

  @Test func `is refused when misaligned, of no page size, or too wide`() throws {
    let (mapper, _) = try makeMapper(0)
    func attempt(_ input: UInt64, _ output: UInt64, _ shift: Int) -> String? {
      let error = #expect(throws: MapError.self) {
        try mapper.map(Address(input), to: Address(output), pageShift: shift, .program).drop()
      }
      return error?.description
    }
    #expect(attempt(0x1000, 0, 22) == "0x1000 is not a multiple of the page size, 4 MiB")
    #expect(attempt(0x1000, 0x800, 12) == "0x800 is not a multiple of the page size, 4 KiB")
    #expect(attempt(0, 0, 21) == "two has no pages of 2 MiB; it has 4 KiB, 4 MiB")
    #expect(attempt(0, 1 << 32, 12) == "level 0 of two cannot hold 0x100000000")
    #expect(try mapper.mappedRanges().isEmpty)
  }

  @Test func `says when frames run out, and keeps what was mapped`() throws {
    let (mapper, _) = try makeMapper(0, byteCount: 0x1_2000)  // root and one table
    try mapper.map(Address(0), to: Address(0x1000), pageShift: 12, .program).drop()
    let error = #expect(throws: MapError.self) {
      try mapper.map(Address(0x40_0000), to: Address(0x1000), pageShift: 12, .program).drop()
    }
    #expect(error?.description == "no frame left for a table of 4096 bytes")
    #expect(try mapper.translate(Address(4)) == Address(0x1004))
  }

  @Test func `never splits a larger page`() throws {
    let (mapper, _) = try makeMapper(1)
    try mapper.map(Address(0x20_0000), to: Address(0x40_0000), pageShift: 21, .program).drop()
    let inside = PageRange<Virtual>(Address(0x20_1000), byteCount: 4096)
    #expect(throws: MapError.self) { try mapper.unmap(inside).drop() }
    #expect(throws: MapError.self) { try mapper.protect(inside, PageAttributes([.read])).drop() }
    #expect(try mapper.translate(Address(0x20_1000)) == Address(0x40_1000))
  }

  @Test func `in a damaged table is an error with the entry, not a crash`() throws {
    let (mapper, tables) = try makeMapper(0)
    try tables.store(ToyBits.valid | 0xfff0_0000, at: mapper.root, byteCount: 4)  // a table outside memory
    #expect(throws: MapError.self) { try mapper.translate(Address(0)) }
    try tables.store(ToyBits.valid | mapper.root.bits, at: mapper.root, byteCount: 4)  // its own root: a cycle
    #expect(throws: MapError.self) { try mapper.translate(Address(0)) }
    #expect(throws: MapError.self) { try mapper.unmap(PageRange(Address(0), byteCount: 1 << 32)).drop() }
  }
}

@Suite struct `A changed mapping` {
  @Test func `owes an invalidation of what was changed, and says whether tables were`() throws {
    let (mapper, _) = try makeMapper(1)
    let page = PageRange<Virtual>(Address(0x5000), byteCount: 4096)
    func owed(_ pending: consuming PendingInvalidation<Virtual>) -> Invalidation<Virtual>? {
      var seen: Invalidation<Virtual>?
      pending.perform { seen = $0 }
      return seen
    }
    let added = owed(try mapper.map(page.start, to: Address(0x1000), pageShift: 12, .program))
    #expect(added?.change == .added && added?.changesTables == true && added?.range == page)
    let second = owed(try mapper.map(Address(0x6000), to: Address(0x2000), pageShift: 12, .program))
    #expect(second?.change == .added && second?.changesTables == false)
    let protected = owed(try mapper.protect(page, PageAttributes([.read, .user])))
    #expect(protected?.change == .changed && protected?.changesTables == false)
    #expect(owed(try mapper.protect(page, PageAttributes([.read, .user]))) == nil, "nothing was changed")
    let cleared = owed(try mapper.unmap(PageRange(Address(0), byteCount: 1 << 30)))
    #expect(cleared?.change == .changed && cleared?.changesTables == true)
    #expect(cleared?.pageCount == 2 && cleared?.range == PageRange(Address(0x5000), byteCount: 0x2000))
  }

  @Test func `keeps what hardware has marked when rights change`() throws {
    let (mapper, _) = try makeMapper(1)
    let used = PageAttributes([.read, .write, .user, .accessed, .dirty])
    try mapper.map(Address(0), to: Address(0x1000), pageShift: 12, used).drop()
    try mapper.protect(PageRange(Address(0), byteCount: 4096), PageAttributes([.read])).drop()
    #expect(try mapper.mapping(of: Address(0))?.attributes.flags == [.read, .accessed, .dirty])
  }

  @Test func `holds back unlinked tables until they may be reused`() throws {
    let (mapper, tables) = try makeMapper(1)
    try mapper.map(Address(0), to: Address(0x1000), pageShift: 12, .program).drop()
    let before = tables.owned.count
    try mapper.unmap(PageRange(Address(0), byteCount: 4096)).drop()
    #expect(tables.owned.count == before)
    mapper.releaseRetiredTables()
    #expect(tables.owned.count == 1, "only the root is left")
  }

  @Test func `stops the program when its invalidation is forgotten`() async {
    await #expect(processExitsWith: .failure) {
      let (mapper, _) = try makeMapper(1)
      _ = try mapper.map(Address(0), to: Address(0x1000), pageShift: 12, .program)
    }
    await #expect(processExitsWith: .success) {
      let (mapper, _) = try makeMapper(1)
      try mapper.map(Address(0), to: Address(0x1000), pageShift: 12, .program).drop()
    }
  }
}
