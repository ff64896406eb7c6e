// What models of x86 are known to get wrong. Each is also among the random cases and the golden vectors; here it has a name.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_x86

private let address: UInt64 = 0x4020_3000

@Suite struct `An x86 processor, unlike some of its models,` {
  private func desk(_ second: TableKind?, _ options: [(String, String)] = [], secondLevel: Int = 0) throws -> (desk: Desk, page: UInt64) {
    let desk = try Desk(.fourLevel, under: second, secondLevel: secondLevel, options)
    let page = desk.frame()
    desk.put(address, page | Bits.user)
    return (desk, page)
  }

  @Test func `tells of a second-stage fault what the second stage was asked`() throws {
    // A read, but the guest's table is written; a write, but the table is only read.
    let (nested, _) = try desk(.fourLevel)
    let table = nested.slot(address, level: 1)
    nested.putSecond(table, table & ~0xfff | Bits.user & ~Bits.W)
    #expect(try nested.ruling(.read, address) == .nestedFault(info1: 1 << 33 | 0b111, info2: table))
    let (ept, _) = try desk(.ept4)
    try ept.set("ept.eptp", ept.secondRoot | 0x1e)
    let slot = ept.slot(address, level: 1)
    ept.putSecond(slot, 0)
    #expect(try ept.ruling(.write, address) == .eptViolation(qualification: 0x81, mask: .max, gpa: slot, linear: address))
    // With its flags the table is read and written, whatever the access.
    try ept.set("ept.eptp", ept.secondRoot | 0x5e)
    #expect(try ept.ruling(.fetch, address) == .eptViolation(qualification: 0x83, mask: .max, gpa: slot, linear: address))
    // The final address is what the access is.
    for (kind, info, bits) in [(JudgedAccess.Kind.read, 4, 1), (.write, 6, 2), (.fetch, 0x14, 4)] as [(JudgedAccess.Kind, UInt64, UInt64)] {
      let (nested, page) = try desk(.fourLevel)
      nested.putSecond(page, 0)
      #expect(try nested.ruling(kind, address) == .nestedFault(info1: 1 << 32 | info, info2: page))
      let (ept, last) = try desk(.ept4)
      ept.putSecond(last, 0)
      #expect(try ept.ruling(kind, address) == .eptViolation(qualification: 0x180 | bits, mask: .max, gpa: last, linear: address))
    }
  }

  @Test func `dirties the second stage where it sets a flag of the first`() throws {
    for second in [TableKind.fourLevel, .ept4] {
      for access in [JudgedAccess.Kind.read, .write] {
        let (desk, page) = try desk(second)
        let slot = desk.put(address, page | Bits.P | Bits.W | Bits.U)
        let below = desk.secondSlot(slot)
        let (accessed, dirty): (UInt64, UInt64) = second.isEPT ? (1 << 8, 1 << 9) : (Bits.A, Bits.D)
        for gpa in [slot, page] { desk.windows.store(desk.secondSlot(gpa), desk.windows.load(desk.secondSlot(gpa)) & ~(accessed | dirty)) }
        #expect(try desk.ruling(access, address) == reaches(page))
        #expect(desk.entry(slot) == page | Bits.P | Bits.W | Bits.U | Bits.A | (access == .write ? Bits.D : 0))
        #expect(desk.windows.load(below) & (accessed | dirty) == accessed | dirty, "\(second), \(access)")
        #expect(desk.windows.load(desk.secondSlot(page)) & (accessed | dirty) == accessed | (access == .write ? dirty : 0))
      }
    }
  }

