// Random cases, judged by the straight-line reading of the manual.
import CPagingKit
import PagingKit
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Random cases: some hundred thousand in a release build, a tenth of it in a debug build, millions with NIGHTLY=1.
let randomScale: UInt64 = getenv("NIGHTLY") != nil ? 300 : _isDebugAssertConfiguration() ? 1 : 10

/// The seed of all random suites, or SEED.
let randomSeed: UInt64 = getenv("SEED").flatMap { UInt64(String(cString: $0)) } ?? 20_240_411

/// Runs random cases of one shape and says where the first difference is.
struct RandomRun {
  let shape: Shape
  let options: [(String, String)]
  var hart = JudgedHart()
  let isWarm: Bool
  let hasEverything: Bool

  init(_ shape: Shape, _ options: [(String, String)] = [], isWarm: Bool = false, hasEverything: Bool = false) {
    self.shape = shape
    let noTLB = [("tlb.l1.ways", "0"), ("tlb.l2.ways", "0")]
    self.options = options + (isWarm ? [] : noTLB) + (hasEverything ? [("smnpm", "true"), ("ssnpm", "true"), ("zicfiss", "true")] : [])
    self.isWarm = isWarm
    self.hasEverything = hasEverything
    hart.xlen = shape.xlen
    hart.secondStageComesFirst = options.contains { $0 == ("stage-order", "before") }
    hart.updatesThenFaults = !options.contains { $0 == ("update-then-fault", "false") }
    hart.hasSvnapot = !options.contains { $0 == ("svnapot", "false") }
  }

  /// The first difference in words, or nil.
  func firstDifference(cases: UInt64, seed: UInt64) throws -> String? {
    let memory = TestMemory()
    let machine = try Hart(xlen: shape.xlen, options, memory: memory)
    for number in 0..<cases {
      if let difference = try difference(seed: seed &+ number &* 0x1_0001, machine, memory) { return "seed \(seed &+ number &* 0x1_0001): " + difference }
    }
    return nil
  }

  private func difference(seed: UInt64, _ machine: Hart, _ memory: TestMemory) throws -> String? {
    var random = RandomCase(seed: seed, shape: shape, memory: memory, hasEverything: hasEverything, hasContiguous: !isWarm)
    defer { random.clear() }
    var hart = hart
    hart.registers = random.registers
    try machine.unit.reset(PGK_RESET_CACHES | PGK_RESET_REGISTERS | PGK_RESET_PENDING)
    try machine.set(random.registers.map { ($0.key, $0.value) })
    for number in 0..<4 {
      if number > 0 && !isWarm { try machine.unit.reset(PGK_RESET_CACHES) }
      let (access, kind, privilege) = self.access(&random)
      let judge = Judge(hart, hasMemory: memory.exists, fetchWord: memory.load)
      let ruling = judge.rule(kind, as: privilege, at: access.address, byteCount: 1 << UInt64(access.size_log2))
      let found = try machine.perform(access)
      var text = "access \(number) \(kind) \(privilege) at 0x\(String(access.address, radix: 16)), \(1 << access.size_log2) bytes"
      if !agrees(found, ruling) { return text + ": expected \(ruling), found \(found); registers \(random.registers)" }
      for (slot, value) in random.slots {
        let expected = judge.written[slot] ?? value
        let actual = memory.load(slot, shape.xlen / 8)!
        if actual != expected {
          text += ": entry at 0x\(String(slot, radix: 16)) expected 0x\(String(expected, radix: 16)), found 0x\(String(actual, radix: 16))"
          return text + ", \(ruling); registers \(random.registers)"
        }
      }
      for (slot, value) in judge.written {
        if memory.load(slot, shape.xlen / 8) != value { return text + ": a word at 0x\(String(slot, radix: 16)) that is no entry" }
        random.slots[slot] = value
      }
    }
    return nil
  }

  private func agrees(_ found: Answer, _ ruling: Ruling) -> Bool {
    switch ruling {
    case .reaches(let pa): return found.outcome == "finished" && found.address == pa
    case .raises(let cause, let address, let gpa, let tinst):
      let outcome = riscv.outcomes.first { $0.number == Int32(cause) }!
      return found.outcome == String(cString: outcome.name) && found.address == address && found.gpa == gpa && found.tinst == tinst
    }
  }

