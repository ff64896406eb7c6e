// Corner rules of EPT. SDM 3C, "The Extended Page Table Mechanism (EPT)"; hand-made tables.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_x86

private let address: UInt64 = 0x4020_3000

@Suite struct EPT {
  /// Flags for EPT are on unless `flags` is false.
  private func desk(
    _ guest: TableKind? = .fourLevel, _ options: [(String, String)] = [], under second: TableKind = .ept4, flags: Bool = true, mbec: Bool = false
  ) throws -> (desk: Desk, page: UInt64) {
    let desk = try Desk(guest, under: second, options)
    try desk.processor.set([("ept.mbec", mbec ? 1 : 0), ("ept.eptp", desk.secondRoot | 6 | UInt64(second.levels - 1) << 3 | (flags ? 1 << 6 : 0))])
    let page = desk.frame()
    if guest != nil {
      desk.put(address, page | Bits.user)
      try desk.loadRoot()
    }
    return (desk, page)
  }

  private func violation(_ qualification: UInt64, _ gpa: UInt64, _ linear: UInt64 = address) -> Ruling {
    .eptViolation(qualification: qualification, mask: .max, gpa: gpa, linear: linear)
  }

  @Test func `that is not present is a violation, whatever else its entry holds`() throws {
    for level in 0...3 {
      let (desk, page) = try desk(nil)
      desk.windows.store(desk.secondSlot(page, level: level), ~0x407)
      #expect(try desk.ruling(.read, page) == violation(0x181, page, page))
      // Bit 10 makes it present only with mode-based execute control.
      desk.windows.store(desk.secondSlot(page, level: level), ~7)
      #expect(try desk.ruling(.fetch, page) == violation(0x184, page, page))
      try desk.set("ept.mbec", 1)
      #expect(try desk.ruling(.fetch, page) == .eptMisconfiguration(gpa: page))
    }
  }

  @Test func `is misconfigured by rights that do not exist, and by execute-only where it is not supported`() throws {
    for (rights, isWrong, isWrongWithout) in [
      (1, false, false), (2, true, true), (3, false, false), (4, false, true), (5, false, false), (6, true, true), (7, false, false),
    ] as [(UInt64, Bool, Bool)] {
      for (option, expected) in [("true", isWrong), ("false", isWrongWithout)] {
        for level in 0...3 {
          let (desk, page) = try desk(nil, [("ept.execute_only", option)])
          let slot = desk.secondSlot(page, level: level)
          desk.windows.store(slot, desk.windows.load(slot) & ~7 | rights)
          let ruling = try desk.ruling(.read, page)
          #expect((ruling == .eptMisconfiguration(gpa: page)) == expected, "rights \(rights), level \(level)")
        }
      }
    }
    // Executable in user mode only is execute-only, too.
    for option in ["true", "false"] {
      let (desk, page) = try desk(nil, [("ept.execute_only", option)], mbec: true)
      desk.putSecond(page, page | 0x430)
      #expect(try desk.ruling(.fetch, page) == (option == "true" ? reaches(page) : .eptMisconfiguration(gpa: page)))
    }
  }

  @Test func `is misconfigured by reserved bits, level by level`() throws {
    for (level, bits) in [(0, []), (1, [3, 4, 5, 6]), (2, [3, 4, 5, 6]), (3, [3, 4, 5, 6, 7])] as [(Int, [UInt64])] {
      for bit in 3...63 as ClosedRange<UInt64> {
        let isAddress = (12..<40).contains(bit)
        // Bit 7 of a table entry makes it a page; address bits lead elsewhere.
        if isAddress || (level == 1 || level == 2) && bit == 7 || level == 0 && bit < 6 { continue }
        let (desk, page) = try desk(nil)
        let slot = desk.secondSlot(page, level: level)
        desk.windows.store(slot, desk.windows.load(slot) ^ 1 << bit)
        let isWrong = bits.contains(bit) || (40..<52).contains(bit)
        #expect(try desk.ruling(.read, page) == (isWrong ? .eptMisconfiguration(gpa: page) : reaches(page)), "level \(level), bit \(bit)")
      }
    }
  }

