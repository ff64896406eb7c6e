// Linear addresses: canonical or not, across pages, with metadata. SDM 1, "Canonical Addressing"; SDM 3A, "Linear-Address
// Masking".
import CPagingKit
import PagingKit
import Testing

@testable import Arch_x86

private let address: UInt64 = 0x4020_3000
private let data: UInt64 = 0x4000_0000

@Suite struct `A linear address that is not canonical` {
  @Test func `raises #GP before anything is read, and leaves CR2 and flags alone`() throws {
    for (kind, last) in [(TableKind.fourLevel, 47), (.fiveLevel, 56)] as [(TableKind, UInt64)] {
      let desk = try Desk(kind)
      desk.put(0, data | Bits.P, tables: Bits.P)
      let edges: [UInt64] = [1 << last, ~0 << last - 1, 1 << last | 0x1234, 1 << 63, ~0 << last & ~(1 << 62)]
      for pointer in edges {
        for access in [JudgedAccess.Kind.read, .write, .fetch] {
          let answer = try desk.perform(access, pointer, .user)
          #expect(answer.ruling == .generalProtection && answer.reads == 0, "\(hex(pointer))")
        }
      }
      #expect(desk.entry(desk.root) & Bits.A == 0)
      // The edges of the halves.
      for pointer in [1 << last - 1, ~0 << last, 0, .max] as [UInt64] { #expect(try desk.ruling(.read, pointer) != .generalProtection) }
    }
  }

  @Test func `with 4 levels is one with 5 levels too only beyond bit 56`() throws {
    let four = try Desk(.fourLevel), five = try Desk(.fiveLevel)
    for pointer in [0x0000_8000_0000_0000, 0x00ff_ffff_ffff_ffff, 0xff00_0000_0000_0000, 0xffff_7fff_ffff_f000] as [UInt64] {
      #expect(try four.ruling(.read, pointer) == .generalProtection)
      #expect(try five.ruling(.read, pointer) == .pageFault(code: 0, address: pointer))
    }
  }

  @Test func `is delivered as #GP with CR2 unchanged, and a page fault with CR2 and its code`() throws {
    let desk = try Desk(.fourLevel)
    func reflect(_ pointer: UInt64) throws {
      var access = Processor.access(JudgedAccess(kind: .write, privilege: .user), pointer, byteCount: 1)
      var result = pgk_result_v1()
      _ = try desk.processor.unit.run(&access, values: nil, results: &result, count: 1)
      var verdict = pgk_verdict_v1()
      verdict.kind = UInt8(PGK_VERDICT_REFLECT)
      _ = try desk.processor.unit.resume([verdict])
    }
    try reflect(0x1234_5678)
    #expect(try desk.processor.register("cr2") == 0x1234_5678 && desk.processor.register("error_code") == 0b110)
    try reflect(1 << 50)
    #expect(try desk.processor.register("cr2") == 0x1234_5678 && desk.processor.register("error_code") == 0)
  }
}

@Suite struct `An access across a page boundary` {
  private let next = address + 0x1000

  @Test(arguments: [2, 4, 8, 16] as [UInt64])
  func `reports the first byte on the page that faults`(_ byteCount: UInt64) throws {
    for access in [JudgedAccess.Kind.read, .write, .modify, .fetch] {
      for offset in 1..<byteCount {
        let start = next - offset
        let desk = try Desk(.fourLevel)
        let first = desk.put(address, data | Bits.user)
        let code: UInt64 = access == .fetch ? 0b10100 : access == .read ? 0b100 : 0b110
        #expect(try desk.ruling(access, start, .user, byteCount: byteCount) == .pageFault(code: code, address: next))
        desk.put(next, 0x4100_0000 | Bits.user)
        #expect(try desk.ruling(access, start, .user, byteCount: byteCount) == reaches(data | start & 0xfff))
        desk.windows.store(first, 0)
        try desk.processor.special(X86Unit.request(.invlpg, low: address))
        #expect(try desk.ruling(access, start, .user, byteCount: byteCount) == .pageFault(code: code, address: start))
      }
      // All of it on one page.
      let desk = try Desk(.fourLevel)
      desk.put(address, data | Bits.user)
      #expect(try desk.ruling(access, next - byteCount, .user, byteCount: byteCount) == reaches(data + 0x1000 - byteCount))
    }
  }

