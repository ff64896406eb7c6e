// Faults on their way to the guest, and what its operating system does.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_RISCV

/// Runs one access into the list and answers it.
private func reflect(_ hart: Hart, _ access: pgk_access_v1, _ verdict: pgk_verdict_v1? = nil) throws {
  var (access, value, result) = (access, pgk_value_v1(), pgk_result_v1())
  _ = try hart.unit.run(&access, values: &value, results: &result, count: 1)
  #expect(result.outcome == UInt8(PGK_OUTCOME_LISTED))
  var reflection = pgk_verdict_v1()
  reflection.kind = UInt8(PGK_VERDICT_REFLECT)
  #expect(try hart.unit.resume([verdict ?? reflection]).count == 1)
}

@Suite struct `A RISC-V trap` {
  @Test func `of a program or the kernel goes to S-mode with cause and address`() throws {
    let bench = try OneStageBench()
    try reflect(bench.hart, Hart.access(PGK_WRITE, bench.address + 4, "U"))
    #expect(try bench.hart.register("scause") == 15 && bench.hart.register("stval") == bench.address + 4)
    #expect(try bench.hart.register("htval") == 0 && bench.hart.register("mstatus") & 1 << 8 == 0)
    try reflect(bench.hart, Hart.access(PGK_FETCH, bench.address, "S"))
    #expect(try bench.hart.register("scause") == 12 && bench.hart.register("mstatus") & 1 << 8 != 0)
  }

  @Test func `of a guest's own making goes to VS-mode, where it is read as the supervisor's`() throws {
    let bench = try TwoStageBench(leaf: 0)
    try reflect(bench.hart, Hart.access(PGK_READ, bench.address, "VU"))
    #expect(try bench.hart.register("vscause") == 13 && bench.hart.register("vstval") == bench.address)
    #expect(try bench.hart.register("scause") == 0)
    #expect(try bench.hart.perform(.read(0x142, mode: .vs)).value == 13)
    #expect(try bench.hart.perform(.read(0x143, mode: .vs)).value == bench.address)
  }

  @Test func `of the second stage goes to HS-mode with guest physical address and pseudoinstruction`() throws {
    let bench = try TwoStageBench(page: 0)
    try reflect(bench.hart, Hart.access(PGK_WRITE, bench.address + 6, "VS", size: 1))
    // It was a supervisor access to a user page: the first stage faulted.
    #expect(try bench.hart.register("vscause") == 15)
    try reflect(bench.hart, Hart.access(PGK_WRITE, bench.address + 6, "VU", size: 1))
    #expect(try bench.hart.register("scause") == 23 && bench.hart.register("stval") == bench.address + 6)
    #expect(try bench.hart.register("htval") == (bench.guestPage + 4) >> 2 && bench.hart.register("htinst") == 0)
    // GVA, SPV; SPVP and SPP for VU-mode.
    #expect(try bench.hart.register("hstatus") & 0x1c0 == 0xc0)
    bench.mapSecond(bench.guestSlots[0] & ~0xfff, 0, 0)
    try bench.hart.unit.reset(PGK_RESET_CACHES)
    try reflect(bench.hart, Hart.access(PGK_READ, bench.address, "VS"))
    #expect(try bench.hart.register("htinst") == 0x3000 && bench.hart.register("htval") == bench.guestSlots[0] >> 2)
    #expect(try bench.hart.register("hstatus") & 0x1c0 == 0x1c0)
  }

  @Test func `of HLV stays in HS-mode, with GVA but without SPV`() throws {
    let bench = try TwoStageBench(leaf: 0)
    try reflect(bench.hart, Hart.access(PGK_READ, bench.address, "S.hlv"))
    #expect(try bench.hart.register("scause") == 13 && bench.hart.register("hstatus") & 0xc0 == 0x40)
  }

  @Test func `of M-mode goes to M-mode`() throws {
    let bench = try TwoStageBench(registers: [("mstatus", 1 << 17 | 1 << 39)], page: 0)
    try reflect(bench.hart, Hart.access(PGK_READ, bench.address, "M"))
    #expect(try bench.hart.register("mcause") == 21 && bench.hart.register("mtval") == bench.address)
    #expect(try bench.hart.register("mtval2") == bench.guestPage >> 2 && bench.hart.register("mstatus") & 1 << 38 != 0)
  }

