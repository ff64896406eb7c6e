// Loading control registers: what is unknown, what is inconsistent, and what features have to do with it. SDM 2, "MOV: Move
// to/from Control Registers"; SDM 3A, "Control Registers".
import CPagingKit
import PagingKit
import Testing

@testable import Arch_x86

@Suite struct `An x86 control register` {
  /// The words of a refusal.
  private func refusal(_ body: () throws -> Void) -> (code: Int32, text: String)? {
    do {
      try body()
      return nil
    } catch let error as UnitError {
      return (error.code, error.message)
    } catch {
      return nil
    }
  }

  @Test func `refuses a bit that the model does not know, names it, and keeps its value`() throws {
    for (register, bit) in [
      (Register.cr0, 7), (.cr0, 32), (.cr4, 15), (.cr4, 19), (.cr4, 26), (.cr4, 63), (.efer, 1), (.efer, 16), (.cr3, 63), (.cr3, 52), (.pkru, 32), (.pkrs, 40),
    ] as [(Register, UInt64)] {
      let desk = try Desk(.fourLevel)
      let name = register.definition.name
      let before = try desk.processor.register(name)
      for write in [{ try desk.set(name, before | 1 << bit) }, { _ = try desk.move(register, before | 1 << bit) }] {
        let refused = refusal(write)
        #expect(refused?.code == PGK_E_UNKNOWN_BIT && refused?.text.contains(name) == true && refused?.text.contains("bit \(bit)") == true, "\(name) \(bit)")
      }
      #expect(try desk.processor.register(name) == before)
    }
  }

  @Test func `refuses the bit of a feature that is switched off, and names it`() throws {
    for (feature, bit, options) in [
      ("pcid", CR.PCIDE, []), ("la57", CR.LA57, []), ("smep", CR.SMEP, []), ("smap", CR.SMAP, []), ("pku", CR.PKE, []), ("pks", CR.PKS, []),
      ("cet", CR.CET, []), ("lam", CR.LAM_SUP, []), ("pse", CR.PSE, []), ("pge", CR.PGE, []),
    ] as [(String, UInt64, [(String, String)])] {
      let desk = try Desk(.fourLevel, [(feature, "false")] + options, efer: 0)
      let refused = refusal { _ = try desk.move(.cr4, desk.cr4 | bit) }
      #expect(refused?.code == PGK_E_UNKNOWN_BIT && refused?.text.contains("cr4") == true && refused?.text.contains("\(bit.trailingZeroBitCount)") == true)
      #expect(refusal { try desk.set("cr4", desk.cr4 | bit) } != nil)
      if feature == "la57" { continue }
      #expect(try Desk(.fourLevel).move(.cr4, desk.cr4 | bit) == nil, "\(feature)")
    }
    let desk = try Desk(.fourLevel, [("nx", "false")], efer: 0)
    #expect(refusal { _ = try desk.move(.efer, desk.efer | CR.NXE) }?.text.contains("efer bit 11") == true)
  }