  @Test func `counts a look-up for each part`() throws {
    let desk = try Desk(.fourLevel)
    desk.put(address, data | Bits.kernel)
    desk.put(next, 0x4100_0000 | Bits.kernel)
    #expect(try desk.ruling(.read, next - 4, byteCount: 8) == reaches(data + 0xffc))
    #expect(desk.processor.counter("references") == 2 && desk.processor.counter("accesses") == 1)
  }

  @Test func `moves no byte before both parts are translated, and then each to its page`() throws {
    let desk = try Desk(.fourLevel)
    desk.put(address, data | Bits.kernel)
    let second = desk.put(next, 0x4100_0000 | Bits.P)
    desk.windows.store(data + 0xff8, 0x1111_1111_1111_1111 as UInt64)
    var value = pgk_value_v1()
    value.low = 0xaabb_ccdd_eeff_0022
    let store = Processor.access(JudgedAccess(kind: .write, privilege: .supervisor), next - 3, byteCount: 8, flags: PGK_HAS_VALUE)
    #expect(try desk.processor.perform(store, value: value).answer.ruling == .pageFault(code: 0b11, address: next))
    #expect(desk.windows.load(data + 0xff8) == 0x1111_1111_1111_1111)
    desk.windows.store(second, 0x4100_0000 | Bits.P | Bits.W)
    #expect(try desk.processor.perform(store, value: value).answer.ruling == reaches(data + 0xffd))
    #expect(desk.windows.load(data + 0xff8) == 0xff00_2211_1111_1111 as UInt64)
    #expect(desk.windows.load(0x4100_0000) & 0xff_ffff_ffff == 0xaa_bbcc_ddee)
    #expect(desk.entry(second) & Bits.D != 0)
    let load = Processor.access(JudgedAccess(kind: .read, privilege: .supervisor), next - 3, byteCount: 8, flags: 0)
    #expect(try desk.processor.perform(load).value.low == value.low)
  }

  @Test func `crosses from the top of the address space to its bottom`() throws {
    let desk = try Desk(.fourLevel)
    desk.put(.max & ~0xfff, data | Bits.kernel)
    #expect(try desk.ruling(.read, .max, byteCount: 2) == .pageFault(code: 0, address: 0))
    desk.put(0, 0x4100_0000 | Bits.kernel)
    #expect(try desk.ruling(.read, .max, byteCount: 2) == reaches(data + 0xfff))
  }

  @Test func `crosses from the last 32-bit address to the first, and not beyond`() throws {
    for kind in [TableKind.twoLevel, .pae, nil] as [TableKind?] {
      for second in [nil, TableKind.ept4, .fourLevel] as [TableKind?] {
        let desk = try Desk(kind, under: second)
        let last: UInt64 = 0xffff_f000
        if kind != nil {
          let page = desk.frame()
          desk.put(last, page | Bits.user)
          try desk.loadRoot()
          #expect(try desk.ruling(.read, 0xffff_fffe, .user, byteCount: 4) == .pageFault(code: 0b100, address: 0))
          #expect(try desk.ruling(.read, 0xffff_fffc, .user, byteCount: 4) == reaches(page | 0xffc))
          desk.put(0, page | Bits.user)
          try desk.loadRoot()
          #expect(try desk.ruling(.read, 0xffff_fffe, .user, byteCount: 4) == reaches(page | 0xffe))
        } else if second != nil {
          desk.putSecond(last)
          let answer = try desk.ruling(.read, 0xffff_fffe, byteCount: 4)
          #expect(answer == (second == .ept4
            ? .eptViolation(qualification: 0x181, mask: .max, gpa: 0, linear: 0) : .nestedFault(info1: 1 << 32 | 4, info2: 0)))
          desk.putSecond(0)
          #expect(try desk.ruling(.read, 0xffff_fffe, byteCount: 4) == reaches(0xffff_fffe))
        } else {
          #expect(try desk.ruling(.read, 0xffff_fffe, byteCount: 4) == reaches(0xffff_fffe))
        }
        #expect(try desk.ruling(.read, 1 << 32 | 8) == .generalProtection)
      }
    }
  }

  @Test func `loads CR2 with the first byte on the page that faults`() throws {
    let desk = try Desk(.fourLevel)
    desk.put(address, data | Bits.user)
    for (start, expected) in [(next - 1, next), (next - 7, next), (address - 3, address - 3), (next + 5, next + 5)] {
      var access = Processor.access(JudgedAccess(kind: .write, privilege: .user), start, byteCount: 8)
      var result = pgk_result_v1()
      _ = try desk.processor.unit.run(&access, values: nil, results: &result, count: 1)
      var verdict = pgk_verdict_v1()
      verdict.kind = UInt8(PGK_VERDICT_REFLECT)
      _ = try desk.processor.unit.resume([verdict])
      #expect(try desk.processor.register("cr2") == expected && desk.processor.register("error_code") == 0b110)
    }
  }

  @Test func `into the hole between the halves raises #GP`() throws {
    let desk = try Desk(.fourLevel)
    desk.put(0x7fff_ffff_f000, data | Bits.kernel)
    #expect(try desk.ruling(.read, 0x7fff_ffff_ffff, byteCount: 2) == .generalProtection)
  }

  @Test func `reports the faulting part to a hypervisor as well`() throws {
    for second in [TableKind.ept4, .fourLevel] {
      let desk = try Desk(.fourLevel, under: second)
      let page = desk.frame()
      desk.put(address, page | Bits.kernel)
      desk.put(next, 0x200_0000 | Bits.kernel)
      let expected: Ruling = second == .ept4
        ? .eptViolation(qualification: 0x181, mask: .max, gpa: 0x200_0000, linear: next)
        : .nestedFault(info1: 1 << 32 | 4, info2: 0x200_0000)
      #expect(try desk.ruling(.read, next - 2, byteCount: 4) == expected)
    }
  }
}