  @Test func `may be put in place of a second-stage fault by the hypervisor`() throws {
    let bench = try TwoStageBench(page: 0)
    var verdict = pgk_verdict_v1()
    verdict.kind = UInt8(PGK_VERDICT_REFLECT)
    verdict.outcome = Outcome.loadAccessFault.rawValue
    verdict.code = 5
    try reflect(bench.hart, Hart.access(PGK_READ, bench.address, "VU"), verdict)
    #expect(try bench.hart.register("vscause") == 5 && bench.hart.register("vstval") == bench.address)
    #expect(try bench.hart.register("scause") == 0)
  }

  @Test func `is listed as a guest's fault or as one of the second stage`() throws {
    func listed(_ bench: TwoStageBench) throws -> pgk_listed_v1 {
      var (access, result) = (Hart.access(PGK_READ, bench.address, "VU"), pgk_result_v1())
      _ = try bench.hart.unit.run(&access, values: nil, results: &result, count: 1)
      return bench.hart.unit.pending()[0]
    }
    let first = try listed(try TwoStageBench(leaf: 0))
    #expect(UInt32(first.class_) == PGK_CLASS_GUEST_FAULT && first.stage == 1 && first.word_count == 0)
    let bench = try TwoStageBench(page: 0)
    let second = try listed(bench)
    #expect(UInt32(second.class_) == PGK_CLASS_SECOND_STAGE && second.stage == 2 && second.guest_physical == bench.guestPage)
    #expect(UInt32(second.flags) & PGK_LISTED_FINAL_ADDRESS != 0 && UInt32(second.flags) & PGK_LISTED_HAS_GUEST_PHYSICAL != 0)
    let table = try TwoStageBench(table: 0)
    #expect(UInt32(try listed(table).flags) & PGK_LISTED_FINAL_ADDRESS == 0)
  }

  @Test func `survives saving and restoring in the middle of the list`() throws {
    let bench = try TwoStageBench(page: 0)
    var (access, result) = (Hart.access(PGK_READ, bench.address, "VU"), pgk_result_v1())
    _ = try bench.hart.unit.run(&access, values: nil, results: &result, count: 1)
    let saved = try bench.hart.unit.save(PGK_SAVE_CACHES)
    let fresh = try Hart(memory: bench.hart.memory)
    try fresh.unit.restore(saved)
    #expect(fresh.unit.pending().count == 1)
    bench.mapSecond(bench.guestPage, bench.hostPage, Bit.user)
    let completions = try fresh.unit.resume([])
    #expect(completions.count == 1 && completions[0].result.output == bench.hostPage)
    #expect(try fresh.load(bench.address, "VU").reads == 0)
  }
}

