// What each invalidation reaches, and what it leaves. SDM 3A, "Operations that Invalidate TLBs and Paging-Structure Caches";
// SDM 3C, "Operations that Invalidate Cached Mappings"; APM 3, INVLPGA.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_x86

/// Spaces of one processor, each with pages A and B of its own and a global page G.
///
/// `renewed` says which translations an operation made new: all are cached, then all leaves are changed silently, then the
/// operation is performed, then every address is asked again.
private final class Spaces {
  static let a: UInt64 = 0x1234_5000, b: UInt64 = 0x1234_6000, g: UInt64 = 0x7000_0000
  let desk: Desk
  private var roots: [UInt64: UInt64] = [:]
  /// VPID and PCID of the spaces.
  private let names: [(vpid: UInt64, pcid: UInt64)]

  init(_ names: [(vpid: UInt64, pcid: UInt64)], under second: TableKind? = nil, _ options: [(String, String)] = []) throws {
    self.names = names
    desk = try Desk(.fourLevel, under: second, options, cr4: CR.PCIDE | CR.PGE)
    if second != nil { for page in stride(from: 0x200_0000, to: 0x280_0000, by: 0x20_0000) as StrideTo<UInt64> { desk.putSecond(page, level: 1) } }
    for (number, name) in names.enumerated() {
      let root = desk.frame()
      roots[key(name)] = root
      desk.root = root
      for (address, bits) in [(Self.a, 0), (Self.b, 0), (Self.g, Bits.G)] as [(UInt64, UInt64)] {
        desk.put(address, page(number, address, 0) | Bits.kernel | bits)
      }
    }
  }

  private func key(_ name: (vpid: UInt64, pcid: UInt64)) -> UInt64 { name.vpid << 12 | name.pcid }
  func root(_ name: (vpid: UInt64, pcid: UInt64)) -> UInt64 { roots[key(name)]! }

  /// The global page is the same in all spaces of a machine, as the manual wants it.
  private func page(_ space: Int, _ address: UInt64, _ version: UInt64) -> UInt64 {
    let owner = address == Self.g ? UInt64(names[space].vpid) : UInt64(space)
    return 0x200_0000 + (address == Self.g ? 0x20_0000 : 0) + owner << 16 + (address >> 12 & 7) << 13 + version << 12
  }

  func enter(_ name: (vpid: UInt64, pcid: UInt64)) throws {
    try desk.set("vpid", name.vpid)
    try desk.move(.cr3, root(name) | name.pcid | 1 << 63)
  }

  private func version(_ space: Int, _ address: UInt64) throws -> UInt64 {
    try enter(names[space])
    guard let reached = try desk.reached(address) else { throw Unexpected(ruling: .generalProtection) }
    return (reached - page(space, address, 0)) >> 12
  }

  private func label(_ space: Int, _ address: UInt64) -> String {
    let name = names[space]
    let machine = names.contains { $0.vpid != name.vpid } ? "\(name.vpid)." : ""
    return address == Self.g ? "\(machine)G" : "\(machine)\(name.pcid)\(address == Self.a ? "A" : "B")"
  }

  /// Performed in the first space.
  func renewed(by operation: (Spaces) throws -> Void) throws -> Set<String> {
    try change { space, address, slot, version in
      desk.windows.store(slot, page(space, address, version) | Bits.kernel | (address == Self.g ? Bits.G : 0))
    } operation: { try operation(self) }
  }