  @Test func `sets no accessed flag where the access faults`() throws {
    for second in [nil, TableKind.fourLevel, .ept4] as [TableKind?] {
      let (desk, page) = try desk(second)
      let clean = Bits.P | Bits.U
      desk.put(address, page | clean)
      let slots = (0...3).map { desk.slot(address, level: $0) }
      for slot in slots { desk.windows.store(slot, desk.entry(slot) & ~(Bits.A | Bits.D)) }
      #expect(try desk.code(.write, address, .user) == 0b111)
      for slot in slots { #expect(desk.entry(slot) & (Bits.A | Bits.D) == 0) }
      guard let second else { continue }
      // The second stage had let the tables be read; the page itself was not asked for.
      let last = desk.secondSlot(page)
      desk.windows.store(last, page | (second.isEPT ? 0x37 : Bits.P | Bits.W | Bits.U))
      #expect(try desk.code(.write, address, .user) == 0b111)
      #expect(desk.windows.load(last) == page | (second.isEPT ? 0x37 : Bits.P | Bits.W | Bits.U))
    }
  }

  @Test func `has one stage alone where the other is off`() throws {
    for second in [TableKind.ept4, .ept5, .fourLevel, .fiveLevel, .pae, .twoLevel] {
      let desk = try Desk(nil, under: second)
      let page = desk.frame()
      let answer = try desk.perform(.write, page + 0x123)
      #expect(answer.ruling == reaches(page + 0x123) && Int(answer.reads) == second.levels)
      #expect(try desk.perform(.fetch, page).reads == 0)
    }
    for kind in [TableKind.twoLevel, .pae, .fourLevel, .fiveLevel] {
      let desk = try Desk(kind)
      desk.put(address, 0x4000_0000 | Bits.user)
      try desk.loadRoot()
      #expect(try Int(desk.perform(.read, address).reads) == (kind == .pae ? 2 : kind.levels))
    }
    let off = try Desk(nil)
    #expect(try off.perform(.write, 0xdead_beef) == Answer(ruling: reaches(0xdead_beef), pageShift: 64))
  }

  @Test(arguments: [TableKind.fourLevel, .fiveLevel, .ept4, .ept5])
  func `finds the right byte where pages of 4 KiB lie on 2 MiB, and the reverse`(_ second: TableKind) throws {
    // 4 KiB pages of the guest in one 2 MiB page below, apart from where they are in the guest.
    let small = try Desk(.fourLevel, under: second, secondLevel: 1)
    let leaf = (second.isEPT ? Bits.ept : Bits.user) | Bits.PS
    small.putSecond(0x4000_0000, 0x260_0000 | leaf, level: 1)
    small.put(address, 0x4001_2000 | Bits.user)
    small.put(address + 0x1000, 0x4000_0000 | Bits.user)
    let first = try small.perform(.read, address + 0x345)
    #expect(first.ruling == reaches(0x261_2345) && first.pageShift == 12)
    #expect(try small.ruling(.read, address + 0x1678) == reaches(0x260_0678))
    #expect(try small.ruling(.read, address + 0xffc, byteCount: 8) == reaches(0x261_2ffc))
    // A 2 MiB page of the guest over 4 KiB pages below that lie apart, one of them missing.
    let large = try Desk(.fourLevel, under: second)
    let page = second.isEPT ? Bits.ept : Bits.user
    large.put(0x4020_0000, 0x4000_0000 | Bits.user | Bits.PS, level: 1)
    large.putSecond(0x4000_3000, 0x270_9000 | page)
    large.putSecond(0x4000_5000, 0x270_1000 | page)
    let over = try large.perform(.read, 0x4020_3456)
    #expect(over.ruling == reaches(0x270_9456) && over.pageShift == 12)
    #expect(try large.ruling(.read, 0x4020_5456) == reaches(0x270_1456))
    let missing = try large.ruling(.read, 0x4020_4456)
    let expected: Ruling = second.isEPT
      ? .eptViolation(qualification: 0x181, mask: .max, gpa: 0x4000_4456, linear: 0x4020_4456)
      : .nestedFault(info1: 1 << 32 | 4, info2: 0x4000_4456)
    #expect(missing == expected)
  }

  @Test func `can fault before the first entry of the guest is read`() throws {
    for second in [TableKind.fourLevel, .ept4] {
      let (desk, _) = try desk(second)
      let slot = desk.slot(address, level: 3)
      desk.putSecond(desk.root, 0)
      let answer = try desk.perform(.write, address)
      let expected: Ruling = second.isEPT
        ? .eptViolation(qualification: 0x83, mask: .max, gpa: slot, linear: address) : .nestedFault(info1: 1 << 33 | 6, info2: slot)
      #expect(answer.ruling == expected && answer.reads == 4)
      #expect(desk.windows.load(slot) & Bits.D == 0)
      // Nothing at all is read for an address that is not canonical, nor for one that the second stage cannot name.
      #expect(try desk.perform(.read, 1 << 47) == Answer(ruling: .generalProtection, faultAddress: 1 << 47))
    }
    let wide = try Desk(nil, under: .ept4)
    #expect(try wide.perform(.read, 1 << 33) == Answer(ruling: .generalProtection, faultAddress: 1 << 33))
    let root = try Desk(.fourLevel, under: .pae)
    try root.set("cr3", 1 << 34)
    #expect(try root.perform(.read, 0) == Answer(ruling: .nestedFault(info1: 1 << 33 | 6, info2: 1 << 34), faultAddress: 0))
  }
}
