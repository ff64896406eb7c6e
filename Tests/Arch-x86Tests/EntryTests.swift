// What one entry decides: presence, reserved bits, page sizes. SDM 3A, "Paging"; hand-made tables.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_x86

private let address: UInt64 = 0x4020_3000
private let data: UInt64 = 0x4000_0000

/// The code of a fault by a reserved bit, for a supervisor read.
private let reserved: UInt64 = 0b1001

@Suite struct `An x86 paging-structure entry` {
  private let all: [TableKind] = [.twoLevel, .pae, .fourLevel, .fiveLevel]

  @Test(arguments: [TableKind.twoLevel, .pae, .fourLevel, .fiveLevel])
  func `that is not present hides everything else in it`(_ kind: TableKind) throws {
    for level in 0..<(kind == .pae ? 2 : kind.levels) {
      let desk = try Desk(kind)
      desk.put(address, (kind.size == 8 ? UInt64.max : 0xffff_ffff) & ~1, level: level)
      try desk.loadRoot()
      let answer = try desk.perform(.write, address, .user)
      #expect(answer.ruling == .pageFault(code: 0b110, address: address))
      #expect(answer.reads == UInt32(kind.levels - level - (kind == .pae ? 1 : 0)))
    }
  }

  @Test func `with a reserved bit beats whatever is wrong below it, and missing rights above it`() throws {
    let desk = try Desk(.fourLevel)
    // Nothing is present below the entry at level 2.
    desk.put(address, 1 << 45 | Bits.table, level: 2, tables: Bits.P)
    #expect(try desk.code(.write, address, .user) == 0b1111)
  }

  @Test func `that is not present beats missing rights above it`() throws {
    let desk = try Desk(.fourLevel)
    desk.put(address, 0, tables: Bits.P | Bits.XD)
    #expect(try desk.code(.fetch, address, .user) == 0b10100)
  }

  @Test func `reserves the address bits from MAXPHYADDR up`() throws {
    for width in [32, 36, 40, 46, 51] as [UInt64] {
      for kind in [TableKind.pae, .fourLevel] {
        for level in [0, 1] {
          let desk = try Desk(kind, [("maxphyaddr", "\(width)")])
          let slot = desk.put(address, Bits.kernel)
          let entry = level == 0 ? slot : desk.slot(address, level: 1)
          let good = desk.entry(entry)
          try desk.loadRoot()
          for bit in width..<52 {
            desk.windows.store(entry, good | 1 << bit)
            #expect(try desk.code(.read, address) == reserved, "bit \(bit) of \(width)")
          }
          desk.windows.store(entry, good)
          #expect(try desk.reached(address) == 0)
        }
      }
    }
    let widest = try Desk(.fourLevel, [("maxphyaddr", "52")])
    widest.put(address, 1 << 51 | Bits.kernel)
    #expect(try widest.reached(address) == 1 << 51)
  }

  @Test func `reserves bit 63 while EFER.NXE is 0`() throws {
    for kind in [TableKind.pae, .fourLevel, .fiveLevel] {
      let desk = try Desk(kind, efer: 0)
      desk.put(address, data | Bits.kernel | Bits.XD)
      try desk.loadRoot()
      #expect(try desk.code(.read, address) == reserved)
      try desk.set("efer", desk.efer | CR.NXE)
      #expect(try desk.reached(address) == data)
    }
  }

  @Test func `reserves bits 62 to 52 under PAE paging only`() throws {
    for kind in [TableKind.pae, .fourLevel] {
      for bit in 52...62 as ClosedRange<UInt64> {
        let desk = try Desk(kind)
        desk.put(address, data | Bits.kernel | 1 << bit)
        try desk.loadRoot()
        #expect(try desk.code(.read, address) == (kind == .pae ? reserved : nil))
      }
    }
  }

  @Test func `may map a large page only at the levels below the PML4E`() throws {
    for (kind, level, isAllowed) in [
      (TableKind.fourLevel, 1, true), (.fourLevel, 2, true), (.fourLevel, 3, false), (.fiveLevel, 2, true), (.fiveLevel, 3, false),
      (.fiveLevel, 4, false), (.pae, 1, true),
    ] {
      let desk = try Desk(kind)
      desk.put(address, data | Bits.kernel | Bits.PS, level: level)
      try desk.loadRoot()
      let offset = address & (1 << UInt64(kind.shift(level)) - 1)
      #expect(try desk.ruling(.read, address) == (isAllowed ? reaches(data | offset) : .pageFault(code: reserved, address: address)))
    }
  }

