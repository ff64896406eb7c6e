// TLBs judge again on every hit; walk caches hold table entries. SDM 3A, "Caching Translation Information".
import CPagingKit
import PagingKit
import Testing

@testable import Arch_x86

private let address: UInt64 = 0x4020_3000
private let data: UInt64 = 0x4000_0000

@Suite struct `An x86 TLB` {
  /// Fills the TLB by a first access and makes sure that what follows is answered by it.
  private func warm(_ leaf: UInt64, cr4: UInt64 = 0, wp: Bool = true, by privilege: JudgedAccess.Privilege = .supervisor) throws -> Desk {
    let desk = try Desk(.fourLevel, wp: wp, cr4: cr4)
    desk.put(address, data | leaf)
    _ = try desk.ruling(.read, address, privilege)
    return desk
  }

  /// The code of an access, and that no entry was read for it if it succeeds.
  private func hit(_ desk: Desk, _ kind: JudgedAccess.Kind, _ privilege: JudgedAccess.Privilege = .supervisor) throws -> UInt64? {
    let answer = try desk.perform(kind, address, privilege)
    switch answer.ruling {
    case .pageFault(let code, _):
      // A fault drops the entry, so it is filled again.
      _ = try desk.ruling(.read, address, .user)
      return code
    default:
      #expect(answer.reads == 0)
      return nil
    }
  }

  @Test func `sees a change of CR0.WP at once`() throws {
    let desk = try warm(Bits.P | Bits.U | Bits.A | Bits.D, wp: false)
    #expect(try hit(desk, .write) == nil)
    try desk.move(.cr0, desk.cr0 | CR.WP)
    #expect(try hit(desk, .write) == 0b11)
    try desk.move(.cr0, desk.cr0)
    #expect(try hit(desk, .write) == nil)
  }

  @Test func `sees a change of SMAP and of AC at once`() throws {
    let desk = try warm(Bits.user)
    #expect(try hit(desk, .read) == nil)
    try desk.move(.cr4, desk.cr4 | CR.SMAP)
    #expect(try hit(desk, .read) == 1)
    try desk.set("rflags", CR.AC | 2)
    #expect(try hit(desk, .read) == nil)
    #expect(try hit(desk, .read, .implicit) == 1)
    try desk.set("rflags", 2)
    #expect(try hit(desk, .read) == 1)
  }

  @Test func `sees a change of SMEP at once`() throws {
    let desk = try warm(Bits.user, cr4: CR.SMEP, by: .user)
    #expect(try hit(desk, .fetch) == 0b10001)
    try desk.move(.cr4, desk.cr4 & ~CR.SMEP)
    #expect(try hit(desk, .fetch) == nil)
    try desk.move(.cr4, desk.cr4)
    #expect(try desk.code(.fetch, address) == 0b10001)
  }

  @Test func `sees a change of PKRU and of IA32_PKRS at once`() throws {
    let desk = try warm(Bits.user | Bits.key(7), cr4: CR.PKE)
    #expect(try hit(desk, .write, .user) == nil)
    try desk.move(.pkru, 1 << 15)
    #expect(try hit(desk, .write, .user) == 0b100111 && hit(desk, .read, .user) == nil)
    try desk.move(.pkru, 1 << 14)
    #expect(try desk.code(.read, address, .user) == 0b100101)
    try desk.move(.pkru, 0)
    _ = try desk.ruling(.read, address)
    #expect(try hit(desk, .read, .user) == nil)
    let kernel = try warm(Bits.kernel | Bits.key(7), cr4: CR.PKS)
    try kernel.move(.pkrs, 1 << 14)
    #expect(try kernel.code(.read, address) == 0b100001)
    try kernel.move(.pkrs, 0)
    #expect(try kernel.code(.read, address) == nil)
  }

  @Test func `sees the mode of the access`() throws {
    let desk = try warm(Bits.kernel)
    #expect(try hit(desk, .read) == nil)
    #expect(try hit(desk, .write) == nil)
    #expect(try desk.code(.read, address, .user) == 0b101)
  }

  @Test func `judges with EFER.NXE as it is`() throws {
    let desk = try warm(Bits.kernel | Bits.XD)
    #expect(try hit(desk, .read) == nil)
    #expect(try desk.code(.fetch, address) == 0b10001)
  }

  @Test func `keeps a translation until it is invalidated`() throws {
    let desk = try warm(Bits.kernel)
    desk.put(address, data + 0x1000 | Bits.kernel)
    #expect(try desk.reached(address) == data)
    try desk.processor.special(X86Unit.request(.invlpg, low: address))
    #expect(try desk.reached(address) == data + 0x1000)
  }