  private func access(_ random: inout RandomCase) -> (pgk_access_v1, Judge.Kind, String) {
    let privileges: [String]
    if shape.second == nil {
      privileges = hasEverything ? ["U", "S", "M", "U.ss", "S.ss"] : ["U", "S", "U", "S", "M"]
    } else {
      let hypervisor = ["U.hlv", "S.hlv", "U.hlvx", "S.hlvx", "U.hsv", "S.hsv"]
      privileges = ["VU", "VS", "VU", "VS", "M"] + hypervisor + (hasEverything ? ["VU.ss", "VS.ss"] : [])
    }
    var privilege = random.pick(privileges)
    var kind = random.pick([Judge.Kind.load, .load, .load, .store, .store, .fetch, .amo, .loadReserved, .storeConditional])
    if privilege.hasSuffix("hsv") { kind = .store } else if privilege.contains(".h") { kind = .load }
    if privilege.hasSuffix("ss") {
      if !stacksAreOn(privilege, random.registers) {
        privilege = String(privilege.dropLast(3))
      } else {
        kind = random.pick([.load, .store, .amo])
      }
    }
    var address = random.pick(random.targets)
    if random.chance(95) { address |= random.random.next(below: 4096) } else { address &+= random.random.next(below: 1 << 20) }
    if random.chance(4) { address ^= 1 << random.random.next(below: 64) }
    if hasEverything && random.chance(30) { address ^= random.random.next() & 0xffff << 48 }
    if random.chance(10) { address = address & ~0xfff | (0xff0 + random.random.next(below: 16)) }
    if shape.xlen == 32 { address &= 0xffff_ffff }
    let sizeLog2 = kind == .load || kind == .store ? random.random.next(below: 5) : 2 + random.random.next(below: 2)
    let kinds: [Judge.Kind: UInt32] = [
      .load: PGK_READ, .store: PGK_WRITE, .fetch: PGK_FETCH, .amo: PGK_MODIFY, .loadReserved: PGK_LOAD_LOCKED,
      .storeConditional: PGK_STORE_CONDITIONAL,
    ]
    return (Hart.access(kinds[kind]!, address, privilege, size: 1 << sizeLog2), kind, privilege)
  }

  /// Without them the instructions are others.
  private func stacksAreOn(_ privilege: String, _ registers: [String: UInt64]) -> Bool {
    func isOn(_ register: String) -> Bool { (registers[register] ?? 0) & 8 != 0 }
    return isOn("menvcfg") && (!privilege.hasPrefix("V") || isOn("henvcfg")) && (!privilege.contains("U") || isOn("senvcfg"))
  }
}

private let oneStage = [Shape(xlen: 64, first: 3), Shape(xlen: 64, first: 4), Shape(xlen: 64, first: 5), Shape(xlen: 64, first: 0)]
private let twoStage = [0, 3, 4, 5].flatMap { first in [0, 3, 4, 5].map { Shape(xlen: 64, first: first, second: $0) } }
private let narrow = [Shape(xlen: 32, first: 2), Shape(xlen: 32, first: 0), Shape(xlen: 32, first: 2, second: 2), Shape(xlen: 32, first: 2, second: 0), Shape(xlen: 32, first: 0, second: 2)]
private let every = oneStage + twoStage + narrow

@Suite struct `A random machine` {
  private func check(_ run: RandomRun, cases: UInt64, stream: UInt64) throws {
    let difference = try run.firstDifference(cases: cases * randomScale, seed: randomSeed &+ stream << 32)
    #expect(difference == nil, "\(difference ?? "")")
  }

  @Test(arguments: every)
  func `does what the manual's steps say`(_ shape: Shape) throws { try check(RandomRun(shape), cases: 300, stream: 0) }

  @Test(arguments: every)
  func `gives the same answers from its caches`(_ shape: Shape) throws {
    try check(RandomRun(shape, isWarm: true), cases: 100, stream: 1)
    let caches = [
      ("tlb.nested.ways", "4"), ("tlb.nested.sets", "3"), ("pwc.level4.ways", "2"), ("pwc2.level1.ways", "2"), ("pwc2.level2.ways", "2"),
      ("pwc2.level3.ways", "2"), ("pwc2.level4.ways", "2"), ("tlb.l1i.ways", "2"), ("entrycache.ways", "4"), ("entrycache.sets", "4"),
    ]
    try check(RandomRun(shape, caches, isWarm: true), cases: 100, stream: 2)
  }

  @Test(arguments: every)
  func `masks pointers and guards shadow stacks`(_ shape: Shape) throws {
    try check(RandomRun(shape, hasEverything: true), cases: 150, stream: 3)
    try check(RandomRun(shape, isWarm: true, hasEverything: true), cases: 50, stream: 4)
  }

  @Test(arguments: every)
  func `keeps to the policies it was opened with`(_ shape: Shape) throws {
    try check(RandomRun(shape, [("stage-order", "before")]), cases: 50, stream: 5)
    try check(RandomRun(shape, [("update-then-fault", "false")]), cases: 50, stream: 6)
    try check(RandomRun(shape, [("stage-order", "before"), ("update-then-fault", "false")]), cases: 50, stream: 7)
    try check(RandomRun(shape, [("svnapot", "false")]), cases: 50, stream: 8)
  }
}
