import CPagingKit
import PagingKit
import Testing

@testable import Arch_Elbrus

private let address = Mapped.address
/// Guest-physical, and where the GP tables put it.
private let guestPage = Mapped.page
private let page: UInt64 = 0x6_0000_0000

/// A guest on V6 tables over GP tables. Its own tables lie where it believes.
private final class GuestBench {
  let bench: Bench
  let tables: Tables
  let second: Tables

  init(_ options: [(String, String)] = []) throws {
    bench = try Bench(iset: 6, options)
    tables = Tables(bench.memory, .v6, root: 0x10_0000)
    tables.map(address, to: guestPage)
    second = Tables(bench.memory, .gp, root: 0x80_0000)
    for frame in 0..<8 as Range<UInt64> { second.map(0x10_0000 + frame << 12, to: 0x10_0000 + frame << 12) }
    second.map(guestPage, to: page)
    try bench.set([
      ("gid", 5), ("virt_ctrl_mu", 1 << 36), ("gp_pptb", second.root), ("u_pptb", tables.root), ("sh_core_mode", 0x20),
      ("sh_mmu_cr", 0x821),
    ])
  }

  /// The ends of translations that an observer of one load is told, as stage, input and output.
  func ends(_ address: UInt64) throws -> [[UInt64]] {
    final class Ends { var list: [[UInt64]] = [] }
    let ends = Ends()
    var observer = pgk_observer_v1()
    observer.size = UInt32(MemoryLayout<pgk_observer_v1>.size)
    observer.abi = PGK_ABI
    observer.context = Unmanaged.passUnretained(ends).toOpaque()
    observer.step = { context, _, step in
      guard let step = step?.pointee, UInt32(step.kind) == PGK_STEP_TRANSLATED, let context else { return }
      Unmanaged<Ends>.fromOpaque(context).takeUnretainedValue().list.append([UInt64(step.stage), step.input, step.output])
    }
    try bench.unit.observe(observer)
    _ = try bench.read(address)
    try bench.unit.observe(nil)
    return ends.list
  }
}

private let nothingCached = ["tlb.l1", "tlb.l2", "pwc.level1", "pwc.level2", "pwc.level3"].map { ($0 + ".ways", "0") }

@Suite struct `An Elbrus guest on GP tables` {
  @Test func `reads twenty-four entries when nothing is cached`() throws {
    let guest = try GuestBench(nothingCached)
    #expect(try guest.bench.read(address) == Answer(outcome: "finished", address: page, reads: 24))
  }

  @Test func `reads its own entries and the GP leaves only, once GP directories are cached by their addresses`() throws {
    let guest = try GuestBench(nothingCached + [("entrycache.sets", "16"), ("entrycache.ways", "8")])
    _ = try guest.bench.read(address)
    #expect(try guest.bench.read(address) == Answer(outcome: "finished", address: page, reads: 4 + 5))
  }

  @Test func `shows the end of each stage with the access's address`() throws {
    let guest = try GuestBench()
    #expect(try guest.ends(address + 8) == [[1, address + 8, guestPage + 8], [2, address + 8, page + 8]])
  }

  @Test func `shows the end of a first stage that is off as well`() throws {
    let guest = try GuestBench()
    try guest.bench.set([("sh_mmu_cr", 0x820)])
    #expect(try guest.ends(guestPage + 8) == [[1, guestPage + 8, guestPage + 8], [2, guestPage + 8, page + 8]])
  }
}