  @Test func `holds large pages whole, and INVLPG of any byte drops them`() throws {
    for (kind, level) in [(TableKind.twoLevel, 1), (.pae, 1), (.fourLevel, 1), (.fourLevel, 2), (.fiveLevel, 2)] {
      let desk = try Desk(kind, cr4: CR.PSE)
      let size = UInt64(1) << UInt64(kind.shift(level))
      let slot = desk.put(address, 0x4000_0000 | Bits.kernel | Bits.PS, level: level)
      try desk.loadRoot()
      let base = address & ~(size - 1)
      #expect(try desk.reached(base) == 0x4000_0000)
      #expect(try desk.perform(.write, base + size - 1) == Answer(ruling: reaches(0x4000_0000 + size - 1), pageShift: UInt8(kind.shift(level))))
      desk.windows.store(slot, 0x8000_0000 | Bits.kernel | Bits.PS, kind.size)
      #expect(try desk.reached(base + 0x1234) == 0x4000_1234)
      try desk.processor.special(X86Unit.request(.invlpg, low: base + size / 2))
      #expect(try desk.reached(base + 0x1234) == 0x8000_1234)
    }
  }

  @Test func `shares global pages between PCIDs, with CR4.PGE only`() throws {
    for pge in [true, false] {
      let desk = try Desk(.fourLevel, cr4: CR.PCIDE | (pge ? CR.PGE : 0))
      desk.put(address, data | Bits.kernel | Bits.G)
      #expect(try desk.reached(address) == data)
      try desk.move(.cr3, desk.frame() | 1)
      #expect(try desk.ruling(.read, address) == (pge ? reaches(data) : .pageFault(code: 0, address: address)))
    }
  }

  @Test func `tells guests apart by VPID and by EPT pointer`() throws {
    let desk = try Desk(.fourLevel, under: .ept4)
    let page = desk.frame()
    let slot = desk.put(address, page | Bits.kernel)
    try desk.set("vpid", 1)
    #expect(try desk.reached(address) == page)
    let other = desk.frame()
    desk.windows.store(slot, other | Bits.kernel)
    try desk.set("vpid", 2)
    #expect(try desk.reached(address) == other)
    try desk.set("vpid", 1)
    #expect(try desk.reached(address) == page)
    // The same tables by another address.
    for offset in stride(from: 0, to: 4096, by: 8) as StrideTo<UInt64> { desk.windows.store(0x8000 + offset, desk.windows.load(desk.secondRoot + offset)) }
    try desk.set("ept.eptp", 0x805e)
    #expect(try desk.reached(address) == other)
  }

  @Test func `for instructions is filled by fetches alone`() throws {
    let desk = try Desk(.fourLevel, [("tlb.l1i.ways", "4"), ("tlb.l1i.sets", "4"), ("tlb.l2.ways", "0")])
    desk.put(address, data | Bits.kernel)
    _ = try desk.ruling(.read, address)
    #expect(try desk.perform(.fetch, address).reads > 0)
    #expect(try desk.perform(.fetch, address).reads == 0 && desk.perform(.read, address).reads == 0)
    #expect(desk.processor.counter("tlbL1iHits") == 1 && desk.processor.counter("tlbL1Hits") == 1)
  }
}

@Suite struct `An x86 paging-structure cache` {
  private static let walkCachesOnly = [("tlb.l1.ways", "0"), ("tlb.l2.ways", "0"), ("pwc.level4.ways", "2")]

  /// Two addresses under one PDPTE, in different tables, whose caches are filled in two spaces.
  private final class Two {
    let desk: Desk
    let a: UInt64 = 0x4020_3000, b: UInt64 = 0x4060_3000
    let roots: [UInt64]

    init(_ options: [(String, String)] = walkCachesOnly) throws {
      desk = try Desk(.fourLevel, options, cr4: CR.PCIDE | CR.PGE)
      var roots: [UInt64] = []
      for space in 0..<2 as Range<UInt64> {
        if space > 0 { desk.root = desk.frame() }
        roots.append(desk.root)
        desk.put(a, data | Bits.kernel)
        desk.put(b, data + 0x1000 | Bits.kernel)
      }
      self.roots = roots
      for space in [1, 0] {
        try enter(space)
        _ = try desk.reached(a)
        _ = try desk.reached(b)
      }
    }

    func enter(_ space: Int) throws {
      desk.root = roots[space]
      try desk.move(.cr3, roots[space] | UInt64(space + 1) | 1 << 63)
    }

    /// Puts new tables under the PDPTE of each space, in which both addresses lead to other pages.
    func replaceTables() throws {
      for space in [1, 0] {
        try enter(space)
        desk.windows.store(desk.slot(a, level: 2), 0)
        desk.put(a, data + 0x8000 | Bits.kernel)
        desk.put(b, data + 0x9000 | Bits.kernel)
      }
    }

