// Who may do what, and what a fault tells. SDM 3A, "Access Rights", "Page-Fault Exceptions", "Accessed and Dirty Flags".
import PagingKit
import Testing

@testable import Arch_x86

private let address: UInt64 = 0x4020_3000
private let data: UInt64 = 0x4000_0000

@Suite struct `x86 access rights` {
  @Test func `of a user access need U/S in every entry, and of a write R/W in every entry`() throws {
    for kind in [TableKind.twoLevel, .fourLevel, .fiveLevel] {
      for level in 0..<kind.levels {
        for (bit, access, code) in [(Bits.U, JudgedAccess.Kind.read, 0b101), (Bits.W, .write, 0b111)] as [(UInt64, JudgedAccess.Kind, UInt64)] {
          let desk = try Desk(kind)
          desk.put(address, data | Bits.user)
          let slot = desk.slot(address, level: level)
          desk.windows.store(slot, desk.entry(slot) & ~bit, kind.size)
          #expect(try desk.code(access, address, .user) == code, "\(kind), level \(level)")
          #expect(try desk.code(.read, address) == nil)
        }
      }
    }
  }

  @Test func `let the supervisor write read-only pages only while CR0.WP is 0, and the write is marked`() throws {
    let desk = try Desk(.fourLevel)
    let slot = desk.put(address, data | Bits.P)
    #expect(try desk.code(.write, address) == 0b11)
    #expect(desk.entry(slot) == data | Bits.P)
    try desk.set("cr0", desk.cr0 & ~CR.WP)
    #expect(try desk.code(.write, address) == nil)
    #expect(desk.entry(slot) == data | Bits.P | Bits.A | Bits.D)
    // Not so for programs.
    desk.put(address, data | Bits.P | Bits.U)
    try desk.processor.special(X86Unit.request(.invlpg, low: address))
    #expect(try desk.code(.write, address, .user) == 0b111)
  }

  @Test func `keep the supervisor from fetching from user pages with SMEP, at any setting of AC`() throws {
    for kind in [TableKind.twoLevel, .pae, .fourLevel] {
      let desk = try Desk(kind, cr4: CR.SMEP)
      desk.put(address, data | Bits.user)
      desk.put(address + 0x1000, data | Bits.kernel)
      try desk.loadRoot()
      try desk.set("rflags", CR.AC | 2)
      #expect(try desk.code(.fetch, address) == 0b10001)
      #expect(try desk.code(.fetch, address, .user) == nil)
      #expect(try desk.code(.fetch, address + 0x1000) == nil)
      #expect(try desk.code(.read, address) == nil)
    }
  }

  @Test func `keep the supervisor's data accesses from user pages with SMAP unless AC is set`() throws {
    for wp in [true, false] {
      let desk = try Desk(.fourLevel, wp: wp, cr4: CR.SMAP)
      desk.put(address, data | Bits.user & ~Bits.W)
      #expect(try desk.code(.read, address) == 0b1 && desk.code(.write, address) == 0b11)
      #expect(try desk.code(.read, address, .user) == nil && desk.code(.fetch, address) == nil)
      try desk.set("rflags", CR.AC | 2)
      #expect(try desk.code(.read, address) == nil && desk.code(.write, address) == (wp ? 0b11 : nil))
      // The processor's own accesses to system tables are never excused.
      #expect(try desk.code(.read, address, .implicit) == 0b1)
    }
    let desk = try Desk(.fourLevel)
    desk.put(address, data | Bits.user)
    #expect(try desk.code(.read, address, .implicit) == nil)
  }

  @Test func `judge a read-modify-write as a write`() throws {
    let desk = try Desk(.fourLevel)
    let slot = desk.put(address, data | Bits.P | Bits.U | Bits.A)
    #expect(try desk.code(.modify, address, .user) == 0b111)
    desk.windows.store(slot, data | Bits.P | Bits.U | Bits.W)
    #expect(try desk.code(.modify, address, .user) == nil)
    #expect(desk.entry(slot) == data | Bits.user)
  }

  @Test func `report a fetch only with SMEP, or with PAE and NXE`() throws {
    for (kind, cr4, efer, isReported) in [
      (TableKind.twoLevel, 0, CR.NXE, false), (.twoLevel, CR.SMEP, 0, true), (.pae, 0, 0, false), (.pae, 0, CR.NXE, true),
      (.pae, CR.SMEP, 0, true), (.fourLevel, 0, 0, false), (.fourLevel, 0, CR.NXE, true), (.fiveLevel, CR.SMEP, 0, true),
    ] as [(TableKind, UInt64, UInt64, Bool)] {
      let desk = try Desk(kind, cr4: cr4, efer: efer)
      desk.put(address, 0)
      try desk.loadRoot()
      #expect(try desk.code(.fetch, address, .user) == (isReported ? 0b10100 : 0b100))
    }
  }
}

