// Guests: how much a walk reads, and the corner rules of nested paging. AMD APM 2, "Nested Paging"; hand-made tables.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_x86

private let address: UInt64 = 0x4020_3000

@Suite struct `A two-dimensional walk` {
  /// Entries read by a cold access to a page of the given sizes.
  private func reads(_ guest: TableKind?, _ second: TableKind, guestLevel: Int = 0, secondLevel: Int = 0) throws -> UInt32 {
    let desk = try Desk(guest, under: second, secondLevel: secondLevel)
    guard guest != nil else {
      let page = desk.frame()
      return try desk.perform(.read, page).reads
    }
    let page: UInt64 = guestLevel > 0 ? 0x4000_0000 : desk.frame()
    if guestLevel > 0 { desk.putSecond(page | address & (1 << UInt64(guest!.shift(guestLevel)) - 1) & ~0xfff, level: secondLevel) }
    desk.put(address, page | Bits.user | (guestLevel > 0 ? Bits.PS : 0), level: guestLevel)
    try desk.loadRoot()
    let answer = try desk.perform(.read, address)
    guard case .reaches = answer.ruling else { throw Unexpected(ruling: answer.ruling) }
    #expect(try desk.perform(.read, address).reads == 0)
    #expect(desk.processor.counter("entryReads") == UInt64(answer.reads))
    return answer.reads
  }

  @Test func `reads (g+1)(h+1)-1 entries when nothing is cached`() throws {
    for (guest, second, expected) in [
      (TableKind.fourLevel, TableKind.fourLevel, 24), (.fiveLevel, .fiveLevel, 35), (.fiveLevel, .fourLevel, 29), (.fourLevel, .fiveLevel, 29),
      (.fourLevel, .ept4, 24), (.fiveLevel, .ept5, 35), (.fiveLevel, .ept4, 29), (.fourLevel, .ept5, 29), (.fourLevel, .pae, 19),
      (.fourLevel, .twoLevel, 14), (.twoLevel, .fourLevel, 14), (.twoLevel, .twoLevel, 8), (.twoLevel, .ept4, 14), (.twoLevel, .ept5, 17),
    ] as [(TableKind, TableKind, UInt32)] {
      #expect(try reads(guest, second) == expected, "\(guest) on \(second)")
    }
  }

  @Test func `of a PAE guest reads its PDPTE under nested paging, and takes it from a register under EPT`() throws {
    #expect(try reads(.pae, .fourLevel) == 19 && reads(.pae, .pae) == 15 && reads(.pae, .twoLevel) == 11)
    #expect(try reads(.pae, .ept4) == 14 && reads(.pae, .ept5) == 17)
  }

  @Test func `of a guest without paging reads the second stage alone`() throws {
    #expect(try reads(nil, .fourLevel) == 4 && reads(nil, .fiveLevel) == 5 && reads(nil, .ept4) == 4 && reads(nil, .pae) == 3)
  }

  @Test func `is shorter with large pages in either stage`() throws {
    for (second, top) in [(TableKind.fourLevel, TableKind.fourLevel), (.ept4, .fourLevel)] {
      #expect(try reads(top, second, secondLevel: 1) == 19)
      #expect(try reads(top, second, guestLevel: 1, secondLevel: 1) == 15)
      #expect(try reads(top, second, guestLevel: 1) == 19)
      #expect(try reads(top, second, guestLevel: 2, secondLevel: 2) == 8)
    }
  }

  @Test func `gives a TLB entry as large as the smaller page`() throws {
    for (guestLevel, secondLevel) in [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2)] {
      let desk = try Desk(.fourLevel, under: .ept4, secondLevel: secondLevel)
      let page: UInt64 = 0x4000_0000
      let offset = address & (1 << UInt64(12 + 9 * guestLevel) - 1)
      desk.putSecond(page | offset & ~0xfff, level: secondLevel)
      desk.put(address, page | Bits.user | (guestLevel > 0 ? Bits.PS : 0), level: guestLevel)
      let answer = try desk.perform(.read, address + 0x123)
      #expect(answer.ruling == reaches(page | offset + 0x123) && Int(answer.pageShift) == 12 + 9 * min(guestLevel, secondLevel))
    }
  }

  @Test func `translates the neighbour of a small page anew`() throws {
    // A large guest page over small second-stage pages that lie apart.
    let desk = try Desk(.fourLevel, under: .ept4)
    desk.putSecond(0x4000_0000, 0x200_0000 | Bits.ept)
    desk.putSecond(0x4000_1000, 0x100_0000 | Bits.ept)
    desk.put(0x4000_0000, 0x4000_0000 | Bits.kernel | Bits.PS, level: 1)
    #expect(try desk.reached(0x4000_0008) == 0x200_0008)
    #expect(try desk.reached(0x4000_1008) == 0x100_0008)
    #expect(try desk.ruling(.read, 0x4000_0ffc, byteCount: 8) == reaches(0x200_0ffc))
  }
}