  @Test func `is misconfigured by memory types 2, 3 and 7 in a page`() throws {
    for level in 0...2 {
      for type in 0...7 as ClosedRange<UInt64> {
        let (desk, _) = try desk(nil)
        let far: UInt64 = 0xc000_0000
        desk.putSecond(far, 0x4000_0000 | 7 | type << 3 | (level > 0 ? Bits.PS : 0), level: level)
        #expect(try desk.ruling(.read, far) == ([2, 3, 7].contains(type) ? .eptMisconfiguration(gpa: far) : reaches(0x4000_0000)))
      }
    }
  }

  @Test func `reserves bit 12 of a large page, unlike a guest's entry`() throws {
    for (level, bits) in [(1, 12...20), (2, 12...29)] as [(Int, ClosedRange<UInt64>)] {
      for bit in bits {
        let (desk, _) = try desk(nil)
        let far: UInt64 = 0xc000_0000
        desk.putSecond(far, 0x4000_0000 | Bits.ept | Bits.PS | 1 << bit, level: level)
        #expect(try desk.ruling(.read, far) == .eptMisconfiguration(gpa: far))
      }
      let (desk, _) = try desk(nil, [("ept.page_2m", "false"), ("ept.page_1g", "false")])
      let far: UInt64 = 0xc000_0000
      desk.putSecond(far, 0x4000_0000 | Bits.ept | Bits.PS, level: level)
      #expect(try desk.ruling(.read, far) == .eptMisconfiguration(gpa: far))
    }
  }

  @Test func `that is wrong or absent below beats a missing right above`() throws {
    let (desk, page) = try desk(nil)
    let upper = desk.secondSlot(page, level: 2)
    desk.windows.store(upper, desk.windows.load(upper) & ~2)
    desk.putSecond(page, 2 | page)
    #expect(try desk.ruling(.write, page) == .eptMisconfiguration(gpa: page))
    desk.putSecond(page, 0)
    #expect(try desk.ruling(.write, page) == violation(0x182, page, page))
    desk.putSecond(page)
    #expect(try desk.ruling(.write, page) == violation(0x1aa, page, page))
  }

  @Test func `reports the rights of all entries together`() throws {
    for (level, lost) in [(0, 1), (1, 2), (2, 4), (3, 6)] as [(Int, UInt64)] {
      let (desk, page) = try desk(nil)
      let slot = desk.secondSlot(page, level: level)
      desk.windows.store(slot, desk.windows.load(slot) & ~lost)
      let rights = 7 & ~lost
      for (access, bit) in [(JudgedAccess.Kind.read, 1), (.write, 2), (.fetch, 4)] as [(JudgedAccess.Kind, UInt64)] {
        let isWrong = rights & 3 == 2
        let expected: Ruling = isWrong ? .eptMisconfiguration(gpa: page) : rights & bit != 0 ? reaches(page) : violation(0x180 | bit | rights << 3, page, page)
        #expect(try desk.ruling(access, page) == expected, "level \(level)")
      }
    }
  }

  @Test func `may allow fetches alone`() throws {
    let (desk, page) = try desk(nil)
    desk.putSecond(page, page | 4 | 6 << 3)
    #expect(try desk.ruling(.fetch, page) == reaches(page))
    #expect(try desk.ruling(.read, page) == violation(0x1a1, page, page) && desk.ruling(.write, page) == violation(0x1a2, page, page))
  }

