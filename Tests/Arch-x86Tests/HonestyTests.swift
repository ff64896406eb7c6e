// Caches are honest: an answer is what a walk gives now, or gave since the last invalidation that reaches it. Random
// sequences of accesses, edits of tables, switches, register changes and invalidations, judged against their history.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_x86

/// One random sequence on one processor with PCIDs and global pages.
private struct Sequence {
  private static let spaces = 3
  private static let addresses: [UInt64] = [0x4020_3000, 0x4020_4000, 0x4060_3000, 0x8020_3000, 0xffff_8000_4020_3000]

  private var random: SplitMix64
  private let processor: Processor
  private var judged = JudgedProcessor()
  private var history: History
  /// Tables by the level of their entries; the roots are those of level 3.
  private var tables: [[UInt64]] = [[], [], [], []]
  private let hasWalkCaches: Bool
  private var roots: [UInt64]
  private(set) var hits = 0, staleHits = 0

  init(seed: UInt64, _ processor: Processor, hasWalkCaches: Bool) throws {
    random = SplitMix64(seed: seed)
    self.processor = processor
    self.hasWalkCaches = hasWalkCaches
    judged.maxPhysical = 40
    judged.cr0 = 0x8001_0011
    judged.cr4 = CR.PAE | CR.PGE | CR.PCIDE | CR.PKE
    judged.efer = CR.LME | CR.LMA | CR.NXE
    var frame: UInt64 = 0x10_0000
    for (level, count) in [(0, 5), (1, 4), (2, 3), (3, Self.spaces + 1)] {
      for _ in 0..<count {
        tables[level].append(frame)
        frame += 4096
      }
    }
    roots = Array(tables[3].prefix(Self.spaces))
    history = History(pcid: 1, root: roots[1])
    judged.cr3 = roots[1] | 1
    try processor.unit.reset(PGK_RESET_CACHES | PGK_RESET_REGISTERS | PGK_RESET_PENDING)
    try processor.set([("cr0", judged.cr0), ("cr3", judged.cr3), ("cr4", judged.cr4), ("efer", judged.efer)])
    for level in 0...3 { for table in tables[level] { for address in Self.addresses { edit(slot(table, address, level), level) } } }
  }

  func clear() { for slot in history.slots { processor.windows.store(slot, 0) } }

  private mutating func chance(_ percent: UInt64) -> Bool { random.next(below: 100) < percent }
  private mutating func pick<Element>(_ list: [Element]) -> Element { list[Int(random.next(below: UInt64(list.count)))] }

  private func slot(_ table: UInt64, _ address: UInt64, _ level: Int) -> UInt64 { table + TableKind.fourLevel.index(address, level) * 8 }

  /// Writes a new entry: mostly good, sometimes absent or less permissive.
  private mutating func edit(_ slot: UInt64, _ level: Int) {
    var entry = Bits.P
    if chance(85) { entry |= Bits.W }
    if chance(75) { entry |= Bits.U }
    if chance(70) { entry |= Bits.A }
    let isLeaf = level == 0 || level <= 2 && chance(12)
    if isLeaf {
      let size = UInt64(1) << UInt64(12 + 9 * level)
      entry |= 0x4000_0000 + random.next(below: 6) * size
      if level > 0 { entry |= Bits.PS }
      if chance(50) { entry |= Bits.D }
      if chance(30) { entry |= Bits.G }
      entry |= Bits.key(random.next(below: 3))
    } else {
      entry |= pick(tables[level - 1])
    }
    if chance(10) { entry |= Bits.XD }
    if chance(8) { entry &= ~1 }
    processor.windows.store(slot, entry)
    history.write(slot, entry)
  }

  private var pcid: UInt64 { judged.cr3 & 0xfff }

  private mutating func move(_ register: Register, _ value: UInt64) throws {
    #expect(try processor.special(X86Unit.write(register, value)) == nil)
  }

  private mutating func invalidate(_ operation: Arch_x86.Operation, _ address: UInt64 = 0, type: UInt64 = 0, _ identifier: UInt64 = 0) throws {
    #expect(try processor.special(X86Unit.request(operation, low: address, high: type | identifier << 8)) == nil)
  }

  // MARK: Steps

  /// Performs one step; a difference in words, or nil.
  mutating func step() throws -> String? {
    switch random.next(below: 24) {
    case 0, 1, 2, 3:
      let level = Int(pick([0, 0, 0, 1, 1, 2, 3]))
      edit(slot(pick(tables[level]), pick(Self.addresses), level), level)
    case 4, 5: try switchSpace()
    case 6: try changeRegister()
    case 7: try invalidate()
    default: return try access()
    }
    return nil
  }