  @Test func `refuses an EPT pointer of a length or with flags that the processor has not`() throws {
    let desk = try Desk(nil, under: .ept4, [("ept.levels", "4"), ("ept.accessed_dirty", "false")].filter { $0.0 == "ept.levels" })
    #expect(refusal { try desk.set("ept.eptp", desk.secondRoot | 4 << 3) }?.text.contains("ept.eptp") == true)
    for length in [0, 1, 2, 5, 6, 7] as [UInt64] { #expect(refusal { try desk.set("ept.eptp", desk.secondRoot | length << 3) } != nil) }
    let plain = try Processor([("mode", "ept"), ("ept.accessed_dirty", "false")])
    #expect(refusal { try plain.set([("ept.eptp", 0x1000 | 3 << 3 | 1 << 6)]) }?.text.contains("bit 6") == true)
    try plain.set([("ept.eptp", 0x1000 | 3 << 3)])
  }

  @Test func `refuses what an entry to the guest would fail on`() throws {
    let desk = try Desk(.pae, under: .ept4)
    for bit in [1, 2, 5, 8, 40, 63] as [UInt64] {
      #expect(refusal { try desk.set("ept.pdptes.2", 1 | 1 << bit) }?.text.contains("ept.pdptes.2: bit \(bit)") == true)
    }
    try desk.set("ept.pdptes.2", 1 << 1 | 1 << 63)
    for type in [1, 2, 3, 4, 5, 7] as [UInt64] {
      #expect(refusal { try desk.set("ept.eptp", desk.secondRoot | type | 3 << 3) }?.text.contains("bits 2:0 are \(type)") == true)
    }
    #expect(refusal { try desk.set("ept.eptp", 1 << 40 | 6 | 3 << 3) }?.text.contains("maxphyaddr") == true)
    let nested = try Desk(.fourLevel, under: .fourLevel)
    #expect(refusal { try nested.set("nested.ncr3", 1 << 40) }?.text.contains("maxphyaddr") == true)
    // A guest in another mode has none that count.
    let long = try Desk(.fourLevel, under: .ept4)
    try long.set("ept.pdptes.2", 3)
    #expect(refusal { try long.processor.set([("cr4", CR.PAE), ("efer", 0)]) }?.text.contains("ept.pdptes.2") == true)
  }

  @Test func `is given no root that reaches into its other bits`() throws {
    func message(_ kind: TableKind, _ root: UInt64) throws -> String {
      let unit = try Desk(kind).processor.unit
      var accesses = [pgk_access_v1](repeating: pgk_access_v1(), count: 16), values = [pgk_value_v1](repeating: pgk_value_v1(), count: 16)
      return x86.table.pointee.os.pointee.switch_space(unit.handle, root, 0, &accesses, &values, 16) < 0 ? unit.lastMessage : ""
    }
    #expect(try message(.fourLevel, 0x1001).contains("root 0x1001: expected a multiple of 4096 below 2^40"))
    #expect(try message(.fiveLevel, 1 << 40).contains("2^40") && message(.twoLevel, 1 << 32).contains("2^32"))
    #expect(try message(.pae, 0x1010).contains("multiple of 32"))
    #expect(try message(.pae, 0x1020) == "" && message(.fourLevel, 1 << 39) == "")
  }

  @Test func `raises #GP for combinations that do not exist`() throws {
    let long = try Desk(.fourLevel), legacy = try Desk(.twoLevel)
    let gp = "general_protection"
    #expect(try legacy.move(.cr0, CR.PG) == gp)
    #expect(try long.move(.cr4, 0) == gp)
    #expect(try legacy.move(.cr4, CR.PCIDE) == gp)
    #expect(try long.move(.cr3, 1 << 45) == gp)
    #expect(try long.processor.set([("cr3", 1 << 41)]) == Named.generalProtection)
    // Long mode without PAE cannot begin.
    let off = try Desk(.twoLevel)
    try off.move(.cr0, CR.PE)
    try off.move(.efer, CR.LME)
    #expect(try off.move(.cr0, CR.PE | CR.PG) == gp)
  }

  @Test func `does not let CR4.CET and CR0.WP part`() throws {
    let desk = try Desk(.fourLevel)
    #expect(try desk.move(.cr4, desk.cr4 | CR.CET) == nil)
    #expect(try desk.move(.cr0, desk.cr0 & ~CR.WP) == "general_protection")
    let open = try Desk(.fourLevel, wp: false)
    #expect(try open.move(.cr4, open.cr4 | CR.CET) == "general_protection")
    #expect(try open.processor.set([("cr4", open.cr4 | CR.CET)]) == Named.generalProtection)
  }

  @Test func `does not change the kind of paging in long mode, nor leave it by the wrong door`() throws {
    let desk = try Desk(.fourLevel)
    #expect(try desk.move(.cr4, desk.cr4 | CR.LA57) == "general_protection")
    #expect(try desk.move(.efer, desk.efer & ~(CR.LME | CR.LMA)) == "general_protection")
    try desk.move(.cr4, desk.cr4 | CR.PCIDE)
    #expect(try desk.move(.cr0, CR.PE) == "general_protection")
    try desk.move(.cr4, desk.cr4)
    #expect(try desk.move(.cr0, CR.PE) == nil)
  }

  @Test func `turns PCIDs on only while CR3 holds none`() throws {
    let desk = try Desk(.fourLevel)
    try desk.move(.cr3, desk.root | 8)
    #expect(try desk.move(.cr4, desk.cr4 | CR.PCIDE) == "general_protection")
    try desk.move(.cr3, desk.root)
    #expect(try desk.move(.cr4, desk.cr4 | CR.PCIDE) == nil)
  }

  @Test func `does not take NW without CD`() throws {
    let desk = try Desk(.fourLevel)
    #expect(try desk.move(.cr0, desk.cr0 | 1 << 29) == "general_protection")
    #expect(try desk.move(.cr0, desk.cr0 | 3 << 29) == nil)
  }

  @Test func `is read back as it was written, without bit 63 of CR3`() throws {
    let desk = try Desk(.fourLevel, cr4: CR.PCIDE)
    try desk.move(.cr3, desk.root | 5 | 1 << 63)
    #expect(try desk.processor.register("cr3") == desk.root | 5)
    try desk.move(.pkru, 0x5555_5555)
    #expect(try desk.processor.register("pkru") == 0x5555_5555)
  }

  @Test func `selects one of the declared regimes`() throws {
    for (kind, name) in [(nil, "bare"), (.twoLevel, "2level"), (.pae, "pae"), (.fourLevel, "4level"), (.fiveLevel, "5level")] as [(TableKind?, String)] {
      let regime = try Desk(kind).processor.unit.regime
      #expect(regime == x86.regimeIndex(named: name))
    }
    #expect(try Desk(.pae, under: .ept5).processor.unit.regime == x86.regimeIndex(named: "pae/ept5"))
    #expect(try Desk(nil, under: .twoLevel).processor.unit.regime == x86.regimeIndex(named: "bare/npt-2level"))
  }

  @Test func `survives saving with everything else`() throws {
    let desk = try Desk(.pae)
    desk.put(0x4000_0000, 0x40_0000 | Bits.kernel)
    try desk.loadRoot()
    _ = try desk.ruling(.read, 0x4000_0000)
    let saved = try desk.processor.unit.save(PGK_SAVE_CACHES)
    desk.windows.store(desk.root + 8, 3)
    try desk.processor.unit.reset(PGK_RESET_CACHES | PGK_RESET_REGISTERS)
    try desk.processor.unit.restore(saved)
    let answer = try desk.perform(.read, 0x4000_0000)
    #expect(answer.ruling == reaches(0x40_0000) && answer.reads == 0)
    #expect(throws: UnitError.self) { try Desk(.fourLevel, [("maxphyaddr", "41")]).processor.unit.restore(saved) }
  }
}

@Suite struct `An x86 encoder` {
  /// Calls an exported encoder as a host would, through its C function.
  private func encode(_ name: String, _ a: UInt32, _ b: UInt32, _ c: UInt64, for unit: Unit) -> Int32 {
    typealias Function = @convention(c) (UnsafeMutableRawPointer?, UInt32, UInt32, UInt64, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) -> Int32
    let encoder = x86.encoders[x86.encoderIndex(named: name)!]
    #expect(String(cString: encoder.signature) == "i32(ptr,u32,u32,u64,ptr,ptr)")
    let function = unsafeBitCast(encoder.function, to: Function.self)
    var access = pgk_access_v1(), value = pgk_value_v1()
    return withUnsafeMutablePointer(to: &access) { access in
      withUnsafeMutablePointer(to: &value) { value in function(UnsafeMutableRawPointer(unit.handle), a, b, c, access, value) }
    }
  }