  @Test func `takes the reading of a guest's table for a read, or with its flags for a write too`() throws {
    for access in [JudgedAccess.Kind.read, .write, .fetch] {
      for flags in [true, false] {
        for level in 0...3 {
          let (desk, page) = try desk(flags: flags)
          let slot = desk.slot(address, level: level)
          desk.putSecond(slot, slot & ~0xfff | 5 | 6 << 3)
          #expect(try desk.ruling(access, address, .user) == (flags ? violation(0xab, slot) : reaches(page)))
          desk.putSecond(slot, slot & ~0xfff | 4 | 6 << 3)
          try desk.processor.unit.reset(PGK_RESET_CACHES)
          #expect(try desk.ruling(access, address, .user) == violation(flags ? 0xa3 : 0xa1, slot))
        }
      }
    }
  }

  @Test func `needs the right to write where a guest's flag has to be set, and only then`() throws {
    let (desk, page) = try desk(flags: false)
    let (upper, lower) = (desk.slot(address, level: 1), desk.slot(address, level: 0))
    desk.windows.store(upper, desk.windows.load(upper) & ~Bits.A)
    desk.windows.store(lower, page | Bits.P | Bits.W | Bits.U)
    desk.putSecond(lower, lower & ~0xfff | 5 | 6 << 3)
    guard case .eptViolation(let qualification, _, lower, address) = try desk.ruling(.write, address, .user) else {
      Issue.record("the flag was written")
      return
    }
    #expect(qualification & ~1 == 0xaa)
    // What was set above stays set, and the last entry is untouched.
    #expect(desk.windows.load(upper) & Bits.A != 0 && desk.windows.load(lower) == page | Bits.P | Bits.W | Bits.U)
    // A fault of the guest comes before.
    desk.windows.store(lower, page | Bits.P | Bits.U)
    #expect(try desk.code(.write, address, .user) == 0b111)
    // Flags that are set already need nothing.
    desk.windows.store(lower, page | Bits.user)
    #expect(try desk.ruling(.write, address, .user) == reaches(page))
  }