  @Test func `maps 1 GiB only where the processor has such pages`() throws {
    let desk = try Desk(.fourLevel, [("page1gb", "false")])
    desk.put(address, data | Bits.kernel | Bits.PS, level: 2)
    #expect(try desk.code(.read, address) == reserved)
  }

  @Test func `of a large page reserves the address bits below its size, but bit 12 is PAT`() throws {
    for (kind, level, bits) in [(TableKind.pae, 1, 13...20), (.fourLevel, 1, 13...20), (.fourLevel, 2, 13...29)] as [(TableKind, Int, ClosedRange<UInt64>)] {
      for bit in bits {
        let desk = try Desk(kind)
        desk.put(address, data | Bits.kernel | Bits.PS | 1 << bit, level: level)
        try desk.loadRoot()
        #expect(try desk.code(.read, address) == reserved, "bit \(bit)")
      }
      let desk = try Desk(kind)
      desk.put(address, data | Bits.kernel | Bits.PS | 1 << 12, level: level)
      try desk.loadRoot()
      #expect(try desk.code(.read, address) == nil)
    }
  }

  @Test func `ignores G and D where it references a table`() throws {
    for kind in all {
      let desk = try Desk(kind, cr4: CR.PGE)
      desk.put(address, data & 0xffff_ffff | Bits.kernel, tables: Bits.table | Bits.G | Bits.D)
      try desk.loadRoot()
      #expect(try desk.reached(address) == data)
      // Not global: MOV to CR3 drops it.
      desk.put(address, data + 0x1000 | Bits.kernel)
      try desk.move(.cr3, desk.root)
      #expect(try desk.reached(address) == data + 0x1000)
    }
  }

  @Test func `reserves bit 8 above PDEs on AMD, but not under nested paging, and not on Intel`() throws {
    for (level, isReserved) in [(1, false), (2, true), (3, true), (4, true)] {
      let desk = try Desk(.fiveLevel, [("vendor", "amd")])
      desk.put(address, data | Bits.kernel)
      let slot = desk.slot(address, level: level)
      desk.windows.store(slot, desk.entry(slot) | Bits.G)
      #expect(try desk.code(.read, address) == (isReserved ? reserved : nil))
      let intel = try Desk(.fiveLevel)
      intel.put(address, data | Bits.kernel, tables: Bits.table | Bits.G)
      #expect(try intel.code(.read, address) == nil)
    }
    let guest = try Desk(.fourLevel, under: .fourLevel, [("vendor", "amd")])
    guest.put(address, guest.frame() | Bits.kernel, tables: Bits.table | Bits.G)
    #expect(try guest.code(.read, address) == nil)
    let large = try Desk(.fourLevel, [("vendor", "amd")])
    large.put(address, data | Bits.kernel | Bits.PS | Bits.G, level: 2)
    #expect(try large.code(.read, address) == nil)
  }
}

@Suite struct `32-bit paging` {
  @Test func `has no reserved bits in a PTE, nor in a PDE that references a table`() throws {
    let desk = try Desk(.twoLevel, cr4: CR.PSE)
    desk.put(address, 0x4000_0000 | 0xfff, tables: 0xfff & ~Bits.PS)
    #expect(try desk.reached(address, .user) == 0x4000_0000)
  }

  @Test func `ignores PS without CR4.PSE`() throws {
    let desk = try Desk(.twoLevel)
    desk.put(address, 0x4000_0000 | Bits.user, tables: Bits.table | Bits.PS)
    #expect(try desk.reached(address) == 0x4000_0000)
    try desk.set("cr4", CR.PSE)
    // Now the same PDE maps 4 MiB, with reserved bits from where the table lies.
    let slot = desk.slot(address, level: 1)
    desk.windows.store(slot, 0x4000_0000 | Bits.user | Bits.PS, 4)
    #expect(try desk.reached(address) == 0x4000_0000 | address & 0x3f_ffff)
  }

  @Test func `finds the address bits 39 to 32 of a 4 MiB page in bits 20 to 13, as far as MAXPHYADDR goes`() throws {
    for width in [32, 33, 36, 39, 40, 46, 52] as [UInt64] {
      for bit in 13...21 as ClosedRange<UInt64> {
        let desk = try Desk(.twoLevel, [("maxphyaddr", "\(width)")], cr4: CR.PSE)
        desk.put(address, 0x80_0000 | Bits.user | Bits.PS | 1 << bit, level: 1)
        let isAddress = bit <= 20 && bit + 19 < width
        let expected = isAddress ? reaches(0x80_0000 | 1 << (bit + 19) | address & 0x3f_ffff) : .pageFault(code: reserved, address: address)
        #expect(try desk.ruling(.read, address) == expected, "bit \(bit), MAXPHYADDR \(width)")
      }
    }
  }

