// A batch is its accesses one after another, however much of it is looked at ahead.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_x86

private let shapes: [Shape] =
  [.twoLevel, .pae, .fourLevel, .fiveLevel].map { Shape(first: $0) }
  + [Shape(first: .fourLevel, second: .fourLevel), Shape(first: .twoLevel, second: .twoLevel), Shape(first: .fourLevel, second: .ept4), Shape(first: .pae, second: .ept5)]

@Suite struct `A batch of x86 accesses` {
  private let count = 40

  @Test(arguments: shapes)
  func `sees a store to a table in the next access`(_ shape: Shape) throws {
    for position in stride(from: 0, to: count, by: 3) {
      let desk = try Desk(shape.first, under: shape.second, Processor.noCaches)
      let address: UInt64 = 0x4020_3000, window: UInt64 = 0x5020_0000
      let (old, new) = (desk.frame(), desk.frame())
      let slot = desk.put(address, old | Bits.kernel)
      desk.put(window, slot & ~0xfff | Bits.kernel)
      try desk.loadRoot()
      let load = Processor.access(JudgedAccess(kind: .read, privilege: .supervisor), address, byteCount: 1)
      var accesses = [pgk_access_v1](repeating: load, count: count)
      var values = [pgk_value_v1](repeating: pgk_value_v1(), count: count)
      var results = [pgk_result_v1](repeating: pgk_result_v1(), count: count)
      accesses[position] = Processor.access(
        JudgedAccess(kind: .write, privilege: .supervisor), window | slot & 0xfff, byteCount: shape.first!.size, flags: PGK_HAS_VALUE)
      values[position].low = new | Bits.kernel
      #expect(try desk.processor.unit.run(&accesses, values: &values, results: &results, count: count) == count)
      for i in 0..<count where i != position { #expect(results[i].output == (i < position ? old : new), "\(shape), store \(position), access \(i)") }
    }
  }

  @Test(arguments: shapes)
  func `sets the dirty flag of every page that it writes, where nothing is cached`(_ shape: Shape) throws {
    let desk = try Desk(shape.first, under: shape.second, Processor.noCaches)
    let pages = (0..<UInt64(count)).map { 0x4020_0000 + $0 << 12 }
    let slots = pages.map { desk.put($0, desk.frame() | Bits.P | Bits.W | Bits.A) }
    try desk.loadRoot()
    for isWritten in [false, true] {
      var accesses = pages.map {
        Processor.access(JudgedAccess(kind: isWritten ? .write : .read, privilege: .supervisor), $0, byteCount: 1)
      }
      var results = [pgk_result_v1](repeating: pgk_result_v1(), count: count)
      #expect(try desk.processor.unit.run(&accesses, values: nil, results: &results, count: count) == count)
      #expect(desk.processor.unit.pendingCount == 0)
      for (page, slot) in zip(pages, slots) {
        #expect(desk.windows.load(slot, shape.first!.size) & Bits.D == (isWritten ? Bits.D : 0), "\(shape), page \(hex(page))")
      }
    }
  }

  /// One state twice: once for a batch, once for its accesses alone.
  private final class Twin {
    let processor: Processor
    var scene: Scene

    init(_ processor: Processor, _ shape: Shape, _ model: Model, seed: UInt64) throws {
      self.processor = processor
      scene = Scene(seed: seed, shape: shape, model: model.judged, windows: processor.windows)
      try processor.unit.reset(PGK_RESET_CACHES | PGK_RESET_REGISTERS | PGK_RESET_PENDING)
    }

    deinit { scene.clear() }
  }

  private struct End: Equatable {
    var outcome: UInt8, output: UInt64, level: UInt8, shift: UInt8, rights: UInt8, reads: UInt32
    init(_ result: pgk_result_v1, _ listed: pgk_listed_v1?) {
      outcome = listed?.outcome ?? result.outcome
      output = listed.map { $0.words.0 ^ $0.words.1 ^ $0.words.3 ^ $0.fault_address } ?? result.output
      (level, shift, rights) = listed == nil ? (result.level, result.page_shift, result.rights) : (0, 0, 0)
      reads = listed?.entry_reads ?? result.entry_reads
    }
  }

  /// Performs accesses so many at a time. Faults are taken from the list, and the rest goes on.
  private func perform(_ accesses: [pgk_access_v1], on unit: Unit, atATime size: Int) throws -> [End] {
    var ends: [End] = []
    while ends.count < accesses.count {
      var batch = Array(accesses[ends.count..<min(ends.count + size, accesses.count)])
      var results = [pgk_result_v1](repeating: pgk_result_v1(), count: batch.count)
      let consumed = try unit.run(&batch, values: nil, results: &results, count: batch.count)
      let listed = unit.pending().first
      try unit.reset(PGK_RESET_PENDING)
      for i in 0..<consumed { ends.append(End(results[i], UInt32(results[i].outcome) == PGK_OUTCOME_LISTED ? listed : nil)) }
    }
    return ends
  }

  @Test(arguments: shapes)
  func `gives what they give one by one`(_ shape: Shape) throws {
    let caches = [[], [("pwc.level1.ways", "0"), ("pwc.level2.ways", "0"), ("pwc.level3.ways", "0")], Processor.noCaches]
    for (number, options) in caches.enumerated() {
      let model = Model(isEager: number == 1)
      let processors = try (0..<2).map { _ in try Processor(model.options(shape) + options) }
      for seed in 0..<caseCount(150) {
        let twins = try processors.map { try Twin($0, shape, model, seed: randomSeed &+ 120 << 40 &+ seed) }
        for twin in twins { _ = try twin.processor.set(RandomRun(shape: shape, model: model).registers(twin.scene.processor)) }
        // Few addresses, again and again, as well as all kinds.
        let some = (0..<12).map { _ in twins[0].scene.access() }
        var random = SplitMix64(seed: seed)
        let accesses = (0..<60).map { _ in
          let (access, address, byteCount) = some[Int(random.next(below: 12))]
          return Processor.access(access, address, byteCount: random.next(below: 4) == 0 ? byteCount : 1)
        }
        let together = try perform(accesses, on: twins[0].processor.unit, atATime: 60)
        let alone = try perform(accesses, on: twins[1].processor.unit, atATime: 1)
        let first = zip(together, alone).enumerated().first { $0.element.0 != $0.element.1 }
        #expect(first == nil, "\(shape), \(options), seed \(seed), access \(first!.offset): together \(first!.element.0), alone \(first!.element.1)")
        for word in twins[1].scene.words.keys {
          #expect(twins[0].processor.windows.load(word) == twins[1].processor.windows.load(word), "\(shape), seed \(seed), word \(hex(word))")
        }
        if first != nil { return }
      }
    }
  }
}
