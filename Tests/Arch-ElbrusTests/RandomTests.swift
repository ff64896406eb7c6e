import CPagingKit
import Glibc
import PagingKit
import Testing

@testable import Arch_Elbrus

/// xorshift64*, the same numbers for the same seed.
struct Chance {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_f491_4f6c_dd1d
  }
  mutating func below(_ bound: UInt64) -> UInt64 { next() % bound }
  mutating func oneIn(_ n: UInt64) -> Bool { next() % n == 0 }
  mutating func pick<Element>(_ list: [Element]) -> Element { list[Int(next() % UInt64(list.count))] }
}

/// One random machine with tables for a few addresses.
struct RandomMachine {
  var judge = Judge()
  var addresses: [UInt64] = []
  /// All tables lie in the memory that a dense unit has.
  let isCompact: Bool
  private var chance: Chance

  init(_ chance: inout Chance) {
    isCompact = chance.oneIn(2)
    self.chance = chance
    judge.iset = Int(3 + chance.below(5))
    self.chance = chance
    choosePolicies()
    chooseRegisters()
    fillTables()
    chance = self.chance
  }

  private mutating func choosePolicies() {
    judge.upperBitsAreIllegal = chance.oneIn(8)
    judge.leavesMarks = chance.oneIn(6)
    judge.isPresentFirst = chance.oneIn(10)
    judge.isWriteFirst = chance.oneIn(6)
    judge.isGuest = judge.iset >= 6 && chance.oneIn(2)
  }

  private mutating func chooseRegisters() {
    let isNew = judge.iset >= 6
    var mode: UInt64 = chance.below(2) << 1
    if isNew && !chance.oneIn(8) { mode |= 0x20 }
    if isNew && chance.oneIn(3) { mode |= 4 }
    let control: UInt64 = chance.oneIn(20) ? 0x820 : 0x821
    let prefix = judge.isGuest ? "sh_" : ""
    var registers: [String: UInt64] = [
      prefix + "core_mode": mode, prefix + "mmu_cr": control, prefix + "pid": chance.below(4096),
      "u_pptb": newFrame() | (chance.oneIn(4) ? chance.below(4096) : 0),
    ]
    if isNew {
      registers[prefix + "os_pptb"] = newFrame()
      registers[prefix + "os_vab"] = chance.below(1 << 48)
    }
    if judge.isGuest {
      registers["gid"] = 1 + chance.below(4095)
      registers["gp_pptb"] = newFrame()
      registers["virt_ctrl_mu"] = chance.pick([1 << 36, 1 << 36, 1 << 36, 1 << 36 | 1 << 37, 1 << 37, 0])
    }
    judge.registers = registers
  }

  private mutating func newFrame() -> UInt64 {
    if isCompact { return chance.below(UInt64(DenseMemory.byteCount)) & ~0xfff }
    let width: UInt64 = chance.oneIn(3) ? 44 : 30
    return chance.below(1 << min(width, judge.iset >= 6 ? 44 : 38)) & ~0xfff
  }

  // MARK: Tables

  private mutating func fillTables() {
    let base = chance.next() & 0xffff_ffff_ffff
    for i in 0..<4 as Range<UInt64> {
      // Neighbours at every distance.
      let distance = chance.pick([0x1000, 0x20_0000, 0x4000_0000, 0x80_0000_0000] as [UInt64])
      let address = (i == 0 ? base : base &+ distance &* chance.below(4)) & 0xffff_ffff_f000 | chance.below(4096)
      addresses.append(address)
      fill(address)
    }
  }

  private var isSeparate: Bool { (judge.registers["sh_core_mode"] ?? judge.registers["core_mode"] ?? 0) & 4 != 0 }
  private var isV6: Bool { (judge.registers["sh_core_mode"] ?? judge.registers["core_mode"] ?? 0) & 0x20 != 0 }
  private var hasGuestTables: Bool { judge.isGuest && (judge.registers["virt_ctrl_mu"]! >> 36) == 1 }

  private mutating func fill(_ address: UInt64) {
    let base = (judge.registers[judge.isGuest ? "sh_os_vab" : "os_vab"] ?? 0) & 0xf000_0000_0000
    let root = isSeparate && address >= base ? judge.registers[judge.isGuest ? "sh_os_pptb" : "os_pptb"]! : judge.registers["u_pptb"]!
    var table = root & (judge.iset >= 6 ? 0xffff_ffff_f000 : 0xff_ffff_f000)
    for level in [3, 2, 1, 0] as [UInt64] {
      let slot = table + (address >> (12 + 9 * level) & 511) * 8
      guard let host = host(slot) else { return }
      let isLeaf = level == 0 || level < 3 && chance.oneIn(6)
      if judge.memory[host] == nil { judge.memory[host] = entry(isLeaf: isLeaf, level) }
      let frame: UInt64 = isV6 ? 0xffff_ffff_f000 : 0xff_ffff_f000
      let entry = judge.memory[host]!
      if level == 0 || level < 3 && entry & 0x80 != 0 && (level == 1 || judge.iset >= 5) {
        _ = self.host(entry & frame & ~((1 << (12 + 9 * level)) - 1) + address % (1 << (12 + 9 * level)))
        return
      }
      table = entry & frame
    }
  }