@Suite struct `An operating system on RISC-V` {
  /// Performs what a service of the C table asks for.
  private func perform(_ hart: Hart, _ service: (UnsafeMutablePointer<pgk_access_v1>, UnsafeMutablePointer<pgk_value_v1>) -> Int64) throws -> [UInt64] {
    var accesses = [pgk_access_v1](repeating: pgk_access_v1(), count: 128)
    var values = [pgk_value_v1](repeating: pgk_value_v1(), count: 128)
    var results = [pgk_result_v1](repeating: pgk_result_v1(), count: 128)
    let count = service(&accesses, &values)
    guard count >= 0 else { throw UnitError(code: Int32(count), message: hart.unit.lastMessage) }
    if count > 0 { #expect(try hart.unit.run(accesses, values: &values, results: &results, count: Int(count)) == Int(count)) }
    return values.prefix(Int(count)).map(\.low)
  }

  private var os: pgk_os_v1 { riscv.table.pointee.os.pointee }

  private func enable(_ hart: Hart, _ regime: String, root: UInt64, asid: UInt32 = 0) throws {
    _ = try perform(hart) { os.enable_translation(hart.unit.handle, UInt32(riscv.regimeIndex(named: regime)!), root, asid, $0, $1, 128) }
  }

  @Test(arguments: ["sv39", "sv48", "sv57", "sv32", "bare"])
  func `turns any native regime on, on one machine`(_ name: String) throws {
    let hart = try Hart()
    for regime in [name, "sv39", name] {
      try enable(hart, regime, root: hart.frames(), asid: 5)
      #expect(String(cString: riscv.regimes[hart.unit.regime!].name) == regime)
    }
  }

  @Test func `turns its own stage on as a guest, and leaves the other to the hypervisor`() throws {
    let hart = try Hart()
    #expect(throws: UnitError.self) { try enable(hart, "sv48/sv39x4", root: 0x1000) }
    try hart.set([("hgatp", hart.translation(3, root: hart.frames(4)))])
    try enable(hart, "sv48/sv39x4", root: 0x1000, asid: 3)
    #expect(try hart.register("vsatp") == 9 << 60 | 3 << 44 | 1)
    #expect(throws: UnitError.self) { try enable(hart, "sv48/sv48x4", root: 0x1000) }
    _ = try perform(hart) { os.switch_space(hart.unit.handle, 0x5000, 4, $0, $1, 128) }
    #expect(try hart.register("vsatp") == 9 << 60 | 4 << 44 | 5)
  }

  @Test func `refuses a root or an identifier that does not fit`() throws {
    let hart = try Hart()
    #expect(throws: UnitError.self) { try enable(hart, "sv39", root: 0x1001) }
    #expect(throws: UnitError.self) { try enable(hart, "sv39", root: 0x1000, asid: 65536) }
    #expect(throws: UnitError.self) { try enable(hart, "sv32", root: 1 << 35) }
    let narrow = try Hart(xlen: 32)
    #expect(throws: UnitError.self) { try enable(narrow, "sv39", root: 0x1000) }
  }

  @Test func `fences a page, a range, a space or everything`() throws {
    let hart = try Hart()
    try enable(hart, "sv39", root: hart.frames(), asid: 2)
    func count(_ scope: UInt32, _ bytes: UInt64 = 0) throws -> Int {
      try perform(hart) { os.invalidate(hart.unit.handle, scope, 0x1000, bytes, 2, $0, $1, 128) }.count
    }
    #expect(try count(PGK_SCOPE_PAGE) == 1 && count(PGK_SCOPE_RANGE, 0x3000) == 3 && count(PGK_SCOPE_RANGE, 0x3001) == 4)
    #expect(try count(PGK_SCOPE_RANGE, 1 << 30) == 1 && count(PGK_SCOPE_RANGE | PGK_SCOPE_TABLES, 0x3000) == 1)
    #expect(try count(PGK_SCOPE_IDENTIFIER) == 1 && count(PGK_SCOPE_ALL) == 1)
  }

  @Test func `reads its record of a fault, and performs the operation again`() throws {
    let bench = try OneStageBench()
    try reflect(bench.hart, Hart.access(PGK_WRITE, bench.address, "U"))
    let record = try perform(bench.hart) { os.read_faults(bench.hart.unit.handle, $0, $1, 0, 128) }
    #expect(record == [15, bench.address])
    var listed = [pgk_listed_v1](repeating: pgk_listed_v1(), count: 4)
    #expect(os.decode_faults(bench.hart.unit.handle, nil, nil, 0, &listed, 4) == 1)
    #expect(listed[0].fault_address == bench.address && UInt32(listed[0].access.kind) == PGK_WRITE)
    bench.map(Bit.user)
    var operation = listed[0]
    #expect(try perform(bench.hart) { os.reexecute(bench.hart.unit.handle, &operation, $0, $1, 128) }.count == 1)
  }

  @Test func `finds its encoders by name, which check their arguments`() throws {
    let hart = try Hart()
    typealias Fence = @convention(c) (UnsafeMutableRawPointer?, UInt64, UInt64, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) -> Int32
    func encode(_ name: String, _ address: UInt64, _ identifier: UInt64) -> (Int32, pgk_access_v1, pgk_value_v1) {
      let encoder = riscv.encoders[riscv.encoderIndex(named: name)!]
      #expect(String(cString: encoder.signature) == "i32(ptr,u64,u64,ptr,ptr)")
      let function = unsafeBitCast(encoder.function!, to: Fence.self)
      var (access, value) = (pgk_access_v1(), pgk_value_v1())
      return (function(UnsafeMutableRawPointer(hart.unit.handle), address, identifier, &access, &value), access, value)
    }
    for name in ["sfence_vma", "sinval_vma", "hfence_vvma", "hinval_vvma", "hfence_gvma", "hinval_gvma"] {
      let (code, access, value) = encode(name, 0x4000, 7)
      #expect(code == PGK_OK && UInt32(access.kind) == PGK_SPECIAL && value.high == 7)
      #expect(value.low == (name.hasSuffix("gvma") ? 0x1000 : 0x4000))
      #expect(encode(name, .max, .max).1.address & 0x300 == 0)
      #expect(encode(name, 0, 1 << 17).0 == PGK_E_ARGUMENT)
      #expect(hart.unit.lastMessage.contains("131072: expected 0 to \(name.hasSuffix("gvma") ? 16383 : 65535)"))
    }
  }
}