  private func change(
    _ edit: (Int, UInt64, UInt64, UInt64) -> Void, operation: () throws -> Void
  ) throws -> Set<String> {
    for space in names.indices { for address in [Self.a, Self.b, Self.g] { #expect(try version(space, address) == 0) } }
    for space in names.indices {
      desk.root = root(names[space])
      for address in [Self.a, Self.b, Self.g] { edit(space, address, desk.slot(address, level: 0), 1) }
    }
    try enter(names[0])
    try operation()
    var result: Set<String> = []
    for space in names.indices { for address in [Self.a, Self.b, Self.g] where try version(space, address) == 1 { result.insert(label(space, address)) } }
    return result
  }
}

@Suite struct `An x86 invalidation` {
  private typealias Name = (vpid: UInt64, pcid: UInt64)
  private let two: [Name] = [(0, 1), (0, 2)]

  private func renewed(_ operation: (Spaces) throws -> Void) throws -> Set<String> { try Spaces(two).renewed(by: operation) }
  private func special(_ spaces: Spaces, _ operation: Arch_x86.Operation, _ address: UInt64 = 0, type: UInt64 = 0, _ identifier: UInt64 = 0) throws {
    #expect(try spaces.desk.processor.special(X86Unit.request(operation, low: address, high: type | identifier << 8)) == nil)
  }

  @Test func `by INVLPG reaches one page of the current PCID, and global pages`() throws {
    #expect(try renewed { try special($0, .invlpg, Spaces.a + 0xfff) } == ["1A"])
    #expect(try renewed { try special($0, .invlpg, Spaces.g) } == ["G"])
    #expect(try renewed { try special($0, .invlpg, 0x1111_1000) } == [])
    // An address that is not canonical is no error.
    #expect(try renewed { try special($0, .invlpg, 1 << 60) } == [])
  }

  @Test func `by MOV to CR3 reaches the PCID that is loaded, but not global pages, and nothing with bit 63`() throws {
    #expect(try renewed { try $0.desk.move(.cr3, $0.root((0, 1)) | 1) } == ["1A", "1B"])
    #expect(try renewed { try $0.desk.move(.cr3, $0.root((0, 2)) | 2) } == ["2A", "2B"])
    #expect(try renewed { try $0.desk.move(.cr3, $0.root((0, 1)) | 1 | 1 << 63) } == [])
  }

  @Test func `by MOV to CR3 without PCIDs reaches all but global pages, and knows no bit 63`() throws {
    for kind in [TableKind.twoLevel, .pae, .fourLevel, .fiveLevel] {
      let desk = try Desk(kind, cr4: CR.PGE)
      desk.put(Spaces.a, 0x40_0000 | Bits.kernel)
      desk.put(Spaces.g, 0x40_0000 | Bits.kernel | Bits.G)
      try desk.move(.cr3, desk.root)
      #expect(try desk.reached(Spaces.a) == 0x40_0000 && desk.reached(Spaces.g) == 0x40_0000)
      desk.put(Spaces.a, 0x41_0000 | Bits.kernel)
      desk.put(Spaces.g, 0x41_0000 | Bits.kernel | Bits.G)
      #expect(try desk.reached(Spaces.a) == 0x40_0000)
      #expect(throws: UnitError.self) { try desk.move(.cr3, desk.root | 1 << 63) }
      #expect(try desk.reached(Spaces.a) == 0x40_0000)
      // Bits 11:0 are no identifier.
      #expect(try desk.move(.cr3, desk.root | 0x18) == nil)
      #expect(try desk.reached(Spaces.a) == 0x41_0000 && desk.reached(Spaces.g) == 0x40_0000)
      #expect(try desk.move(.cr4, desk.cr4 & ~CR.PGE) == nil)
      #expect(try desk.reached(Spaces.g) == 0x41_0000)
    }
  }

  @Test func `is not made by EFER.NXE, but by leaving long mode`() throws {
    #expect(try renewed { try $0.desk.move(.efer, $0.desk.efer & ~CR.NXE); try $0.desk.move(.efer, $0.desk.efer) } == [])
    let left = try renewed {
      let desk = $0.desk
      let cr3 = try desk.processor.register("cr3")
      try desk.move(.cr4, desk.cr4 & ~CR.PCIDE)
      try desk.move(.cr0, desk.cr0 & ~CR.PG)
      try desk.move(.cr3, cr3 & ~0xfff)
      try desk.move(.cr0, desk.cr0)
      try desk.move(.cr4, desk.cr4)
    }
    #expect(left == ["1A", "1B", "2A", "2B", "G"])
  }

  @Test func `by INVLPG of an address that is not canonical is none`() throws {
    #expect(try renewed { try $0.desk.processor.special(X86Unit.request(.invlpg, low: Spaces.a | 1 << 50)) } == [])
  }

  @Test func `by INVPCID reaches what its type says`() throws {
    #expect(try renewed { try special($0, .invpcid, Spaces.a, type: 0, 2) } == ["2A"])
    #expect(try renewed { try special($0, .invpcid, Spaces.g, type: 0, 1) } == [])
    #expect(try renewed { try special($0, .invpcid, type: 1, 2) } == ["2A", "2B"])
    #expect(try renewed { try special($0, .invpcid, type: 2) } == ["1A", "1B", "2A", "2B", "G"])
    #expect(try renewed { try special($0, .invpcid, type: 3) } == ["1A", "1B", "2A", "2B"])
  }

  @Test func `by INVPCID wants PCIDs to be on, and a canonical address`() throws {
    let desk = try Desk(.fourLevel)
    func invpcid(_ type: UInt64, _ pcid: UInt64, _ address: UInt64) throws -> String? {
      try desk.processor.special(X86Unit.request(.invpcid, low: address, high: type | pcid << 8))
    }
    for type in [0, 1] as [UInt64] { #expect(try invpcid(type, 1, 0) == "general_protection" && invpcid(type, 0, 0) == nil) }
    #expect(try invpcid(2, 1, 0) == nil && invpcid(3, 1, 0) == nil)
    #expect(try invpcid(0, 0, 1 << 60) == "general_protection")
    #expect(throws: UnitError.self) { try invpcid(4, 0, 0) }
  }

  @Test func `by CR4 reaches everything for PGE and PCIDE, the current space for SMEP, and nothing for other bits`() throws {
    let all: Set<String> = ["1A", "1B", "2A", "2B", "G"]
    #expect(try renewed { try $0.desk.move(.cr4, $0.desk.cr4 & ~CR.PGE); try $0.desk.move(.cr4, $0.desk.cr4) } == all)
    #expect(try renewed { try $0.desk.move(.cr4, $0.desk.cr4 & ~CR.PCIDE); try $0.desk.move(.cr3, $0.root((0, 1))); try $0.desk.move(.cr4, $0.desk.cr4) } == all)
    #expect(try renewed { try $0.desk.move(.cr4, $0.desk.cr4 | CR.SMEP) }.isSuperset(of: ["1A", "1B"]))
    #expect(try renewed { try $0.desk.move(.cr4, $0.desk.cr4 | CR.SMEP) }.isDisjoint(with: ["2A", "2B"]))
    for bit in [CR.SMAP, CR.PKE, CR.PKS, CR.CET] { #expect(try renewed { try $0.desk.move(.cr4, $0.desk.cr4 | bit) } == []) }
  }

  @Test func `by clearing SMEP does not happen`() throws {
    let spaces = try Spaces(two)
    try spaces.desk.move(.cr4, spaces.desk.cr4 | CR.SMEP)
    #expect(try spaces.renewed { try $0.desk.move(.cr4, $0.desk.cr4) } == [])
  }

  @Test func `by CR0 happens when paging ends, not for WP`() throws {
    #expect(try renewed { try $0.desk.move(.cr0, $0.desk.cr0 & ~CR.WP) } == [])
    let desk = try Desk(.twoLevel, cr4: CR.PGE)
    let slot = desk.put(Spaces.g, 0x40_0000 | Bits.kernel | Bits.G)
    #expect(try desk.reached(Spaces.g) == 0x40_0000)
    desk.windows.store(slot, 0x41_0000 | Bits.kernel | Bits.G, 4)
    try desk.move(.cr3, desk.root)
    #expect(try desk.reached(Spaces.g) == 0x40_0000)
    try desk.move(.cr0, desk.cr0 & ~CR.PG)
    #expect(try desk.reached(Spaces.g) == Spaces.g)
    try desk.move(.cr0, desk.cr0)
    #expect(try desk.reached(Spaces.g) == 0x41_0000)
  }

  @Test func `is not made by PKRU, AC or IA32_PKRS`() throws {
    #expect(try renewed { try $0.desk.move(.pkru, 0); try $0.desk.set("rflags", CR.AC | 2); try $0.desk.move(.pkrs, 0) } == [])
  }

  @Test func `happens for a page that faults`() throws {
    let desk = try Desk(.fourLevel)
    let slot = desk.put(Spaces.a, 0x40_0000 | Bits.P | Bits.A)
    #expect(try desk.reached(Spaces.a) == 0x40_0000)
    // The fault finds the new entry anyhow, and what was cached of the page is gone.
    desk.windows.store(slot, 0)
    #expect(try desk.code(.write, Spaces.a) != nil)
    #expect(try desk.code(.read, Spaces.a) == 0)
  }

  @Test(arguments: 0..<3 as Range<UInt64>)
  func `still works when identifiers have run out`(_ shift: UInt64) throws {
    let desk = try Desk(.fourLevel, under: .ept4)
    let page = desk.frame()
    let slot = desk.put(Spaces.a, page | Bits.kernel)
    // Without global pages a machine uses one tag, with them two: the numbers of tags end at either.
    for vpid in 0..<shift { try desk.set("vpid", 60000 + vpid) }
    try desk.set("cr4", desk.cr4 | CR.PGE)
    for vpid in 1...4200 as ClosedRange<UInt64> {
      try desk.set("vpid", vpid)
      if vpid > 10 && !(4080...4110).contains(vpid) { continue }
      desk.windows.store(slot, page | Bits.kernel)
      #expect(try desk.reached(Spaces.a) == page)
      desk.windows.store(slot, 0)
      try desk.processor.special(X86Unit.request(.invlpg, low: Spaces.a))
      #expect(try desk.code(.read, Spaces.a) == 0, "VPID \(vpid)")
      for cache in 0..<x86.caches.count { _ = try desk.processor.unit.dump(cache: cache) }
    }
  }
}

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