  @Test func `sets flags in one entry of four bytes and leaves its neighbour alone`() throws {
    let desk = try Desk(.twoLevel)
    let slot = desk.put(address, 0x4000_0000 | Bits.P | Bits.W)
    desk.windows.store(slot + 4, 0x1111_1111, 4)
    desk.windows.store(slot - 4, 0x2222_2222, 4)
    #expect(try desk.code(.write, address) == nil)
    #expect(desk.windows.load(slot, 4) == 0x4000_0000 | Bits.kernel)
    #expect(desk.windows.load(slot + 4, 4) == 0x1111_1111 && desk.windows.load(slot - 4, 4) == 0x2222_2222)
    // The upper half of a word.
    let upper = desk.put(address + 0x1000, 0x4000_1000 | Bits.P | Bits.W)
    #expect(try desk.code(.read, address + 0x1000) == nil)
    #expect(desk.windows.load(upper, 4) == 0x4000_1000 | Bits.P | Bits.W | Bits.A)
  }

  @Test func `knows no execute-disable, and reports fetches only with SMEP`() throws {
    let desk = try Desk(.twoLevel)
    desk.put(address, 0)
    #expect(try desk.code(.fetch, address) == 0)
    try desk.set("cr4", CR.SMEP)
    #expect(try desk.code(.fetch, address) == 0b10000)
  }
}

@Suite struct `PAE paging` {
  @Test func `checks all four PDPTEs when CR3 is loaded, those present only, and not at the access`() throws {
    for bit in [1, 2, 5, 6, 7, 8, 40, 51, 52, 62, 63] as [UInt64] {
      for number in 0..<4 as Range<UInt64> {
        let desk = try Desk(.pae)
        desk.put(address, data | Bits.kernel)
        try desk.loadRoot()
        let slot = desk.root + 8 * number
        let good = desk.windows.load(slot)
        desk.windows.store(slot, good | 1 | 1 << bit)
        #expect(try desk.move(.cr3, desk.root) == "general_protection", "bit \(bit) of PDPTE \(number)")
        #expect(try desk.processor.set([("cr3", desk.root)]) == Named.generalProtection)
        // The load changed nothing, and memory is not looked at by the walk.
        #expect(try desk.reached(address) == data)
        desk.windows.store(slot, good & ~1 | 1 << bit)
        #expect(try desk.move(.cr3, desk.root) == nil)
      }
    }
  }

  @Test func `takes PDPTEs from registers until CR3 is loaded again`() throws {
    let desk = try Desk(.pae)
    desk.put(address, data | Bits.kernel)
    #expect(try desk.perform(.read, address) == Answer(ruling: .pageFault(code: 0, address: address), faultAddress: address))
    try desk.move(.cr3, desk.root)
    #expect(try desk.perform(.read, address).reads == 2)
    desk.windows.store(desk.root + 8, 0)
    try desk.processor.special(X86Unit.request(.invlpg, low: address))
    #expect(try desk.reached(address) == data)
    try desk.move(.cr3, desk.root)
    #expect(try desk.code(.read, address) == 0)
  }

  @Test func `loads PDPTEs when paging begins and when CR0 or CR4 changes what caches hold`() throws {
    for (register, first, then) in [
      (Register.cr0, CR.PE | 0x10, CR.PE | 0x10 | CR.PG), (.cr0, CR.PE | 0x10 | CR.PG, CR.PE | 0x10 | CR.PG | 1 << 30),
      (.cr0, CR.PE | 0x10 | CR.PG | 3 << 29, CR.PE | 0x10 | CR.PG | 1 << 30), (.cr4, CR.PAE, CR.PAE | CR.PGE),
      (.cr4, CR.PAE | CR.PSE, CR.PAE), (.cr4, CR.PAE, CR.PAE | CR.SMEP), (.cr4, 0, CR.PAE),
    ] {
      let desk = try Desk(.pae)
      desk.put(address, data | Bits.kernel)
      #expect(try desk.move(register, first) == nil)
      desk.windows.store(desk.root + 8, desk.windows.load(desk.root + 8) | 2)
      #expect(try desk.move(register, then) == "general_protection", "\(register) \(hex(then))")
      desk.windows.store(desk.root + 8, desk.windows.load(desk.root + 8) & ~2)
      #expect(try desk.move(register, then) == nil)
      #expect(try desk.reached(address) == data, "\(register) \(hex(then))")
    }
    // Other bits do not.
    let desk = try Desk(.pae)
    desk.put(address, data | Bits.kernel)
    try desk.loadRoot()
    desk.windows.store(desk.root + 8, 3)
    #expect(try desk.move(.cr0, desk.cr0 & ~CR.WP) == nil && desk.move(.cr4, CR.PAE | CR.SMAP) == nil)
  }

