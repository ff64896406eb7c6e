import CPagingKit
import PagingKit
import Testing

let toyTemplate = AccessTemplate(privilege: 1)

/// All addresses that a source gives, in batches of uneven size.
func addresses(_ source: some AccessSource, _ count: Int) throws -> [UInt64] {
  var source = Limited(source, to: UInt64(count))
  var all: [UInt64] = []
  var buffer = [pgk_access_v1](repeating: pgk_access_v1(), count: 37)
  while true {
    let n = try buffer.withUnsafeMutableBufferPointer { try source.next(into: $0) }
    guard n > 0 else { return all }
    for i in 0..<n { #expect(buffer[i].tag == UInt32(all.count + i)) }
    all += buffer[..<n].map(\.address)
  }
}

@Suite struct `A source of accesses` {
  @Test func `goes on where its last batch ended`() throws {
    let sequential = SequentialSource(from: Address(0x1000), byteCount: 256, stride: 64, toyTemplate)
    #expect(try addresses(sequential, 6) == [0x1000, 0x1040, 0x1080, 0x10c0, 0x1000, 0x1040])
    #expect(try addresses(sequential, 1000).count == 1000)
  }

  @Test func `of random addresses stays in its pages and is the same every time`() throws {
    let source = RandomSource(from: Address(0x10_0000), pageCount: 10, seed: 3, toyTemplate)
    let first = try addresses(source, 2000)
    #expect(first == (try addresses(source, 2000)))
    #expect(first.allSatisfy { (0x10_0000..<0x10_a000).contains($0) && $0 & 7 == 0 })
    #expect(Set(first.map { $0 >> 12 }).count == 10)
  }

  @Test func `that chases pointers visits every node before it comes back`() throws {
    let visits = try addresses(PointerChaseSource(from: Address(0), nodeCount: 1000, seed: 9, toyTemplate), 2000)
    #expect(Set(visits[..<1000]).count == 1000)
    #expect(visits[..<1000] == visits[1000...])
    #expect(visits[..<1000].sorted() != Array(visits[..<1000]))
  }

  @Test func `moved into a smaller space keeps pages apart and offsets as they are`() throws {
    let high = RandomSource(from: Address(0x7fff_0000_0000), pageCount: 5000, seed: 3, toyTemplate)
    let moved = try addresses(Relocated(high, below: 1 << 32), 20000)
    let original = try addresses(high, 20000)
    #expect(moved.allSatisfy { $0 < 1 << 32 })
    var map: [UInt64: UInt64] = [:]
    for (old, new) in zip(original, moved) {
      #expect(old & 0x3f_ffff == new & 0x3f_ffff)
      #expect(map.updateValue(new >> 12, forKey: old >> 12) ?? new >> 12 == new >> 12)
    }
    #expect(Set(map.values).count == map.count)
    let low = SequentialSource(from: Address(0x40_0000), byteCount: 1 << 22, toyTemplate)
    #expect(try addresses(Relocated(low, below: 1 << 32), 100) == (try addresses(low, 100)), "what fits stays")
    #expect(throws: RelocationError.self) { try addresses(Relocated(high, below: 1 << 23), 20000) }
  }
}

@Suite struct `A run` {
  @Test func `stops where it shall, counts from where it shall`() throws {
    let machine = try makeMachine()
    var source = SequentialSource(from: Address(0x1_0000), byteCount: 100 << 12, stride: 4096, toyTemplate)
    let result = try machine.run(&source, RunLimits(stopAt: 2500, warmup: 100))
    #expect(result.accesses == 2500 && result.measuredAccesses == 2400 && !result.isInterrupted)
    #expect(result.counters["accesses"] == 2400)
    #expect(result.counters["faults"] == 0 && result.counters["pagesMapped"] == 0, "all pages came in the warm-up")
    #expect(result.counters["tlbHits"] == 2400)
  }

  @Test func `counts nothing if it ends in its warm-up`() throws {
    let machine = try makeMachine()
    var source = Limited(SequentialSource(from: Address(0x1_0000), byteCount: 100 << 12, stride: 4096, toyTemplate), to: 1500)
    let result = try machine.run(&source, RunLimits(warmup: 2000))
    #expect(result.accesses == 1500 && result.measuredAccesses == 0)
    #expect(result.counters["accesses"] == 0 && result.counters["pagesMapped"] == 0)
  }

  @Test func `counts everything without a warm-up, and ends with its source`() throws {
    let machine = try makeMachine()
    var source = Limited(SequentialSource(from: Address(0x1_0000), byteCount: 100 << 12, stride: 4096, toyTemplate), to: 1500)
    let result = try machine.run(&source)
    #expect(result.accesses == 1500 && result.measuredAccesses == 1500 && !result.isInterrupted)
    #expect(result.counters["pagesMapped"] == 100)
    #expect(result.counters["traps"] == 100)
    #expect(result.counters["tableBytes"] == machine.os.tableByteCount)
    #expect(machine.accessCount == 1500)
  }

  @Test func `gives what it has when it is interrupted`() throws {
    let machine = try makeMachine()
    var source = SequentialSource(from: Address(0), byteCount: 1 << 20, toyTemplate)
    let result = try machine.run(&source, batchSize: 100) { $0 < 250 }
    #expect(result.accesses == 300 && result.isInterrupted)
  }

  @Test func `leaves what the caches hold to be looked at`() throws {
    let machine = try makeMachine()
    try access(machine, PGK_READ, 0x5000)
    let dumps = try machine.dumpCaches()
    #expect(dumps.map(\.name) == ["tlb"])
    #expect(dumps[0].entries.map(\.input) == [0x5000])
  }
}