  @Test func `sets its flags in all entries, dirty in the last for writes and for the pages of a guest's tables`() throws {
    for access in [JudgedAccess.Kind.read, .write, .fetch] {
      for flags in [true, false] {
        let (desk, page) = try desk(flags: flags)
        var slots: [UInt64] = []
        for gpa in [page] + (0...3).map({ desk.slot(address, level: $0) }) {
          for level in 0...3 {
            let slot = desk.secondSlot(gpa, level: level)
            desk.windows.store(slot, desk.windows.load(slot) & ~0x300)
            if level == 0 { slots.append(slot) }
          }
        }
        #expect(try desk.ruling(access, address, .user) == reaches(page))
        for (number, slot) in slots.enumerated() {
          let isDirty = number > 0 || access == .write
          #expect(desk.windows.load(slot) & 0x300 == (flags ? 0x100 | (isDirty ? 0x200 : 0) : 0))
        }
        for level in 1...3 { #expect(desk.windows.load(desk.secondSlot(page, level: level)) & 0x300 == (flags ? 0x100 : 0)) }
      }
    }
  }

  @Test func `with mode-based execute control asks the mode of the page, not of the access`() throws {
    for (isUser, bit) in [(true, 0x400), (false, 4)] as [(Bool, UInt64)] {
      let (desk, page) = try desk(mbec: true)
      desk.put(address, page | (isUser ? Bits.user : Bits.kernel))
      desk.putSecond(page, page | 0x333 & ~4 | bit)
      for privilege in isUser ? [JudgedAccess.Privilege.user, .supervisor] : [.supervisor] {
        #expect(try desk.ruling(.fetch, address, privilege) == reaches(page))
      }
      desk.putSecond(page, page | 0x333 & ~4 | (bit ^ 0x404))
      try desk.processor.unit.reset(PGK_RESET_CACHES)
      #expect(try desk.ruling(.fetch, address) == violation(0x184 | 3 << 3 | (bit == 4 ? 1 << 6 : 4 << 3), page))
      #expect(try desk.ruling(.read, address) == reaches(page))
    }
    // Without paging every address is a user address.
    let (bare, page) = try desk(nil, mbec: true)
    bare.putSecond(page, page | 0x433)
    #expect(try bare.ruling(.fetch, page) == reaches(page))
  }

  @Test func `tells with advanced information what the guest's entries say of the page`() throws {
    for (entry, bits) in [(Bits.user, 3), (Bits.kernel, 2), (Bits.user & ~Bits.W, 1), (Bits.kernel | Bits.XD, 6), (Bits.P | Bits.U | Bits.A | Bits.D | Bits.XD, 5)] as [(UInt64, UInt64)] {
      for isAdvanced in [true, false] {
        let (desk, page) = try desk(.fourLevel, [("ept.advanced", "\(isAdvanced)")])
        desk.put(address, page | entry)
        desk.putSecond(page, 0)
        #expect(try desk.ruling(.read, address) == violation(0x181 | (isAdvanced ? bits << 9 : 0), page))
      }
    }
    let (bare, page) = try desk(nil, [("ept.advanced", "true")])
    bare.putSecond(page, 0)
    #expect(try bare.ruling(.read, page) == violation(0x781, page, page))
    // Not for a table.
    let (desk, _) = try desk(.fourLevel, [("ept.advanced", "true")])
    let slot = desk.slot(address, level: 0)
    desk.putSecond(slot, 0)
    #expect(try desk.ruling(.read, address) == violation(0x83, slot))
  }

  @Test func `lets the guest's fault win over the final address, and marks the guest's entries before it`() throws {
    let (desk, page) = try desk()
    desk.putSecond(page, 0)
    let slot = desk.put(address, page | Bits.P | Bits.U)
    #expect(try desk.code(.write, address, .user) == 0b111)
    desk.windows.store(slot, page | Bits.P | Bits.W | Bits.U)
    #expect(try desk.ruling(.write, address, .user) == violation(0x182, page))
    #expect(desk.windows.load(slot) == page | Bits.user)
  }

  @Test func `with 4 levels names 48 bits, with 5 levels all`() throws {
    let far: UInt64 = 1 << 50
    let (four, _) = try desk(.fourLevel, [("maxphyaddr", "52")])
    four.put(address, far | Bits.user)
    #expect(try four.ruling(.read, address) == violation(0x181, far))
    let (five, page) = try desk(.fourLevel, [("maxphyaddr", "52")], under: .ept5)
    five.putSecond(far, page | Bits.ept)
    five.put(address, far | Bits.user)
    #expect(try five.ruling(.read, address) == reaches(page))
  }

  @Test func `gives a PAE guest the PDPTEs that the entry to the guest loaded`() throws {
    let (desk, page) = try desk(.pae)
    #expect(try desk.perform(.read, address).ruling == reaches(page))
    desk.windows.store(desk.root + 8, 0)
    try desk.processor.special(X86Unit.request(.invlpg, low: address))
    #expect(try desk.reached(address) == page)
    try desk.set("ept.pdptes.1", 0)
    try desk.processor.special(X86Unit.request(.invlpg, low: address))
    #expect(try desk.perform(.read, address) == Answer(ruling: .pageFault(code: 0, address: address), faultAddress: address))
  }

  @Test func `lets a PAE guest load PDPTEs through it by MOV to CR3`() throws {
    let (desk, page) = try desk(.pae)
    try desk.set("ept.pdptes.1", 0)
    #expect(try desk.move(.cr3, desk.root) == nil)
    #expect(try desk.processor.register("ept.pdptes.1") == desk.windows.load(desk.root + 8))
    #expect(try desk.reached(address) == page)
    desk.windows.store(desk.root + 16, 3)
    #expect(try desk.move(.cr3, desk.root) == "general_protection")
    desk.windows.store(desk.root + 16, 0)
    desk.putSecond(desk.root, 0)
    try desk.processor.unit.reset(PGK_RESET_CACHES)
    #expect(try desk.move(.cr3, desk.root) == "ept_violation")
    desk.putSecond(desk.root, desk.root | 2)
    #expect(try desk.move(.cr3, desk.root) == "ept_misconfig")
  }
}