@Suite struct `Protection keys` {
  private func desk(_ entry: UInt64, cr4: UInt64, pkru: UInt64 = 0, pkrs: UInt64 = 0, wp: Bool = true, kind: TableKind = .fourLevel) throws -> Desk {
    let desk = try Desk(kind, wp: wp, cr4: cr4)
    desk.put(address, data | entry)
    try desk.loadRoot()
    try desk.processor.set([("pkru", pkru), ("pkrs", pkrs)])
    return desk
  }

  @Test func `of user pages stop data accesses of programs and of the supervisor alike, and no fetches`() throws {
    for kind in [TableKind.fourLevel, .fiveLevel] {
      let desk = try desk(Bits.user | Bits.key(5), cr4: CR.PKE, pkru: 1 << 10, kind: kind)
      #expect(try desk.code(.read, address, .user) == 0b100101 && desk.code(.read, address) == 0b100001)
      #expect(try desk.code(.write, address, .user) == 0b100111)
      #expect(try desk.code(.fetch, address, .user) == nil && desk.code(.fetch, address) == nil)
      // Another key.
      try desk.set("pkru", ~(3 << 10) & 0xffff_ffff)
      #expect(try desk.code(.read, address, .user) == nil)
    }
  }

  @Test func `that disable writes stop programs always and the supervisor only with CR0.WP`() throws {
    for wp in [true, false] {
      let desk = try desk(Bits.user | Bits.key(15), cr4: CR.PKE, pkru: 1 << 31, wp: wp)
      #expect(try desk.code(.write, address, .user) == 0b100111)
      #expect(try desk.code(.write, address) == (wp ? 0b100011 : nil))
      #expect(try desk.code(.read, address, .user) == nil)
    }
  }

  @Test func `do nothing without CR4.PKE, to supervisor pages, or under PAE and 32-bit paging`() throws {
    #expect(try desk(Bits.user | Bits.key(5), cr4: 0, pkru: .max >> 32).code(.read, address, .user) == nil)
    #expect(try desk(Bits.kernel | Bits.key(5), cr4: CR.PKE, pkru: .max >> 32).code(.read, address) == nil)
    for kind in [TableKind.pae, .twoLevel] {
      let desk = try desk(Bits.user, cr4: CR.PKE | CR.PKS, pkru: .max >> 32, pkrs: .max >> 32, kind: kind)
      #expect(try desk.code(.write, address, .user) == nil)
    }
  }

  @Test func `are told of besides another violation, but not with a fault of the translation itself`() throws {
    let readOnly = try desk(Bits.P | Bits.U | Bits.A | Bits.key(1), cr4: CR.PKE | CR.SMAP, pkru: 1 << 2)
    #expect(try readOnly.code(.write, address, .user) == 0b100111)
    #expect(try readOnly.code(.read, address) == 0b100001)
    #expect(try desk(Bits.user & ~1 | Bits.key(1), cr4: CR.PKE, pkru: 1 << 2).code(.read, address, .user) == 0b100)
    #expect(try desk(Bits.user | 1 << 45 | Bits.key(1), cr4: CR.PKE, pkru: 1 << 2).code(.read, address, .user) == 0b1101)
  }

  @Test func `of supervisor pages are IA32_PKRS's, whoever asks`() throws {
    for wp in [true, false] {
      let disabled = try desk(Bits.kernel | Bits.key(3), cr4: CR.PKS, pkrs: 1 << 6, wp: wp)
      #expect(try disabled.code(.read, address) == 0b100001 && disabled.code(.read, address, .implicit) == 0b100001)
      // A user access to a supervisor page is refused for its mode, and the key forbids it too.
      #expect(try disabled.code(.read, address, .user) == 0b100101)
      #expect(try disabled.code(.fetch, address) == nil)
      let readOnly = try desk(Bits.kernel | Bits.key(3), cr4: CR.PKS, pkrs: 1 << 7, wp: wp)
      #expect(try readOnly.code(.write, address) == (wp ? 0b100011 : nil))
      #expect(try readOnly.code(.write, address, .user) == (wp ? 0b100111 : 0b111))
      #expect(try readOnly.code(.read, address) == nil)
    }
    #expect(try desk(Bits.user | Bits.key(3), cr4: CR.PKS, pkrs: .max >> 32).code(.read, address, .user) == nil)
  }
}

