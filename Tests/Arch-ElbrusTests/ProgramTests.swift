// Random programs of wide instructions: natively, through the cellar, and in two kinds of guest they come to the same end.
import CPagingKit
import Glibc
import PagingKit
import Testing

@testable import Arch_Elbrus

private let isNightly = getenv("NIGHTLY") != nil
/// Programs of each mode in one argument of the test.
private let programCount: UInt64 = isNightly ? 16_000 : isOptimized ? 500 : 40

/// Unoptimized code is ten times slower, and runs fewer.
private var isOptimized: Bool {
  #if DEBUG
    false
  #else
    true
  #endif
}

@Suite struct `A program of wide instructions` {
  @Test(arguments: 0..<64 as Range<UInt64>)
  func `comes to one end natively, with demand paging, under GP tables and under shadow tables (44)`(_ part: UInt64) throws {
    for number in 0..<programCount {
      let seed = part * 1_000_003 + number
      let program = Program(seed: seed)
      let expected = StraightLine.end(of: program)
      for mode in ProgramMode.allCases {
        do {
          let machine = try ProgramMachine(program, mode)
          let end = try machine.run()
          let difference = end.difference(from: expected.withoutZeros)
          try #require(difference == nil, "seed \(seed), \(mode)\n\(program.groups)")
        } catch let trouble as ProgramTrouble {
          Issue.record("seed \(seed), \(mode): \(trouble)\n\(program.groups)")
          return
        }
      }
    }
  }

  @Test(arguments: [ProgramMode.guestTables, .shadowTables])
  func `has a device wait behind unfinished stores until its turn has come (45)`(_ mode: ProgramMode) throws {
    var program = Program(seed: 1)
    program.groups = [[
      .store(page: 0, offset: 0, size: 8, channel: 1, data: 1, high: 0, isPacked: false),
      .load(page: ProgramWorld.devicePage, offset: 8, size: 8, channel: 0, to: 1, isPacked: false),
      .store(page: ProgramWorld.devicePage, offset: 16, size: 4, channel: 3, data: 2, high: 0, isPacked: false),
    ]]
    program.holes = Set(0..<ProgramWorld.frames)
    program.flaws = program.flaws.map { _ in .none }
    for isEager in [false, true] {
      program.isEager = isEager
      let end = try ProgramMachine(program, mode).run()
      #expect(end == StraightLine.end(of: program).withoutZeros)
      #expect(end.device == ["load 8 8", "store 16 4 2"])
    }
  }
}

extension ProgramEnd {
  /// What first differs, in words.
  func difference(from expected: ProgramEnd) -> String? {
    func hex(_ values: [UInt64: UInt64]) -> [UInt64: String] { values.mapValues { String($0, radix: 16) } }
    func compare<Value: Equatable>(_ what: String, _ found: [UInt64: Value], _ wanted: [UInt64: Value]) -> String? {
      for key in Set(found.keys).union(wanted.keys).sorted() where found[key] != wanted[key] {
        return "\(what) 0x\(String(key, radix: 16)): expected \(wanted[key].map { "\($0)" } ?? "none"), found \(found[key].map { "\($0)" } ?? "none")"
      }
      return nil
    }
    if device != expected.device { return "device: expected \(expected.device), found \(device)" }
    return compare("register", hex(registers), hex(expected.registers)) ?? compare("writes of register", writes, expected.writes)
      ?? compare("word", hex(memory), hex(expected.memory)) ?? compare("stores to", stores, expected.stores)
      ?? compare("control register", hex(controls), hex(expected.controls))
  }

  /// Words and registers that hold zero are as if they had never been written.
  var withoutZeros: ProgramEnd {
    var end = self
    end.memory = memory.filter { $0.value != 0 }
    end.controls = controls.filter { $0.value != 0 }
    return end
  }
}
