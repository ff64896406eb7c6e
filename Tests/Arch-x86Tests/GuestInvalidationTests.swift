// What invalidations of guests and of who runs them reach. SDM 3C, "Operations that Invalidate Cached Mappings"; APM 2, "TLB
// Flush"; APM 3, INVLPGA.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_x86

@Suite struct `An invalidation of a guest's translations` {
  private typealias Name = (vpid: UInt64, pcid: UInt64)
  private let three: [Name] = [(1, 1), (1, 2), (2, 1)]

  private func renewed(_ second: TableKind, _ operation: Arch_x86.Operation, _ address: UInt64 = 0, type: UInt64 = 0, _ identifier: UInt64) throws -> Set<String> {
    try Spaces(three, under: second).renewed { (spaces: Spaces) throws in
      let outcome = try spaces.desk.processor.special(X86Unit.request(operation, low: address, high: type | identifier << 8))
      #expect(outcome == nil)
    }
  }

  @Test(arguments: [TableKind.ept4, .ept5])
  func `by INVVPID reaches what its type says`(_ second: TableKind) throws {
    #expect(try renewed(second, .invvpid, Spaces.a, type: 0, 1) == ["1.1A", "1.2A"])
    #expect(try renewed(second, .invvpid, Spaces.g, type: 0, 1) == ["1.G"])
    #expect(try renewed(second, .invvpid, type: 1, 1) == ["1.1A", "1.1B", "1.2A", "1.2B", "1.G"])
    #expect(try renewed(second, .invvpid, type: 2, 0) == ["1.1A", "1.1B", "1.2A", "1.2B", "1.G", "2.1A", "2.1B", "2.G"])
    #expect(try renewed(second, .invvpid, type: 3, 1) == ["1.1A", "1.1B", "1.2A", "1.2B"])
    #expect(try renewed(second, .invvpid, type: 3, 2) == ["2.1A", "2.1B"])
  }

  @Test func `by INVVPID refuses VPID 0 but for all contexts`() throws {
    let desk = try Desk(.fourLevel, under: .ept4)
    for type in [0, 1, 3] as [UInt64] {
      #expect(throws: UnitError.self) { try desk.processor.special(X86Unit.request(.invvpid, high: type)) }
    }
    try desk.processor.special(X86Unit.request(.invvpid, high: 2))
  }

  @Test func `by INVVPID refuses an address that is not canonical`() throws {
    let desk = try Desk(.fourLevel, under: .ept4)
    #expect(throws: UnitError.self) { try desk.processor.special(X86Unit.request(.invvpid, low: 1 << 50, high: 1 << 8)) }
    try desk.processor.special(X86Unit.request(.invvpid, low: 1 << 50, high: 1 | 1 << 8))
  }