  private mutating func switchSpace() throws {
    let next = random.next(below: UInt64(Self.spaces))
    if chance(10) { roots[Int(next)] = pick(tables[3]) }
    let keeps = chance(60)
    judged.cr3 = roots[Int(next)] | next
    try move(.cr3, judged.cr3 | (keeps ? 1 << 63 : 0))
    // What was cached for the space goes before anything new can be.
    if !keeps { history.forget(.space(next)) }
    history.advance(pcid: next, root: roots[Int(next)])
  }

  private mutating func changeRegister() throws {
    switch random.next(below: 6) {
    case 0:
      judged.cr0 ^= CR.WP
      try move(.cr0, judged.cr0)
    case 1:
      judged.cr4 ^= CR.SMEP
      try move(.cr4, judged.cr4)
      if judged.smep { history.forget(.space(pcid)) }
    case 2:
      judged.cr4 ^= CR.SMAP
      try move(.cr4, judged.cr4)
    case 3:
      judged.rflags ^= CR.AC
      try processor.set([("rflags", judged.rflags)])
    case 4:
      judged.cr4 ^= CR.PGE
      try move(.cr4, judged.cr4)
      history.forget(.all)
    default:
      judged.pkru = random.next() & random.next() & 0x3f
      try move(.pkru, judged.pkru)
    }
  }

  private mutating func invalidate() throws {
    let address = pick(Self.addresses) + random.next(below: 4096)
    let space = random.next(below: UInt64(Self.spaces))
    switch random.next(below: 8) {
    case 0, 1, 2:
      try invalidate(.invlpg, address)
      history.forget(.page(address, pcid: pcid))
    case 3, 4:
      try invalidate(.invpcid, address, type: 0, space)
      history.forget(.pageOfSpace(address, pcid: space))
    case 5:
      try invalidate(.invpcid, type: 1, space)
      history.forget(.space(space))
    case 6:
      try invalidate(.invpcid, type: 2)
      history.forget(.all)
    default:
      try invalidate(.invpcid, type: 3)
      history.forget(.allSpaces)
    }
  }

  // MARK: Judging

  private func judge(_ access: JudgedAccess, _ address: UInt64, root: UInt64, _ word: @escaping (UInt64) -> UInt64?) -> (Ruling, Judge) {
    var processor = judged
    processor.cr3 = root | processor.cr3 & 0xfff
    let judge = Judge(processor, JudgedMemory(word: word))
    return (judge.ruleOne(access, at: address), judge)
  }

  private mutating func access() throws -> String? {
    let access = JudgedAccess(kind: pick([.read, .read, .write, .modify, .fetch]), privilege: pick([.supervisor, .supervisor, .user, .implicit]))
    let privilege = access.isFetch && access.privilege == .implicit ? JudgedAccess.Privilege.supervisor : access.privilege
    let address = pick(Self.addresses) + random.next(below: 4096)
    let asked = JudgedAccess(kind: access.kind, privilege: privilege)
    let history = history
    let (today, judge) = self.judge(asked, address, root: history.states[history.now].root) { history.word($0, at: history.now) }
    let answer = try processor.perform(asked, address)
    let isHit = answer.reads == 0
    if isHit { hits += 1 }
    let text = "state \(history.now), \(privilege) \(access.kind) at \(hex(address)) in space \(pcid): now \(today), found \(answer.ruling) with \(answer.reads) reads"
    // Without walk caches, who reads an entry has walked today.
    if answer.ruling != today {
      guard isHit || hasWalkCaches else { return "a walk gave another answer; \(text)" }
      staleHits += 1
      guard isHistorical(answer.ruling, asked, address) else { return "no time since the last invalidation gives this answer; \(text)" }
    }
    return noteChanges(judge, answer.ruling, isHit: isHit, text)
  }

  /// Takes what the access wrote into the history. With walk caches a walk may mark what today's walk would not.
  private mutating func noteChanges(_ judge: Judge, _ found: Ruling, isHit: Bool, _ text: String) -> String? {
    for slot in history.slots {
      let old = history.word(slot, at: history.now), new = processor.windows.load(slot)
      if !hasWalkCaches {
        let expected = isHit ? old : judge.memory.changed[slot] ?? old
        if new != expected { return "word \(hex(slot)) should be \(hex(expected)) and is \(hex(new)); \(text)" }
      } else if new & ~0x60 != old & ~0x60 || old & 0x60 & ~new != 0 {
        return "word \(hex(slot)) was \(hex(old)) and is \(hex(new)); \(text)"
      }
      if new != old { history.write(slot, new) }
    }
    if case .pageFault(_, let address) = found { history.forget(.fault(address, pcid: pcid)) }
    return nil
  }

