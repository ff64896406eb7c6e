// What each invalidation reaches, and what it leaves. SDM 3A, "Operations that Invalidate TLBs and Paging-Structure Caches".
import CPagingKit
import PagingKit
import Testing

@testable import Arch_x86

/// Spaces of one processor, each with pages A and B of its own and a global page G.
///
/// `renewed` says which translations an operation made new: all are cached, then all leaves are changed silently, then the
/// operation is performed, then every address is asked again.
final class Spaces {
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