  @Test func `by TLB_CONTROL reaches everything, an ASID, or an ASID but its global pages`() throws {
    #expect(try renewed(.fourLevel, .tlbControl, type: 1, 0) == ["1.1A", "1.1B", "1.2A", "1.2B", "1.G", "2.1A", "2.1B", "2.G"])
    #expect(try renewed(.fourLevel, .tlbControl, type: 3, 1) == ["1.1A", "1.1B", "1.2A", "1.2B", "1.G"])
    #expect(try renewed(.fourLevel, .tlbControl, type: 7, 2) == ["2.1A", "2.1B"])
    for control in [0, 2, 4, 5, 6, 8] as [UInt64] { #expect(throws: UnitError.self) { try renewed(.fourLevel, .tlbControl, type: control, 1) } }
  }

  @Test func `by TLB_CONTROL takes what is cached of guest-physical addresses`() throws {
    let caches = [("tlb.nested.ways", "8"), ("pwc2.level1.ways", "4"), ("pwc2.level2.ways", "4")]
    for control in [1, 3, 7] as [UInt64] {
      let desk = try Desk(.fourLevel, under: .fourLevel, caches)
      try desk.set("vpid", 4)
      let page = desk.frame()
      desk.put(Spaces.a, page | Bits.kernel)
      #expect(try desk.reached(Spaces.a) == page)
      desk.putSecond(page, 0x300_0000 | Bits.user)
      try desk.processor.special(X86Unit.request(.tlbControl, high: 3 | 5 << 8))
      try desk.processor.special(X86Unit.request(.invlpga, low: Spaces.a, high: 4 << 8))
      #expect(try desk.reached(Spaces.a) == page)
      try desk.processor.special(X86Unit.request(.tlbControl, high: control | 4 << 8))
      #expect(try desk.reached(Spaces.a) == 0x300_0000)
    }
  }

  @Test func `of one address of a large page takes all that the TLB holds of the page`() throws {
    for (second, level) in [(TableKind.ept4, 1), (.fourLevel, 1), (.ept4, 2), (.ept5, 2)] {
      for operation in [Arch_x86.Operation.invlpg, .invpcid] {
        let desk = try Desk(.fourLevel, under: second)
        let large: UInt64 = 0x8000_0000
        for offset in [0, 0x1000, 0x5000] as [UInt64] { desk.putSecond(0x4000_0000 + offset) }
        let slot = desk.put(large, 0x4000_0000 | Bits.kernel | Bits.PS, level: level)
        desk.put(large - 0x1000, 0x4000_0000 | Bits.kernel)
        func reached() throws -> [UInt64?] { try [large, large + 0x1000, large + 0x5000, large - 0x1000].map { try desk.reached($0) } }
        let old = [0x4000_0000, 0x4000_1000, 0x4000_5000, 0x4000_0000] as [UInt64]
        #expect(try reached() == old)
        // The large page goes; what is small stays.
        desk.windows.store(slot, 0)
        desk.windows.store(desk.slot(large - 0x1000, level: 0), 0)
        #expect(try reached() == old)
        try desk.processor.special(X86Unit.request(operation, low: large + 0x3000))
        #expect(try reached() == [nil, nil, nil, 0x4000_0000])
      }
    }
  }

  @Test func `by the guest reaches what went through other EPT pointers, an EPT violation does not`() throws {
    let desk = try Desk(.fourLevel, under: .ept4)
    let page = desk.frame()
    let slot = desk.put(Spaces.a, page | Bits.kernel)
    desk.putSecond(page, page | Bits.ept & ~2)
    // The same tables by another pointer.
    let other: UInt64 = 0x8000
    for offset in stride(from: 0, to: 4096, by: 8) as StrideTo<UInt64> { desk.windows.store(other + offset, desk.windows.load(desk.secondRoot + offset)) }
    func enter(_ root: UInt64) throws { try desk.set("ept.eptp", root | 0x5e) }
    for root in [other, desk.secondRoot] {
      try enter(root)
      #expect(try desk.reached(Spaces.a) == page)
    }
    // A violation at the final address takes the translation of its own pointer only.
    #expect(try desk.leavesGuest(.write, Spaces.a))
    let moved = desk.frame()
    desk.windows.store(slot, moved | Bits.kernel)
    #expect(try desk.reached(Spaces.a) == moved)
    try enter(other)
    #expect(try desk.reached(Spaces.a) == page)
    try enter(desk.secondRoot)
    try desk.processor.special(X86Unit.request(.invlpg, low: Spaces.a))
    try enter(other)
    #expect(try desk.reached(Spaces.a) == moved)
  }

  @Test func `by INVLPGA reaches one page of one ASID, global or not`() throws {
    #expect(try renewed(.fourLevel, .invlpga, Spaces.a, 1) == ["1.1A", "1.2A"])
    #expect(try renewed(.fourLevel, .invlpga, Spaces.b, 2) == ["2.1B"])
    #expect(try renewed(.fourLevel, .invlpga, Spaces.g, 2) == ["2.G"])
  }

  @Test func `by the guest itself stays in the guest`() throws {
    for second in [TableKind.ept4, .fourLevel] {
      #expect(try renewed(second, .invlpg, Spaces.a, 0) == ["1.1A"])
      #expect(try renewed(second, .invpcid, type: 2, 0) == ["1.1A", "1.1B", "1.2A", "1.2B", "1.G"])
      #expect(try renewed(second, .invpcid, type: 1, 2) == ["1.2A", "1.2B"])
      let toggled = try Spaces(three, under: second).renewed {
        try $0.desk.move(.cr4, $0.desk.cr4 & ~CR.PGE)
        try $0.desk.move(.cr4, $0.desk.cr4)
      }
      #expect(toggled == ["1.1A", "1.1B", "1.2A", "1.2B", "1.G"])
    }
  }

  /// A guest page that the second stage moves.
  private func moved(_ options: [(String, String)] = [], root: UInt64? = nil) throws -> (desk: Desk, old: UInt64, new: UInt64) {
    let desk = try Desk(.fourLevel, under: .ept4, options)
    let page = desk.frame()
    desk.put(Spaces.a, page | Bits.kernel)
    #expect(try desk.reached(Spaces.a) == page)
    desk.putSecond(page, 0x300_0000 | Bits.ept)
    #expect(try desk.reached(Spaces.a) == page)
    return (desk, page, 0x300_0000)
  }

  @Test func `by INVEPT reaches all that went through one EPT pointer, or through any`() throws {
    for options in [[], [("tlb.nested.ways", "8"), ("pwc2.level1.ways", "4"), ("pwc2.level2.ways", "4")]] {
      let (other, old, _) = try moved(options)
      try other.processor.special(X86Unit.request(.invept, low: other.secondRoot + 0x1000, high: 1))
      #expect(try other.reached(Spaces.a) == old)
      let (own, _, new) = try moved(options)
      // Bits 11:0 of the pointer do not name tables.
      try own.processor.special(X86Unit.request(.invept, low: own.secondRoot | 0x1e, high: 1))
      #expect(try own.reached(Spaces.a) == new)
      let (all, _, _) = try moved(options)
      try all.processor.special(X86Unit.request(.invept, low: 0, high: 2))
      #expect(try all.reached(Spaces.a) == new)
    }
    let desk = try Desk(.fourLevel, under: .ept4)
    for type in [0, 3] as [UInt64] { #expect(throws: UnitError.self) { try desk.processor.special(X86Unit.request(.invept, high: type)) } }
  }

  @Test func `by INVEPT finds tables that begin at address 0`() throws {
    let (desk, page, new) = try moved()
    for slot in stride(from: 0, to: 4096, by: 8) as StrideTo<UInt64> { desk.windows.store(slot, desk.windows.load(desk.secondRoot + slot)) }
    try desk.set("ept.eptp", 0x5e)
    #expect(try desk.reached(Spaces.a) == new)
    desk.putSecond(page)
    #expect(try desk.reached(Spaces.a) == new)
    for type in [1, 2] as [UInt64] {
      desk.putSecond(page)
      try desk.processor.special(X86Unit.request(.invept, low: 0x5e, high: type))
      #expect(try desk.reached(Spaces.a) == page)
      desk.putSecond(page, 0x300_0000 | Bits.ept)
      try desk.processor.special(X86Unit.request(.invept, low: 0x5e, high: type))
    }
  }

  @Test func `by INVVPID leaves guest-physical mappings, and INVEPT takes them`() throws {
    let (desk, old, new) = try moved([("tlb.nested.ways", "8"), ("tlb.nested.sets", "4")])
    try desk.processor.special(X86Unit.request(.invvpid, high: 2))
    try desk.set("vpid", 5)
    #expect(try desk.reached(Spaces.a) == old)
    try desk.processor.special(X86Unit.request(.invept, low: desk.secondRoot, high: 1))
    #expect(try desk.reached(Spaces.a) == new)
  }

  @Test func `happens when the second stage refuses: rights that were added are seen at once`() throws {
    let caches = [
      ("tlb.nested.ways", "8"), ("pwc2.level1.ways", "4"), ("pwc2.level2.ways", "4"), ("pwc2.level3.ways", "4"), ("entrycache.ways", "8"),
    ]
    for second in [TableKind.ept4, .fourLevel, .ept5] {
      for level in 0...2 {
        let desk = try Desk(.fourLevel, under: second, caches)
        let page = desk.frame()
        // Apart from the tables, so that its upper entries are its own.
        let far: UInt64 = 0x80_4020_3000
        desk.putSecond(far, page | (second.isEPT ? Bits.ept : Bits.user))
        desk.put(Spaces.a, far | Bits.kernel)
        let slot = desk.secondSlot(far, level: level)
        let good = desk.windows.load(slot)
        desk.windows.store(slot, good & ~2)
        #expect(try desk.reached(Spaces.a) == page)
        #expect(try desk.leavesGuest(.write, Spaces.a))
        desk.windows.store(slot, good)
        #expect(try desk.ruling(.write, Spaces.a) == reaches(page), "\(second), level \(level)")
      }
    }
  }
}

extension Desk {
  /// Whether the access leaves the guest.
  func leavesGuest(_ kind: JudgedAccess.Kind, _ address: UInt64) throws -> Bool {
    switch try ruling(kind, address) {
    case .eptViolation, .nestedFault, .eptMisconfiguration: true
    default: false
    }
  }
}