  private func isHistorical(_ found: Ruling, _ access: JudgedAccess, _ address: UInt64) -> Bool {
    hasWalkCaches ? followsFromEntries(found, access, address) : wasTrue(found, access, address)
  }

  /// Whether a whole walk gave the answer at a time from which it may still be cached.
  private func wasTrue(_ found: Ruling, _ access: JudgedAccess, _ address: UInt64) -> Bool {
    let history = history
    for state in (0...history.now).reversed() {
      let then = history.states[state]
      let (ruling, judge) = judge(access, address, root: then.root) { history.word($0, at: state) }
      guard ruling == found else { continue }
      let isGlobal = judge.leaf.entry & Bits.G != 0 && judged.cr4 & CR.PGE != 0
      guard isGlobal || then.pcid == pcid else { continue }
      if !history.isForgotten(address, shift: judge.leaf.shift, pcid: then.pcid, isGlobal: isGlobal, madeIn: state) { return true }
    }
    return false
  }

  /// Whether the answer follows from entries that each held its value at a time from which it may still be cached.
  private func followsFromEntries(_ found: Ruling, _ access: JudgedAccess, _ address: UInt64) -> Bool {
    let own = history.start { $0.reaches(address, shift: 12, pcid: pcid, isGlobal: false) && $0.reachesWay(to: address, pcid: pcid) }
    if follows(found, access, address, space: pcid, since: own, asGlobal: false) { return true }
    guard judged.cr4 & CR.PGE != 0 else { return false }
    let global = history.start { $0.reaches(address, shift: 12, pcid: pcid, isGlobal: true) }
    for space in 0..<UInt64(Self.spaces) {
      // What the space's walk caches held when the global translation could first be made.
      let way = history.start(limit: global) { $0.reachesWay(to: address, pcid: space) }
      if follows(found, access, address, space: space, since: way, asGlobal: true) { return true }
    }
    return false
  }

  private func follows(_ found: Ruling, _ access: JudgedAccess, _ address: UInt64, space: UInt64, since state: Int, asGlobal: Bool) -> Bool {
    for root in history.roots(pcid: space, since: state) {
      let choice = Choice()
      let words = ChosenWords(choice) { [history] in history.words($0, since: state) }
      repeat {
        choice.begin()
        words.begin()
        let (ruling, judge) = judge(access, address, root: root) { words.word($0) }
        if ruling == found && (!asGlobal || judge.leaf.entry & Bits.G != 0) { return true }
      } while choice.advance()
    }
    return false
  }
}

@Suite struct `x86 caches` {
  private func check(_ options: [(String, String)], hasWalkCaches: Bool, stream: UInt64) throws {
    let processor = try Processor([("maxphyaddr", "40")] + options)
    var hits = 0, staleHits = 0
    for number in 0..<caseCount(60) {
      let seed = (randomSeed &+ stream << 40) &+ number
      var sequence = try Sequence(seed: seed, processor, hasWalkCaches: hasWalkCaches)
      defer { sequence.clear() }
      for step in 0..<300 {
        if let difference = try sequence.step() {
          Issue.record("seed \(seed), step \(step), \(options): \(difference)")
          return
        }
      }
      hits += sequence.hits
      staleHits += sequence.staleHits
    }
    // The test would say nothing if caches were never asked, or never old.
    #expect(staleHits > 10 && (hits > 100 || options.contains { $0 == ("tlb.l1.ways", "0") }))
  }

  private static let noWalkCaches = [("pwc.level1.ways", "0"), ("pwc.level2.ways", "0"), ("pwc.level3.ways", "0")]

  @Test(arguments: [[], [("tlb.l1.sets", "1"), ("tlb.l1.ways", "2"), ("tlb.l2.ways", "0")], [("tlb.l1i.ways", "2"), ("tlb.replacement", "random")]])
  func `answer with what a walk gives, or gave since the last invalidation`(_ options: [(String, String)]) throws {
    try check(Self.noWalkCaches + options, hasWalkCaches: false, stream: 100)
  }

  @Test(arguments: [
    [], [("tlb.l1.ways", "0"), ("tlb.l2.ways", "0")], [("tlb.l1.sets", "1"), ("tlb.l1.ways", "1"), ("tlb.l2.ways", "0"), ("entrycache.ways", "8")],
  ])
  func `answer with what follows from entries as they are, or were since the last invalidation`(_ options: [(String, String)]) throws {
    try check(options, hasWalkCaches: true, stream: 101)
  }
}