  @Test func `checks its arguments, and says what it expects`() throws {
    let unit = try Processor().unit
    func encode(_ name: String, _ a: UInt32, _ b: UInt32) -> Int32 { self.encode(name, a, b, 0, for: unit) }
    for type in 0...3 as ClosedRange<UInt32> {
      #expect(encode("invpcid", type, 4095) == PGK_OK && encode("invvpid", type, 0xffff) == PGK_OK)
      #expect((encode("invvpid", type, 0) == PGK_OK) == (type == 2))
    }
    #expect(encode("invpcid", 4, 0) == PGK_E_ARGUMENT && encode("invpcid", 0, 4096) == PGK_E_ARGUMENT)
    #expect(unit.lastMessage.contains("PCID 4096"))
    #expect(encode("invvpid", 4, 1) == PGK_E_ARGUMENT && encode("invvpid", 0, 0x10000) == PGK_E_ARGUMENT)
    #expect(unit.lastMessage.contains("VPID 65536"))
  }

  @Test func `performs nothing: only run does`() throws {
    let desk = try Desk(.fourLevel)
    let address: UInt64 = 0x1000
    let slot = desk.put(address, 0x40_0000 | Bits.kernel)
    _ = try desk.ruling(.read, address)
    desk.windows.store(slot, 0x41_0000 | Bits.kernel)
    let request = X86Unit.request(.invlpg, low: address)
    #expect(try desk.reached(address) == 0x40_0000)
    try desk.processor.special(request)
    #expect(try desk.reached(address) == 0x41_0000)
    #expect(desk.processor.counter("invalidations") == 1)
  }
}