@Suite struct `Accessed and dirty flags` {
  @Test(arguments: [TableKind.twoLevel, .pae, .fourLevel, .fiveLevel])
  func `are set in every entry of a translation, dirty in the last by a write`(_ kind: TableKind) throws {
    let top = kind == .pae ? 1 : kind.levels - 1
    for access in [JudgedAccess.Kind.read, .fetch, .write, .modify] {
      let desk = try Desk(kind)
      desk.put(address, data | Bits.P | Bits.W, tables: Bits.P | Bits.W)
      try desk.loadRoot()
      #expect(try desk.code(access, address) == nil)
      for level in 0...top {
        let isDirty = level == 0 && (access == .write || access == .modify)
        #expect(desk.entry(desk.slot(address, level: level)) & (Bits.A | Bits.D) == Bits.A | (isDirty ? Bits.D : 0))
      }
      #expect(desk.processor.counter("updates") == UInt64(top + 1))
    }
  }

  @Test func `of a large page are in its own entry`() throws {
    for (kind, level) in [(TableKind.twoLevel, 1), (.pae, 1), (.fourLevel, 1), (.fourLevel, 2), (.fiveLevel, 2)] {
      let desk = try Desk(kind, cr4: CR.PSE)
      let slot = desk.put(address, data | Bits.P | Bits.W | Bits.PS, level: level)
      try desk.loadRoot()
      #expect(try desk.code(.write, address) == nil)
      #expect(desk.entry(slot) == data | Bits.kernel | Bits.PS)
    }
  }

  @Test func `are not touched by an access that faults`() throws {
    for (entry, access) in [(Bits.P, JudgedAccess.Kind.write), (0, .read), (Bits.P | Bits.XD, .fetch), (Bits.P | 1 << 50, .read)] {
      let desk = try Desk(.fourLevel)
      desk.put(address, data | entry, tables: Bits.P)
      #expect(try desk.code(access, address) != nil)
      for level in 1...3 { #expect(desk.entry(desk.slot(address, level: level)) & Bits.A == 0) }
      #expect(desk.entry(desk.slot(address, level: 0)) == data | entry)
      #expect(desk.processor.counter("updates") == 0)
    }
  }

  @Test func `are set on the way down by an eager processor, but never in the last entry of an access that faults`() throws {
    for (entry, reached) in [(Bits.P, 1), (0, 1), (Bits.P | 1 << 50, 1)] as [(UInt64, Int)] {
      let desk = try Desk(.fourLevel, [("ad_policy", "eager")])
      desk.put(address, data | entry, tables: Bits.P)
      #expect(try desk.code(.write, address) != nil)
      for level in reached...3 { #expect(desk.entry(desk.slot(address, level: level)) & Bits.A != 0) }
      #expect(desk.entry(desk.slot(address, level: 0)) == data | entry)
    }
    // A table entry that is not present stops the walk, and is not marked.
    let desk = try Desk(.fourLevel, [("ad_policy", "eager")])
    desk.put(address, Bits.W, level: 2, tables: Bits.P)
    #expect(try desk.code(.read, address) == 0)
    #expect(desk.entry(desk.slot(address, level: 3)) & Bits.A != 0 && desk.entry(desk.slot(address, level: 2)) == Bits.W)
  }

  @Test func `are set by a write through a TLB entry that a read filled`() throws {
    let desk = try Desk(.fourLevel)
    let slot = desk.put(address, data | Bits.P | Bits.W)
    #expect(try desk.code(.read, address) == nil)
    #expect(desk.entry(slot) & Bits.D == 0)
    #expect(try desk.code(.write, address) == nil)
    #expect(desk.entry(slot) & Bits.D != 0)
    // And then no more.
    desk.windows.store(slot, data | Bits.P | Bits.W)
    #expect(try desk.perform(.write, address).reads == 0)
    #expect(desk.entry(slot) == data | Bits.P | Bits.W)
  }

  @Test func `are not set for a speculative access otherwise than for any other`() throws {
    let desk = try Desk(.fourLevel)
    let slot = desk.put(address, data | Bits.P | Bits.W)
    var access = Processor.access(JudgedAccess(kind: .read, privilege: .supervisor), address, byteCount: 1)
    access.flags |= 2
    #expect(try desk.processor.perform(access).answer.ruling == reaches(data))
    #expect(desk.entry(slot) & Bits.A != 0)
  }
}