  /// An entry that mostly lets accesses through, with now and then any bit wrong.
  private mutating func entry(isLeaf: Bool, _ level: UInt64) -> UInt64 {
    let valid: UInt64 = isV6 ? 8 : 1 << 40
    var bits = newFrame() & (isV6 ? 0xffff_ffff_f000 : 0xff_ffff_f000) | 0x63 | valid
    if isLeaf && level > 0 { bits |= 0x80 }
    let limits: [UInt64] = isV6 ? [2, 4, 1 << 63, 1 << 8] : [2, 1 << 41, 1 << 43, 1 << 8]
    for bit in limits where chance.oneIn(isLeaf ? 4 : 2) { bits ^= bit }
    for bit in [0x20, 0x40] as [UInt64] where chance.oneIn(3) { bits &= ~bit }
    if chance.oneIn(16) { bits &= ~valid }
    if chance.oneIn(16) { bits &= ~1 }
    if chance.oneIn(16) { bits ^= 1 << chance.below(64) }
    return bits
  }

  /// Where a guest-physical address lies, with GP tables made on the way; nil if they refuse.
  private mutating func host(_ address: UInt64) -> UInt64? {
    guard hasGuestTables else { return address }
    var table = judge.registers["gp_pptb"]!
    for level in [3, 2, 1, 0] as [UInt64] {
      let slot = table + (address >> (12 + 9 * level) & 511) * 8
      if judge.memory[slot] == nil {
        var bits = newFrame() | 0x63
        if level == 1 && chance.oneIn(4) || level == 2 && chance.oneIn(12) { bits |= 0x80 }
        for bit in [2, 0x20, 0x40] as [UInt64] where chance.oneIn(8) { bits &= ~bit }
        if chance.oneIn(40) { bits &= ~1 }
        if chance.oneIn(10) { bits |= 1 << 63 }
        judge.memory[slot] = bits
      }
      let entry = judge.memory[slot]!
      guard entry & 1 == 1 else { return nil }
      if level == 0 || level < 3 && entry & 0x80 != 0 {
        let size: UInt64 = 1 << (12 + 9 * level)
        return entry & 0xffff_ffff_f000 & ~(size - 1) + address % size
      }
      table = entry & 0xffff_ffff_f000
    }
    return nil
  }

  mutating func access() -> Judge.Access {
    let kind = chance.pick(["r", "r", "w", "w", "x"] as [Character])
    let byteCount: UInt64 = 1 << chance.below(5)
    var access = Judge.Access(
      address: chance.oneIn(12) ? chance.next() : chance.pick(addresses) & ~0xfff | chance.below(4096), kind: kind,
      isUser: chance.oneIn(2), byteCount: byteCount)
    access.address &= ~(byteCount - 1)
    if chance.oneIn(10) { access.address |= chance.below(1 << 16) << 48 }
    if kind == "r" { access.isSpeculative = chance.oneIn(4) }
    if kind != "x" {
      access.channel = chance.below(4)
      if chance.oneIn(4) { access.mas = chance.pick([1, 5, 6, 7, 7]) }
      if kind == "w" && access.mas == 7 { access.mas = 0 }
    }
    return access
  }
}