@Suite struct `Linear-address masking` {
  /// A 5-level or 4-level desk with a page at `address` and one in the upper half.
  private func desk(_ kind: TableKind, cr3: UInt64 = 0, cr4: UInt64 = 0) throws -> Desk {
    let desk = try Desk(kind, cr4: cr4)
    desk.put(address, data | Bits.user)
    desk.put(~0 << 40 | address, 0x4100_0000 | Bits.user)
    try desk.set("cr3", desk.root | cr3)
    return desk
  }
  private let upper: UInt64 = ~0 << 40 | address

  @Test func `takes bits 62 to 48 of user pointers away with LAM_U48, 62 to 57 with LAM_U57`() throws {
    for kind in [TableKind.fourLevel, .fiveLevel] {
      for (bits, first) in [(CR.LAM_U48, 48), (CR.LAM_U57, 57), (CR.LAM_U48 | CR.LAM_U57, 57)] as [(UInt64, UInt64)] {
        let desk = try desk(kind, cr3: bits)
        for bit in first...62 {
          #expect(try desk.ruling(.read, address | 1 << bit) == reaches(data), "\(kind), bit \(bit)")
          #expect(try desk.ruling(.write, address | 1 << bit, .user) == reaches(data))
        }
        // The bit below is checked against bit 63.
        #expect(try desk.ruling(.read, address | 1 << (first - 1)) == .generalProtection)
        #expect(try desk.ruling(.read, address | 1 << 63) == .generalProtection)
        // Supervisor pointers are not meant.
        #expect(try desk.ruling(.read, upper ^ 1 << 60) == .generalProtection)
      }
    }
  }