    func isNew(_ space: Int) throws -> [Bool] {
      try enter(space)
      return try [desk.reached(a) == data + 0x8000, desk.reached(b) == data + 0x9000]
    }
  }

  @Test func `shortens walks, and forgets nothing by itself`() throws {
    let two = try Two()
    #expect(try two.desk.perform(.read, two.a).reads == 1)
    #expect(two.desk.processor.counter("walkCacheHits") > 0)
    try two.replaceTables()
    #expect(try two.isNew(0) == [false, false])
  }

  @Test func `forgets all of the current PCID by INVLPG, whatever the address`() throws {
    let two = try Two()
    try two.replaceTables()
    try two.desk.processor.special(X86Unit.request(.invlpg, low: two.a))
    #expect(try two.isNew(0) == [true, true])
    #expect(try two.isNew(1) == [false, false])
    let far = try Two()
    try far.replaceTables()
    try far.desk.processor.special(X86Unit.request(.invlpg, low: 0x7fff_0000_0000))
    #expect(try far.isNew(0) == [true, true] && far.isNew(1) == [false, false])
    // But an address that is not canonical makes it do nothing.
    let none = try Two()
    try none.replaceTables()
    try none.desk.processor.special(X86Unit.request(.invlpg, low: 1 << 50))
    #expect(try none.isNew(0) == [false, false])
  }

  @Test func `forgets what MOV to CR3, INVPCID and CR4.PGE reach`() throws {
    for (operation, expected) in [
      ({ try $0.desk.move(.cr3, $0.roots[0] | 1) }, [true, false]),
      ({ try $0.desk.move(.cr3, $0.roots[0] | 1 | 1 << 63) }, [false, false]),
      ({ try $0.desk.processor.special(X86Unit.request(.invpcid, high: 1 | 2 << 8)) }, [false, true]),
      ({ try $0.desk.processor.special(X86Unit.request(.invpcid, high: 2)) }, [true, true]),
      ({ try $0.desk.processor.special(X86Unit.request(.invpcid, high: 3)) }, [true, true]),
      ({ _ = try $0.desk.move(.cr4, $0.desk.cr4 & ~CR.PGE); return try $0.desk.move(.cr4, $0.desk.cr4) }, [true, true]),
    ] as [((Two) throws -> String?, [Bool])] {
      let two = try Two()
      try two.replaceTables()
      #expect(try operation(two) == nil)
      #expect(try two.isNew(0) == [expected[0], expected[0]] && two.isNew(1) == [expected[1], expected[1]])
    }
  }

  @Test func `forgets the way to the address of INVPCID type 0`() throws {
    let two = try Two()
    try two.replaceTables()
    try two.desk.processor.special(X86Unit.request(.invpcid, low: two.a, high: 2 << 8))
    #expect(try two.isNew(1)[0] && two.isNew(0) == [false, false])
  }

  @Test func `is not filled with an entry whose accessed flag is not set`() throws {
    let desk = try Desk(.fourLevel, Self.walkCachesOnly)
    desk.put(address, 0, tables: Bits.P | Bits.W | Bits.U)
    #expect(try desk.code(.read, address) == 0)
    #expect(try desk.perform(.read, address).reads == 4)
    desk.put(address, data | Bits.kernel)
    #expect(try desk.code(.read, address) == nil)
    for level in 1...3 { #expect(desk.entry(desk.slot(address, level: level)) & Bits.A != 0) }
    #expect(try desk.perform(.read, address).reads == 1)
  }

  @Test func `carries the rights of the entries above`() throws {
    let desk = try Desk(.fourLevel, Self.walkCachesOnly)
    desk.put(address, data | Bits.user, tables: Bits.P | Bits.U | Bits.A | Bits.XD)
    #expect(try desk.code(.read, address, .user) == nil)
    #expect(try desk.perform(.write, address, .user) == Answer(ruling: .pageFault(code: 0b111, address: address), reads: 1, faultAddress: address))
    #expect(try desk.code(.fetch, address, .user) == 0b10101)
  }

  @Test func `by entry address is forgotten by every invalidation`() throws {
    let two = try Two([("tlb.l1.ways", "0"), ("tlb.l2.ways", "0"), ("pwc.level1.ways", "0"), ("pwc.level2.ways", "0"), ("pwc.level3.ways", "0"), ("entrycache.ways", "16")])
    try two.replaceTables()
    #expect(try two.isNew(0) == [false, false])
    try two.desk.processor.special(X86Unit.request(.invlpg, low: two.a))
    #expect(try two.isNew(0) == [true, true])
  }
}