@Suite struct `AMD nested paging` {
  private static let table: UInt64 = 1 << 33, final: UInt64 = 1 << 32

  private func desk(_ guest: TableKind? = .fourLevel, _ second: TableKind = .fourLevel) throws -> (desk: Desk, page: UInt64) {
    let desk = try Desk(guest, under: second)
    let page = desk.frame()
    if guest != nil {
      desk.put(address, page | Bits.user)
      try desk.loadRoot()
    }
    return (desk, page)
  }

  @Test func `takes every access to a guest's table for a user write`() throws {
    for access in [JudgedAccess.Kind.read, .write, .fetch] {
      for (bits, present) in [(Bits.user & ~Bits.W, 1), (Bits.kernel, 1), (0, 0)] as [(UInt64, UInt64)] {
        for level in 0...3 {
          let (desk, _) = try desk()
          let slot = desk.slot(address, level: level)
          desk.putSecond(slot, slot & ~0xfff | bits)
          #expect(try desk.ruling(access, address) == .nestedFault(info1: Self.table | 6 | present, info2: slot))
        }
      }
      // Execute-disable of a table's page does not count.
      let (desk, page) = try desk()
      for level in 0...3 {
        let slot = desk.slot(address, level: level)
        desk.putSecond(slot, slot & ~0xfff | Bits.user | Bits.XD)
      }
      #expect(try desk.ruling(access, address) == reaches(page))
    }
  }

