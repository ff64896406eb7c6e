// Registers: what is refused, what reads back, and the CSR instructions.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_RISCV

@Suite struct `A RISC-V register` {
  /// The words of a refusal, or nil.
  private func refusal(_ registers: [(String, UInt64)], xlen: Int = 64, with options: [(String, String)] = []) throws -> String? {
    let hart = try Hart(xlen: xlen, options)
    do {
      try hart.set(registers)
      return nil
    } catch let error as UnitError {
      #expect(error.code == PGK_E_UNKNOWN_BIT)
      #expect(error.message.hasPrefix(registers[0].0))
      for (name, _) in registers { #expect(try hart.register(name) == 0) }
      return error.message
    }
  }

  @Test func `with a mode, field or bit that the model does not know is refused by name`() throws {
    for mode in [1, 2, 7, 11, 15] as [UInt64] {
      #expect(try refusal([("satp", mode << 60)])!.contains("MODE = \(mode)"))
      #expect(try refusal([("vsatp", mode << 60)]) != nil)
      #expect(try refusal([("hgatp", mode << 60)]) != nil)
    }
    #expect(try refusal([("satp", 1)])!.contains("Bare with other fields"))
    #expect(try refusal([("hgatp", 8 << 60 | 1)])!.contains("16 KiB"))
    #expect(try refusal([("hgatp", 8 << 60 | 1 << 58)])!.contains("bit 58"))
    #expect(try refusal([("mstatus", 2 << 11)])!.contains("MPP = 2"))
    #expect(try refusal([("mstatus", 1 << 6)])!.contains("bit 6"))
    #expect(try refusal([("mstatus", 1 << 32)])!.contains("UXL = 1"))
    #expect(try refusal([("hstatus", 1 << 5)])!.contains("bit 5"))
    #expect(try refusal([("menvcfg", 1 << 59)])!.contains("bit 59"))
    #expect(try refusal([("satp", 8 << 60 | 1 << 30)]) == nil)
    #expect(try refusal([("satp", 8 << 60 | 1 << 30)], with: [("pa.bits", "40")])!.contains("40 address bits"))
    #expect(try refusal([("satp", 1 << 32)], xlen: 32) != nil)
    #expect(try refusal([("hgatp", 1 << 31 | 1 << 29)], xlen: 32) != nil)
  }

  @Test func `has the bits of an extension only where the model has it`() throws {
    #expect(try refusal([("menvcfg", 8)])!.contains("bit 3"))
    #expect(try refusal([("menvcfg", 8)], with: [("zicfiss", "true")]) == nil)
    #expect(try refusal([("menvcfg", 2 << 32)]) != nil)
    #expect(try refusal([("menvcfg", 2 << 32)], with: [("smnpm", "true")]) == nil)
    #expect(try refusal([("menvcfg", 1 << 32)], with: [("smnpm", "true")])!.contains("PMM = 1"))
    #expect(try refusal([("menvcfg", 1 << 61)], with: [("svadu", "false")]) != nil)
    #expect(try refusal([("menvcfg", 1 << 62)], with: [("svpbmt", "false")]) != nil)
    #expect(try refusal([("vsatp", 8 << 60)], with: [("h", "false")]) != nil)
    #expect(try refusal([("mstatus", 1 << 39)], with: [("h", "false")]) != nil)
  }

  @Test func `reads henvcfg as menvcfg allows, without forgetting it`() throws {
    let hart = try Hart()
    try hart.set([("henvcfg", 3 << 61)])
    #expect(try hart.register("henvcfg") == 0)
    try hart.set([("menvcfg", 1 << 61)])
    #expect(try hart.register("henvcfg") == 1 << 61)
  }

  @Test func `selects the regime by satp, or by vsatp and hgatp where they are in use`() throws {
    let hart = try Hart()
    func regime() -> String { hart.unit.regime.map { String(cString: riscv.regimes[$0].name) } ?? "" }
    #expect(regime() == "bare")
    try hart.set([("satp", 9 << 60)])
    #expect(regime() == "sv48")
    try hart.set([("hgatp", 10 << 60)])
    #expect(regime() == "bare/sv57x4")
    try hart.set([("vsatp", 8 << 60)])
    #expect(regime() == "sv39/sv57x4")
    let narrow = try Hart(xlen: 32)
    try narrow.set([("vsatp", 1 << 31), ("hgatp", 1 << 31)])
    #expect(String(cString: riscv.regimes[narrow.unit.regime!].name) == "sv32/sv32x4")
  }

  @Test func `is written and read by CSR instructions, in views and halves`() throws {
    let hart = try Hart()
    try hart.perform(.write(0x180, 8 << 60 | 5 << 44, mode: .s))
    #expect(try hart.register("satp") == 8 << 60 | 5 << 44)
    try hart.set([("mstatus", 1 << 17 | 1 << 18)])
    #expect(try hart.perform(.read(0x100, mode: .s)).value == 1 << 18)
    try hart.perform(.write(0x100, 1 << 19, mode: .s))
    #expect(try hart.register("mstatus") == 1 << 17 | 1 << 19)
    let narrow = try Hart(xlen: 32)
    try narrow.perform(.write(0x31a, 1 << 29, mode: .m))
    #expect(try narrow.register("menvcfg") == 1 << 61)
    #expect(try narrow.perform(.read(0x31a, mode: .m)).value == 1 << 29)
    #expect(try narrow.perform(.read(0x30a, mode: .m)).value == 0)
    #expect(throws: UnitError.self) { try hart.perform(.read(0x31a, mode: .m)) }
    #expect(throws: UnitError.self) { try hart.perform(.write(0x180, 3 << 60, mode: .s)) }
  }

  @Test func `is the guest's own when a guest names the supervisor's`() throws {
    let hart = try Hart()
    try hart.perform(.write(0x180, 9 << 60, mode: .vs))
    try hart.perform(.write(0x100, 1 << 18, mode: .vs))
    #expect(try hart.register("vsatp") == 9 << 60 && hart.register("satp") == 0)
    #expect(try hart.register("vsstatus") == 1 << 18 && hart.register("mstatus") == 0)
    #expect(try hart.perform(.read(0x280, mode: .vs)).answer.outcome == "virtualInstruction")
    #expect(try hart.perform(.read(0x280, mode: .s)).value == 9 << 60)
  }

  @Test func `cannot be used by a mode that is too low`() throws {
    let hart = try Hart()
    let list: [(UInt64, Privilege, String)] = [
      (0x180, .u, "illegalInstruction"), (0x180, .vu, "virtualInstruction"), (0x300, .s, "illegalInstruction"),
      (0x300, .vs, "illegalInstruction"), (0x680, .vs, "virtualInstruction"), (0x680, .s, "finished"), (0x300, .m, "finished"),
    ]
    for (number, mode, outcome) in list { #expect(try hart.perform(.read(number, mode: mode)).answer.outcome == outcome) }
    let without = try Hart([("h", "false")])
    #expect(throws: UnitError.self) { try without.perform(.read(0x680, mode: .s)) }
  }

  @Test func `makes a 32-bit supervisor on a 64-bit machine by SXL`() throws {
    let hart = try Hart()
    let root = hart.frames()
    try hart.set([("mstatus", 1 << 32 | 1 << 34), ("satp", 1 << 31 | root >> 12)])
    let slot = root + (0x1234_5000 >> 22) * 4
    let table = hart.frames()
    hart.memory.store(slot, 4, table >> 2 | Bit.v)
    hart.memory.store(table + (0x1234_5000 >> 12 & 1023) * 4, 4, Hart.leaf(TestMemory.high, Bit.kernel))
    #expect(try hart.load(0xff_1234_5008).address == TestMemory.high + 8)
    #expect(String(cString: riscv.regimes[hart.unit.regime!].name) == "sv32")
    #expect(throws: UnitError.self) { try hart.set([("satp", 8 << 60)]) }
  }
}

@Suite struct `Intercepts of RISC-V` {
  private func listed(_ hart: Hart, _ request: Request) throws -> pgk_listed_v1? {
    var (access, value, result) = (request.access, request.value, pgk_result_v1())
    _ = try hart.unit.run(&access, values: &value, results: &result, count: 1)
    return hart.unit.pending().first
  }

  @Test func `list a guest's satp and fences under VTVM, and an answer performs them`() throws {
    let hart = try Hart()
    try hart.set([("hstatus", 1 << 20)])
    let write = try #require(try listed(hart, .write(0x180, 8 << 60, mode: .vs)))
    #expect(UInt32(write.class_) == PGK_CLASS_REGISTER_WRITE && write.code == 22 && write.value.low == 8 << 60)
    var replace = pgk_verdict_v1()
    replace.kind = UInt8(PGK_VERDICT_REPLACE)
    replace.value.low = 9 << 60
    #expect(try hart.unit.resume([replace]).count == 1)
    #expect(try hart.register("vsatp") == 9 << 60)

    let read = try #require(try listed(hart, .read(0x180, mode: .vs)))
    #expect(UInt32(read.class_) == PGK_CLASS_REGISTER_READ)
    var complete = pgk_verdict_v1()
    complete.kind = UInt8(PGK_VERDICT_COMPLETE)
    complete.value.low = 8 << 60
    #expect(try hart.unit.resume([complete])[0].value.low == 8 << 60)

    for operation in [Arch_RISCV.Operation.sfenceVMA, .sinvalVMA] {
      let fence = try #require(try listed(hart, .fence(operation, address: 0x1000, identifier: 3, mode: .vs)))
      #expect(UInt32(fence.class_) == PGK_CLASS_INVALIDATION && fence.value.low == 0x1000 && fence.value.high == 3)
      var replay = pgk_verdict_v1()
      replay.kind = UInt8(PGK_VERDICT_REPLAY)
      #expect(try hart.unit.resume([replay]).count == 1)
    }
    #expect(hart.counter("invalidations") == 2)
    // Other registers of the guest are its own.
    #expect(try listed(hart, .read(0x142, mode: .vs)) == nil)
  }

  @Test func `list the supervisor's satp, hgatp and fences under TVM, but not those of its guests`() throws {
    let hart = try Hart()
    try hart.set([("mstatus", 1 << 20)])
    for request in [Request.read(0x180, mode: .s), .write(0x680, 0, mode: .s), .fence(.sfenceVMA, address: nil, identifier: nil), .fence(.sinvalVMA, address: 0x1000, identifier: 1), .read(0x680, mode: .s), .fence(.hfenceGVMA, address: nil, identifier: nil), .fence(.hinvalGVMA, address: nil, identifier: nil)] {
      let item = try #require(try listed(hart, request))
      #expect(item.code == 2)
      try hart.unit.reset(PGK_RESET_PENDING)
    }
    for request in [Request.fence(.hfenceVVMA, address: nil, identifier: nil), .read(0x280, mode: .s), .read(0x180, mode: .vs), .read(0x180, mode: .m), .fence(.sfenceVMA, address: nil, identifier: nil, mode: .m)] {
      #expect(try listed(hart, request) == nil)
    }
  }

  @Test func `forbid fences to modes that have none`() throws {
    let hart = try Hart()
    let list: [(Arch_RISCV.Operation, Privilege, String)] = [
      (.sfenceVMA, .u, "illegalInstruction"), (.sfenceVMA, .vu, "virtualInstruction"), (.hfenceVVMA, .vs, "virtualInstruction"),
      (.hfenceGVMA, .u, "illegalInstruction"), (.hfenceGVMA, .m, "finished"),
    ]
    for (operation, mode, outcome) in list {
      #expect(try hart.perform(.fence(operation, address: nil, identifier: nil, mode: mode)).answer.outcome == outcome)
    }
  }
}