  @Test func `with 57 bits leaves bits 56 to 47 to the check for 4 levels`() throws {
    let desk = try desk(.fourLevel, cr3: CR.LAM_U57)
    for bit in 47...55 as ClosedRange<UInt64> { #expect(try desk.ruling(.read, address | 1 << bit) == .generalProtection) }
    let five = try self.desk(.fiveLevel, cr3: CR.LAM_U48)
    // With 48 bits under 5 levels, bits 56 to 48 are metadata as well.
    #expect(try five.ruling(.read, address | 0x1ff << 48) == reaches(data))
  }

  @Test func `of supervisor pointers is CR4.LAM_SUP's, as wide as paging`() throws {
    for (kind, first) in [(TableKind.fourLevel, 48), (.fiveLevel, 57)] as [(TableKind, UInt64)] {
      let desk = try desk(kind, cr4: CR.LAM_SUP)
      for bit in first...62 { #expect(try desk.ruling(.read, upper ^ 1 << bit) == reaches(0x4100_0000)) }
      #expect(try desk.ruling(.read, upper ^ 1 << (first - 1)) == .generalProtection)
      #expect(try desk.ruling(.read, address | 1 << 60) == .generalProtection)
    }
  }

  @Test func `does not touch fetches`() throws {
    let desk = try desk(.fourLevel, cr3: CR.LAM_U48, cr4: CR.LAM_SUP)
    #expect(try desk.ruling(.fetch, address | 1 << 60) == .generalProtection)
    #expect(try desk.ruling(.fetch, upper ^ 1 << 60) == .generalProtection)
    #expect(try desk.ruling(.fetch, address) == reaches(data))
  }

  @Test func `shows faults the address without metadata`() throws {
    let desk = try desk(.fourLevel, cr3: CR.LAM_U48)
    #expect(try desk.ruling(.read, 0x5a5a_0000_1234_5678) == .pageFault(code: 0, address: 0x1234_5678))
    #expect(try desk.ruling(.read, 0x5a5a << 48 | address + 0xffc, byteCount: 8) == .pageFault(code: 0, address: address + 0x1000))
  }

  @Test func `gives one TLB entry to all pointers to a page`() throws {
    let desk = try desk(.fourLevel, cr3: CR.LAM_U48)
    _ = try desk.ruling(.read, address)
    #expect(try desk.perform(.read, address | 0x1234 << 48).reads == 0)
  }

  @Test func `is for 64-bit mode: a feature that is off refuses its bits by name`() throws {
    let desk = try Desk(.fourLevel, [("lam", "false")])
    #expect(throws: (any Error).self) { try desk.set("cr4", desk.cr4 | CR.LAM_SUP) }
    #expect(throws: (any Error).self) { try desk.set("cr3", desk.root | CR.LAM_U57) }
  }
}

@Suite struct `Shadow-stack accesses` {
  private func desk(_ kind: TableKind, _ leaf: UInt64, tables: UInt64 = Bits.table, cr4: UInt64 = 0) throws -> Desk {
    let desk = try Desk(kind, cr4: CR.CET | cr4)
    desk.put(address, data | leaf, tables: tables)
    try desk.loadRoot()
    return desk
  }
  private let page = Bits.P | Bits.A | Bits.D

  @Test(arguments: [TableKind.twoLevel, .pae, .fourLevel, .fiveLevel])
  func `need a page that is read-only and dirty, below writable tables, of their own mode`(_ kind: TableKind) throws {
    let user = try desk(kind, page | Bits.U), supervisor = try desk(kind, page)
    for access in [JudgedAccess.Kind.read, .write, .modify] {
      let w: UInt64 = access == .read ? 0 : 2
      #expect(try user.code(access, address, .userShadowStack) == nil)
      #expect(try user.code(access, address, .supervisorShadowStack) == 0b1000001 | w)
      #expect(try supervisor.code(access, address, .supervisorShadowStack) == nil)
      #expect(try supervisor.code(access, address, .userShadowStack) == 0b1000101 | w)
    }
    for leaf in [Bits.user, page & ~Bits.D | Bits.U] {
      #expect(try desk(kind, leaf).code(.read, address, .userShadowStack) == 0b1000101)
    }
    #expect(try desk(kind, 0).code(.write, address, .userShadowStack) == 0b1000110)
  }

  @Test func `need R/W in every entry above`() throws {
    for level in 1...3 {
      let desk = try desk(.fourLevel, page | Bits.U)
      let slot = desk.slot(address, level: level)
      desk.windows.store(slot, desk.entry(slot) & ~Bits.W)
      #expect(try desk.code(.read, address, .userShadowStack) == 0b1000101)
    }
  }

  @Test func `go with reads of the page, but ordinary writes do not`() throws {
    let desk = try desk(.fourLevel, page | Bits.U)
    #expect(try desk.code(.read, address, .user) == nil)
    #expect(try desk.code(.write, address, .user) == 0b111)
    #expect(try desk.code(.write, address) == 0b11)
    // From a TLB entry as from the tables.
    #expect(try desk.code(.write, address, .userShadowStack) == nil && desk.code(.write, address, .user) == 0b111)
  }

  @Test func `obey the key of the page, where pages have keys`() throws {
    let keyed = try desk(.fourLevel, page | Bits.U | Bits.key(2), cr4: CR.PKE)
    try keyed.set("pkru", 1 << 4)
    #expect(try keyed.code(.read, address, .userShadowStack) == 0b1100101)
    let pae = try desk(.pae, page, cr4: CR.PKS)
    try pae.set("pkrs", 3)
    #expect(try pae.code(.write, address, .supervisorShadowStack) == nil)
  }

  @Test func `find large pages`() throws {
    let desk = try Desk(.fourLevel, cr4: CR.CET)
    desk.put(address, data | page | Bits.U | Bits.PS, level: 1)
    #expect(try desk.code(.write, address, .userShadowStack) == nil)
  }
}