  @Test func `marks the nested entry of a guest's table dirty, even for a read`() throws {
    let (desk, page) = try desk()
    let clean = Bits.P | Bits.W | Bits.U
    let tables = (0...3).map { desk.slot(address, level: $0) & ~0xfff }
    for table in tables + [page] { desk.putSecond(table, table | clean) }
    #expect(try desk.reached(address) == page)
    for table in tables { #expect(desk.windows.load(desk.secondSlot(table)) == table | clean | Bits.A | Bits.D) }
    #expect(desk.windows.load(desk.secondSlot(page)) == page | clean | Bits.A)
    for level in 1...3 { #expect(desk.windows.load(desk.secondSlot(page, level: level)) & (Bits.A | Bits.D) == Bits.A) }
  }

  @Test func `judges the final address as a user access of its kind`() throws {
    for (bits, access, code) in [
      (Bits.kernel, JudgedAccess.Kind.read, 0b101), (Bits.user & ~Bits.W, .write, 0b111), (Bits.user | Bits.XD, .fetch, 0b10101), (0, .fetch, 0b10100),
      (0, .write, 0b110), (Bits.user | 1 << 45, .read, 0b1101),
    ] as [(UInt64, JudgedAccess.Kind, UInt64)] {
      for (guest, target) in [(TableKind.fourLevel, address), (nil, nil)] as [(TableKind?, UInt64?)] {
        let (desk, page) = try desk(guest)
        desk.putSecond(page, page | bits)
        for privilege in [JudgedAccess.Privilege.supervisor, .user] {
          #expect(try desk.ruling(access, target ?? page, privilege) == .nestedFault(info1: Self.final | code, info2: page))
        }
      }
    }
  }

  @Test func `reports a fetch only if the host has NXE or SMEP`() throws {
    for (second, cr4, efer, isReported) in [
      (TableKind.fourLevel, 0, 0, false), (.fourLevel, 0, CR.NXE, true), (.fourLevel, CR.SMEP, 0, true), (.twoLevel, 0, CR.NXE, false),
      (.twoLevel, CR.SMEP, 0, true), (.pae, 0, CR.NXE, true),
    ] as [(TableKind, UInt64, UInt64, Bool)] {
      let (desk, page) = try desk(.fourLevel, second)
      let long = second.isLong ? CR.LME | CR.LMA : 0
      try desk.processor.set([("nested.efer", efer | long | 1 << 12), ("nested.cr4", (second == .twoLevel ? 0 : CR.PAE) | cr4)])
      desk.putSecond(page, 0)
      #expect(try desk.ruling(.fetch, address) == .nestedFault(info1: Self.final | 4 | (isReported ? 16 : 0), info2: page))
    }
  }

  @Test func `lets the guest's fault win over one of the final address, and marks the guest's entries before it`() throws {
    let (desk, page) = try desk()
    desk.putSecond(page, 0)
    let slot = desk.put(address, page | Bits.P)
    #expect(try desk.code(.write, address) == 0b11)
    desk.windows.store(slot, page | Bits.P | Bits.W)
    #expect(try desk.ruling(.write, address) == .nestedFault(info1: Self.final | 6, info2: page))
    #expect(desk.windows.load(slot) == page | Bits.kernel)
  }

  @Test func `lets a nested fault on a table win over the faults that the entries below would give`() throws {
    let (desk, _) = try desk()
    let slot = desk.put(address, 0)
    desk.putSecond(slot, 0)
    #expect(try desk.ruling(.read, address) == .nestedFault(info1: Self.table | 6, info2: slot))
  }

  @Test func `reads a PAE guest's PDPTE in the walk, where a bad one faults, and loads none`() throws {
    let (desk, page) = try desk(.pae)
    let slot = desk.root + 8
    let good = desk.windows.load(slot)
    for bit in [1, 2, 5, 8, 45, 63] as [UInt64] {
      desk.windows.store(slot, good | 1 << bit)
      #expect(try desk.move(.cr3, desk.root) == nil)
      #expect(try desk.code(.write, address, .user) == 0b1111, "bit \(bit)")
    }
    desk.windows.store(slot, good & ~1 | 2)
    #expect(try desk.code(.read, address) == 0)
    desk.windows.store(slot, good)
    #expect(try desk.reached(address) == page)
    #expect(desk.windows.load(slot) == good)
    // And it needs the nested table to let it be written.
    desk.putSecond(desk.root, desk.root | Bits.user & ~Bits.W)
    try desk.processor.unit.reset(PGK_RESET_CACHES)
    #expect(try desk.ruling(.read, address) == .nestedFault(info1: Self.table | 7, info2: slot))
  }

  @Test func `cannot reach beyond what the nested tables can name`() throws {
    for second in [TableKind.pae, .twoLevel] {
      let (desk, _) = try desk(.fourLevel, second)
      desk.put(address, 1 << 32 | Bits.kernel)
      let answer = try desk.perform(.read, address)
      #expect(answer.ruling == .nestedFault(info1: Self.final | 4, info2: 1 << 32))
    }
  }

  @Test func `checks the PDPTEs of a PAE host`() throws {
    let (desk, page) = try desk(.fourLevel, .pae)
    let slot = desk.secondRoot
    desk.windows.store(slot, desk.windows.load(slot) | 1 << 5)
    #expect(try desk.ruling(.read, address) == .nestedFault(info1: Self.table | 0b1111, info2: desk.root))
    desk.windows.store(slot, desk.windows.load(slot) & ~(1 << 5))
    #expect(try desk.reached(address) == page)
  }

  @Test func `lets the guest's own controls decide the guest's rights only`() throws {
    let (desk, page) = try desk()
    desk.put(address, page | Bits.P | Bits.A | Bits.D)
    desk.putSecond(page, page | Bits.user & ~Bits.W)
    try desk.set("cr0", desk.cr0 & ~CR.WP)
    #expect(try desk.ruling(.write, address) == .nestedFault(info1: Self.final | 7, info2: page))
    try desk.set("cr4", desk.cr4 | CR.SMAP | CR.SMEP)
    #expect(try desk.ruling(.read, address) == reaches(page))
  }

  @Test func `faults before anything is read if the address is not canonical`() throws {
    let (desk, _) = try desk()
    #expect(try desk.perform(.read, 1 << 50) == Answer(ruling: .generalProtection, faultAddress: 1 << 50))
  }
}