  @Test func `has no rights and no accessed flag in PDPTEs`() throws {
    let desk = try Desk(.pae)
    desk.put(address, data | Bits.user)
    try desk.loadRoot()
    let pointer = desk.windows.load(desk.root + 8)
    #expect(pointer & 0x26 == 0)
    #expect(try desk.code(.write, address, .user) == nil)
    #expect(desk.windows.load(desk.root + 8) == pointer)
  }

  @Test func `takes the 32-byte aligned root from CR3`() throws {
    let desk = try Desk(.pae)
    let other = desk.root + 0x60
    desk.put(address, data | Bits.kernel)
    desk.windows.store(other + 8, desk.windows.load(desk.root + 8))
    desk.windows.store(desk.root + 8, 0)
    try desk.move(.cr3, other | 0x1f)
    #expect(try desk.reached(address) == data)
  }

  /// A corner that other tools get wrong: write protection and execute-disable are collected over PDE and PTE.
  @Test func `is read-only or not executable if one entry says so, at either level and for large pages`() throws {
    for (tables, leaf) in [(Bits.P | Bits.U, Bits.user), (Bits.table, Bits.user & ~Bits.W)] {
      for wp in [false, true] {
        let desk = try Desk(.pae, wp: wp)
        desk.put(address, data | leaf, tables: tables)
        try desk.loadRoot()
        #expect(try desk.code(.write, address, .user) == 0b111)
        #expect(try desk.code(.write, address) == (wp ? 0b11 : nil))
      }
    }
    for (tables, leaf) in [(Bits.table | Bits.XD, Bits.user), (Bits.table, Bits.user | Bits.XD)] {
      let desk = try Desk(.pae)
      desk.put(address, data | leaf, tables: tables)
      try desk.loadRoot()
      for privilege in [JudgedAccess.Privilege.user, .supervisor] {
        #expect(try desk.code(.fetch, address, privilege) == (privilege == .user ? 0b10101 : 0b10001))
        #expect(try desk.code(.read, address, privilege) == nil)
      }
    }
    let large = try Desk(.pae)
    large.put(address, data | Bits.P | Bits.U | Bits.PS | Bits.XD, level: 1)
    try large.loadRoot()
    #expect(try large.code(.write, address) == 0b11 && large.code(.fetch, address) == 0b10001)
  }
}

@Suite struct `Memory that is not there` {
  @Test func `reads as ones, so that an entry in it has reserved bits`() throws {
    for kind in [TableKind.fourLevel, .fiveLevel, .pae] {
      let desk = try Desk(kind)
      desk.put(address, 0x20_0000_0000 | Bits.table, level: 1)
      try desk.loadRoot()
      #expect(try desk.code(.read, address, .user) == 0b1101)
    }
    let desk = try Desk(.pae)
    #expect(try desk.move(.cr3, 0xf000_0000) == "general_protection")
  }

  @Test func `reads as ones for 32-bit paging too, which reserves none of them`() throws {
    let desk = try Desk(.twoLevel)
    desk.put(address, 0xf000_0000 | Bits.table, level: 1)
    #expect(try desk.perform(.write, address, .user) == Answer(ruling: reaches(0xffff_f000), reads: 2, pageShift: 12))
  }

  @Test func `delivers ones to a load and swallows a store`() throws {
    let desk = try Desk(.fourLevel)
    desk.put(address, 0x20_0000_0000 | Bits.kernel)
    var access = Processor.access(JudgedAccess(kind: .read, privilege: .supervisor), address, byteCount: 8, flags: 0)
    #expect(try desk.processor.perform(access).value.low == .max)
    access.kind = UInt8(PGK_WRITE)
    #expect(try desk.processor.perform(access).answer.ruling == reaches(0x20_0000_0000))
  }
}