@Suite struct `Random Elbrus machines` {
  @Test func `end every access as the description says, with cold caches and with warm ones`() throws {
    // Five accesses each: 100,000 of them in the release build that runs the random suites.
    let count = getenv("NIGHTLY") != nil ? 1_000_000 : _isDebugAssertConfiguration() ? 4_000 : 20_000
    let seed: UInt64 = 20_26
    var chance = Chance(seed)
    var outcomes: [String: Int] = [:]
    let benches = RandomBenches()
    for number in 0..<count {
      var machine = RandomMachine(&chance)
      let (cold, warm) = try benches.benches(for: machine.judge)
      let dense = machine.isCompact && machine.judge.memory.keys.allSatisfy { $0 < UInt64(DenseMemory.byteCount) }
        ? try benches.dense(for: machine.judge) : nil
      for _ in 0..<5 {
        let access = machine.access()
        let expected = machine.judge.judge(access)
        outcomes[expected.outcome, default: 0] += 1
        try cold.unit.reset(PGK_RESET_CACHES)
        let name = "seed \(seed), machine \(number), \(access)"
        let first = try cold.perform(access)
        try #require(first.verdict == expected, "\(name): cold")
        try #require(first.reads == machine.judge.reads, "\(name): reads")
        try #require(cold.difference(from: machine.judge) == nil, "\(name): cold")
        try #require(try warm.perform(access).verdict == expected, "\(name): warm")
        try #require(warm.difference(from: machine.judge) == nil, "\(name): warm")
        guard let dense else { continue }
        try dense.unit.reset(PGK_RESET_CACHES)
        let seen = try dense.perform(access)
        try #require(seen.verdict == expected && seen.reads == machine.judge.reads, "\(name): in plain memory")
        let strange = machine.judge.memory.first { benches.plain.word($0.key) != $0.value }
        try #require(strange == nil, "\(name): in plain memory")
      }
    }
    // The generator must reach everything that it is for.
    for outcome in ["finished", "diagnostic", "illegal_page", "page_miss", "nwrite_page", "priv_page", "instr_page_miss", "instr_page_prot", "GPA_DATA", "GPA_INSTR", "MAS_IOADDR"] {
      #expect(outcomes[outcome, default: 0] > 20, "only \(outcomes[outcome, default: 0]) of \(outcome)")
    }
  }
}

/// Units by revision and policies, used again from machine to machine.
private final class RandomBenches {
  private var open: [String: (Bench, Bench, Bench)] = [:]
  let plain = DenseMemory()

  /// A unit without caches over plain memory.
  func dense(for judge: Judge) throws -> Bench {
    let bench = try trio(for: judge).2
    plain.hold(judge.memory)
    try bench.unit.reset(PGK_RESET_CACHES | PGK_RESET_REGISTERS | PGK_RESET_PENDING)
    try bench.set(judge.registers.map { ($0.key, $0.value) })
    return bench
  }

  func benches(for judge: Judge) throws -> (cold: Bench, warm: Bench) {
    let pair = try trio(for: judge)
    for bench in [pair.0, pair.1] {
      bench.memory.words = judge.memory
      try bench.unit.reset(PGK_RESET_CACHES | PGK_RESET_REGISTERS | PGK_RESET_PENDING)
      try bench.set(judge.registers.map { ($0.key, $0.value) })
    }
    return (pair.0, pair.1)
  }

  private func trio(for judge: Judge) throws -> (Bench, Bench, Bench) {
    let order = (judge.isPresentFirst ? "P-V-" : "V-P-") + (judge.isWriteFirst ? "W-PV-NON_EX" : "PV-W-NON_EX")
    let options = [
      ("canonical", judge.upperBitsAreIllegal ? "illegal" : "ignore"), ("ad_policy", judge.leavesMarks ? "ignore" : "hardware"),
      ("fault_order", order),
    ]
    // Every kind of cache there is; the cold unit has none that could help within one access.
    let caches = [("tlb.nested.ways", "4"), ("pwc2.level1.ways", "4"), ("pwc2.level3.ways", "2"), ("entrycache.ways", "8")]
    let key = "\(judge.iset) \(options)"
    if let known = open[key] { return known }
    let none = ["pwc.level1.ways", "pwc.level2.ways", "pwc.level3.ways", "tlb.l1.ways", "tlb.l2.ways"].map { ($0, "0") }
    let made = (
      try Bench(iset: judge.iset, options), try Bench(iset: judge.iset, options + caches),
      try Bench(iset: judge.iset, options + none, map: plain.map)
    )
    open[key] = made
    return made
  }
}

extension Bench {
  /// The first word of memory that is not as the judge left it.
  fileprivate func difference(from judge: Judge) -> String? {
    if memory.words == judge.memory { return nil }
    let slots = Set(memory.words.keys).union(judge.memory.keys).sorted()
    guard let slot = slots.first(where: { memory.words[$0] ?? 0 != judge.memory[$0] ?? 0 }) else { return nil }
    return [slot, memory.words[slot] ?? 0, judge.memory[slot] ?? 0].map { String($0, radix: 16) }.joined(separator: " ")
  }

  fileprivate func perform(_ a: Judge.Access) throws -> (verdict: Judge.Verdict, reads: UInt32) {
    try set([("mas", a.mas), ("chan", a.channel)])
    let kind = a.kind == "r" ? PGK_READ : a.kind == "w" ? PGK_WRITE : PGK_FETCH
    let answer = try access(
      kind, a.address, a.isUser ? .user : .kernel, size: UInt8(a.byteCount.trailingZeroBitCount), speculative: a.isSpeculative)
    let verdict = Judge.Verdict(
      outcome: answer.outcome, address: answer.address, faultType: answer.faultType, guestPhysical: answer.guestPhysical,
      guestLevel: answer.guestLevel, isFinal: answer.isFinal)
    return (verdict, answer.reads)
  }
}
