// Caches are honest under a second stage, too. As HonestyTests, with edits of both stages, machines with VPIDs or ASIDs, two
// roots below, and the invalidations of a hypervisor.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_x86

/// One random sequence on one processor that runs two machines of two spaces.
private struct GuestSequence {
  private static let addresses: [UInt64] = [0x4020_3000, 0x4020_4000, 0x4060_3000, 0x8020_3000, 0xffff_8000_4020_3000]
  private static let machines: [UInt64] = [1, 2], spaces: [UInt64] = [1, 2]
  /// Guest-physical addresses of the guest's tables and of its pages.
  private static let tableBase: UInt64 = 0x10_0000, pageBase: UInt64 = 0x4000_0000
  /// Where the tables' first 2 MiB may lie: three sets of tables.
  private static let areas: [UInt64] = [0, 0x20_0000, 0x40_0000]

  private var random: SplitMix64
  private let processor: Processor
  private let second: TableKind
  private let hasWalkCaches: Bool
  private var judged = JudgedProcessor()
  private var history: GuestHistory
  /// The guest's tables by level, guest-physical; the second stage's by level.
  private var tables: [[UInt64]] = [[], [], [], []], lower: [[UInt64]] = [[], [], [], []]
  private var guestTableCount: UInt64 = 0
  private var roots: [UInt64: UInt64] = [:]
  private(set) var hits = 0, staleHits = 0, refusals = 0

  private var isEPT: Bool { second.isEPT }
  private var place: GuestPlace { history.place }

  init(seed: UInt64, _ processor: Processor, under second: TableKind, hasWalkCaches: Bool) throws {
    random = SplitMix64(seed: seed)
    self.processor = processor
    self.second = second
    self.hasWalkCaches = hasWalkCaches
    judged.maxPhysical = 40
    judged.below = second.isEPT ? .ept : .nestedPaging
    judged.cr0 = 0x8001_0011
    judged.cr4 = CR.PAE | CR.PGE | CR.PCIDE | CR.PKE
    judged.efer = CR.LME | CR.LMA | CR.NXE
    judged.hostCR4 = CR.PAE
    judged.hostEFER = CR.LME | CR.LMA | CR.NXE
    for (level, count) in [(0, 4), (1, 3), (2, 2), (3, 3)] {
      for _ in 0..<count {
        tables[level].append(Self.tableBase + guestTableCount << 12)
        guestTableCount += 1
      }
    }
    var frame: UInt64 = 0x100_0000
    for (level, count) in [(0, 3), (1, 3), (2, 2), (3, 2)] {
      for _ in 0..<count {
        lower[level].append(frame)
        frame += 4096
      }
    }
    for machine in Self.machines { for pcid in Self.spaces { roots[machine << 12 | pcid] = tables[3][Int(pcid)] } }
    history = GuestHistory(GuestPlace(machine: 1, pcid: 1, root: tables[3][1], second: lower[3][0]))
    try processor.unit.reset(PGK_RESET_CACHES | PGK_RESET_REGISTERS | PGK_RESET_PENDING)
    for level in 0...3 { for table in lower[level] { for gpa in guestPhysicals { editLower(table, level, gpa) } } }
    for area in Self.areas { for level in 0...3 { for table in tables[level] { for address in Self.addresses { edit(table, level, address, area) } } } }
    try load(place)
    try processor.set([("cr0", judged.cr0), ("cr3", judged.cr3), ("cr4", judged.cr4), ("efer", judged.efer)])
    // Nothing is cached yet.
    history.forget(.control(1, 0))
  }

  func clear() { for slot in history.slots { processor.windows.store(slot, 0) } }

  private mutating func chance(_ percent: UInt64) -> Bool { random.next(below: 100) < percent }
  private mutating func pick<Element>(_ list: [Element]) -> Element { list[Int(random.next(below: UInt64(list.count)))] }

  // MARK: Registers

  /// The judge's registers for a place.
  private func registers(_ place: GuestPlace) -> JudgedProcessor {
    var processor = judged
    processor.cr3 = place.root | place.pcid
    if isEPT { processor.eptp = place.second | 0x5e } else { processor.hostCR3 = place.second }
    return processor
  }

  /// Enters a machine: its identifier and the second stage, then the guest's root without invalidation.
  private mutating func load(_ place: GuestPlace) throws {
    judged = registers(place)
    let stage = isEPT
      ? [("ept.eptp", judged.eptp)] : [("nested.ncr3", judged.hostCR3), ("nested.cr4", judged.hostCR4), ("nested.efer", judged.hostEFER)]
    #expect(try processor.set([("vpid", place.machine)] + stage) == 0)
  }

  private mutating func enter(_ next: GuestPlace, keeps: Bool) throws {
    if next.machine != place.machine || next.second != place.second { try load(next) }
    judged = registers(next)
    #expect(try processor.special(X86Unit.write(.cr3, judged.cr3 | (keeps ? 1 << 63 : 0))) == nil)
    if !keeps { history.forget(.space(next.pcid, of: next.machine)) }
    history.advance(next)
  }

  private mutating func switchPlace() throws {
    var next = place
    if chance(40) { next.machine = pick(Self.machines) }
    // A machine of AMD keeps its nested table: its ASID stands for it.
    if isEPT ? chance(30) : next.machine != place.machine { next.second = isEPT ? pick(lower[3]) : lower[3][Int(next.machine) - 1] }
    next.pcid = pick(Self.spaces)
    if chance(10) { roots[next.machine << 12 | next.pcid] = pick(tables[3]) }
    next.root = roots[next.machine << 12 | next.pcid]!
    try enter(next, keeps: chance(70))
  }

  private mutating func changeRegister() throws {
    switch random.next(below: 5) {
    case 0:
      judged.cr0 ^= CR.WP
      try move(.cr0, judged.cr0)
    case 1:
      judged.cr4 ^= CR.SMEP
      try move(.cr4, judged.cr4)
      if judged.smep { history.forget(.space(place.pcid, of: place.machine)) }
    case 2:
      judged.cr4 ^= CR.SMAP
      try move(.cr4, judged.cr4)
    case 3:
      judged.cr4 ^= CR.PGE
      try move(.cr4, judged.cr4)
      history.forget(.machine(place.machine, withGlobal: true))
    default:
      judged.pkru = random.next() & random.next() & 0x3f
      try move(.pkru, judged.pkru)
    }
  }

  private func move(_ register: Register, _ value: UInt64) throws {
    #expect(try processor.special(X86Unit.write(register, value)) == nil)
  }

  // MARK: Tables

  /// What the second stage is asked for.
  private var guestPhysicals: [UInt64] {
    (0..<guestTableCount).map { Self.tableBase + $0 << 12 } + (0..<6 as Range<UInt64>).map { Self.pageBase + $0 << 12 }
      + (0..<3 as Range<UInt64>).map { Self.pageBase + $0 << 21 }
  }

  private mutating func write(_ slot: UInt64, _ entry: UInt64) {
    processor.windows.store(slot, entry)
    history.write(slot, entry)
  }

  /// An entry of the guest in one of the areas where its tables may lie.
  private mutating func edit(_ table: UInt64, _ level: Int, _ address: UInt64, _ area: UInt64) {
    var entry = Bits.P | Bits.A
    if chance(level > 0 ? 97 : 85) { entry |= Bits.W }
    if chance(level > 0 ? 95 : 75) { entry |= Bits.U }
    if level == 0 || level <= 2 && chance(10) {
      entry |= Self.pageBase + random.next(below: level == 0 ? 6 : 3) << UInt64(level == 2 ? 30 : 12 + 9 * level)
      if level > 0 { entry |= Bits.PS }
      if chance(60) { entry |= Bits.D }
      if chance(30) { entry |= Bits.G }
      entry |= Bits.key(random.next(below: 3))
    } else {
      entry |= pick(tables[level - 1])
    }
    if chance(3) { entry |= Bits.XD }
    if chance(level > 0 ? 2 : 6) { entry &= ~1 }
    write(area + table + TableKind.fourLevel.index(address, level) * 8, entry)
  }

  /// An entry of the second stage. The tables' own pages stay reachable, somewhere.
  private mutating func editLower(_ table: UInt64, _ level: Int, _ gpa: UInt64) {
    let isTable = gpa < Self.pageBase
    var entry: UInt64 = isEPT ? 0x37 | (chance(90) ? 0x300 : 0) : Bits.P | Bits.W | Bits.U | (chance(90) ? Bits.A | Bits.D : 0)
    let isLeaf = level == 0 || level <= 2 && chance(level == 2 ? 15 : 30)
    if isLeaf {
      if level > 0 { entry |= Bits.PS }
      switch level {
      case 0: entry |= isTable ? pick(Self.areas) + gpa : 0x4000_0000 + random.next(below: 8) << 12
      case 1: entry |= isTable ? pick(Self.areas) : 0x4000_0000 + random.next(below: 3) << 21
      default: entry |= isTable ? 0 : pick([0x4000_0000, 0x8000_0000])
      }
      if chance(isTable ? 2 : 12) { entry &= isEPT ? ~pick([1 | 2, 2, 4]) : pick([~Bits.W, ~Bits.U, .max]) }
      if chance(1) { entry = 0 }
    } else {
      entry = entry & ~(isEPT ? 0x30 : 0) | pick(lower[level - 1])
    }
    write(table + TableKind.fourLevel.index(gpa, level) * 8, entry)
  }

  private mutating func editSomething() {
    if chance(35) {
      let level = Int(pick([0, 0, 0, 1, 1, 2, 3]))
      editLower(pick(lower[level]), level, pick(guestPhysicals))
    } else {
      let level = Int(pick([0, 0, 0, 1, 1, 2, 3]))
      edit(pick(tables[level]), level, pick(Self.addresses), pick(Self.areas))
    }
  }

  // MARK: Invalidations

  private func perform(_ operation: Arch_x86.Operation, _ address: UInt64 = 0, type: UInt64 = 0, _ identifier: UInt64 = 0) throws {
    #expect(try processor.special(X86Unit.request(operation, low: address, high: type | identifier << 8)) == nil)
  }

  private mutating func invalidate() throws {
    let address = pick(Self.addresses) + random.next(below: 4096)
    let pcid = pick(Self.spaces), machine = pick(Self.machines)
    switch random.next(below: 12) {
    case 0, 1:
      try perform(.invlpg, address)
      history.forget(.page(address, place))
    case 2:
      try perform(.invpcid, address, type: 0, pcid)
      history.forget(.pageOfSpace(address, pcid, of: place.machine))
    case 3:
      let type = pick([1, 2, 3] as [UInt64])
      try perform(.invpcid, type: type, pcid)
      history.forget(type == 1 ? .space(pcid, of: place.machine) : .machine(place.machine, withGlobal: type == 2))
    default: try invalidateAsHost(address, machine)
    }
  }

  private mutating func invalidateAsHost(_ address: UInt64, _ machine: UInt64) throws {
    guard isEPT else {
      guard chance(60) else {
        try perform(.invlpga, address, machine)
        return history.forget(.page(address, of: machine))
      }
      let control = pick([1, 3, 3, 7, 7] as [UInt64])
      try perform(.tlbControl, type: control, machine)
      return history.forget(.control(control, machine))
    }
    if chance(60) {
      let second = chance(30) ? nil : pick(lower[3])
      try perform(.invept, second.map { $0 | 0x5e } ?? 0, type: second == nil ? 2 : 1)
      return history.forget(.pointer(second))
    }
    let type = pick([0, 0, 1, 2, 3] as [UInt64])
    try perform(.invvpid, address, type: type, machine)
    history.forget(type == 0 ? .page(address, of: machine) : type == 2 ? .everyMachine : .machine(machine, withGlobal: type == 1))
  }

  // MARK: Steps and judging

  /// Performs one step; a difference in words, or nil.
  mutating func step() throws -> String? {
    switch random.next(below: 40) {
    case 0...6: editSomething()
    case 7, 8: try switchPlace()
    case 9: try changeRegister()
    case 10...12: try invalidate()
    default: return try access()
    }
    return nil
  }

  private func judge(_ access: JudgedAccess, _ address: UInt64, at place: GuestPlace, _ word: @escaping (UInt64) -> UInt64?) -> (Ruling, Judge) {
    let judge = Judge(registers(place), JudgedMemory(word: word))
    return (judge.ruleOne(access, at: address), judge)
  }

  private mutating func access() throws -> String? {
    let kind = pick([.read, .read, .write, .modify, .fetch] as [JudgedAccess.Kind])
    let access = JudgedAccess(kind: kind, privilege: pick([.supervisor, .supervisor, .user]))
    let address = pick(Self.addresses) + random.next(below: 4096)
    let history = history
    let (today, judge) = self.judge(access, address, at: place) { history.word($0, at: history.now) }
    let answer = try processor.perform(access, address)
    let isHit = answer.reads == 0
    if isHit { hits += 1 }
    let text = "state \(history.now), \(access.privilege) \(kind) at \(hex(address)) in \(place): now \(today), found \(answer.ruling) with \(answer.reads) reads"
    if !today.agrees(with: answer.ruling) {
      guard isHit || hasWalkCaches else { return "a walk gave another answer; \(text)" }
      staleHits += 1
      let isHistorical = hasWalkCaches ? followsFromEntries(answer.ruling, access, address) : wasTrue(answer.ruling, access, address)
      guard isHistorical else { return "no time since the last invalidation gives this answer; \(text)" }
    }
    return noteChanges(judge, answer.ruling, address, isHit: isHit, text)
  }

  /// Takes what the access wrote into the history. With walk caches a walk may mark what today's walk would not.
  private mutating func noteChanges(_ judge: Judge, _ found: Ruling, _ address: UInt64, isHit: Bool, _ text: String) -> String? {
    let flags: UInt64 = isEPT ? 0x360 : 0x60
    for slot in history.slots {
      let old = history.word(slot, at: history.now), new = processor.windows.load(slot)
      if !hasWalkCaches {
        let expected = isHit ? old : judge.memory.changed[slot] ?? old
        if new != expected { return "word \(hex(slot)) should be \(hex(expected)) and is \(hex(new)); \(text)" }
      } else if new & ~flags != old & ~flags || old & flags & ~new != 0 {
        return "word \(hex(slot)) was \(hex(old)) and is \(hex(new)); \(text)"
      }
      if new != old { history.write(slot, new) }
    }
    switch found {
    case .pageFault(_, let address): history.forget(.fault(address, place))
    case .eptViolation(let qualification, _, _, _) where qualification >> 8 & 1 == 1: history.forget(.violation(address, place))
    default: break
    }
    if case .reaches = found {} else { refusals += 1 }
    return nil
  }

  /// Whether a whole walk in both stages gave the answer at a time from which it may still be cached.
  private func wasTrue(_ found: Ruling, _ access: JudgedAccess, _ address: UInt64) -> Bool {
    let history = history, now = place
    for state in (0...history.now).reversed() {
      let then = history.states[state]
      guard then.machine == now.machine, then.second == now.second else { continue }
      let (ruling, judge) = judge(access, address, at: then) { history.word($0, at: state) }
      guard ruling.agrees(with: found) else { continue }
      let isGlobal = judge.leaf.entry & Bits.G != 0 && judged.cr4 & CR.PGE != 0
      guard isGlobal || then.pcid == now.pcid else { continue }
      let cached = CachedForGuest(address: address, shift: judge.leaf.shift, place: then, isGlobal: isGlobal)
      if !history.isForgotten(madeIn: state, where: { $0.translation(cached) }) { return true }
    }
    return false
  }

  /// Whether the answer follows from entries that each held its value at a time from which it may still be cached.
  private func followsFromEntries(_ found: Ruling, _ access: JudgedAccess, _ address: UInt64) -> Bool {
    let own = CachedForGuest(address: address, place: place)
    let guest = history.start { $0.translation(own) && $0.way(own) }
    let below = history.start { $0.translation(own) && $0.guestPhysical(own.place) }
    if follows(found, access, address, place, guest: guest, below: below, asGlobal: false) { return true }
    guard judged.cr4 & CR.PGE != 0 else { return false }
    var global = own
    global.isGlobal = true
    let made = history.start { $0.translation(global) }
    let belowGlobal = history.start(limit: made) { $0.guestPhysical(own.place) }
    for pcid in Self.spaces {
      var space = own
      space.place.pcid = pcid
      let way = history.start(limit: made) { $0.way(space) }
      if follows(found, access, address, space.place, guest: way, below: belowGlobal, asGlobal: true) { return true }
    }
    return false
  }

  private func follows(
    _ found: Ruling, _ access: JudgedAccess, _ address: UInt64, _ place: GuestPlace, guest: Int, below: Int, asGlobal: Bool
  ) -> Bool {
    for root in history.roots(place, since: guest) {
      var then = place
      then.root = root
      let choice = Choice()
      let words = ChosenWords(choice) { [history] in history.words($0, since: guest) }
      let stage = OldSecondStage(choice, registers(then)) { [history] in history.words($0, since: below) }
      repeat {
        choice.begin()
        words.begin()
        let judge = Judge(registers(then), JudgedMemory(word: { words.word($0) }))
        judge.lower = stage.translate
        let ruling = judge.ruleOne(access, at: address)
        if ruling.agrees(with: found) && (!asGlobal || judge.leaf.entry & Bits.G != 0) { return true }
      } while choice.advance()
    }
    return false
  }
}

@Suite struct `x86 caches under a second stage` {
  private func check(_ second: TableKind, _ options: [(String, String)], hasWalkCaches: Bool, stream: UInt64) throws {
    let processor = try Processor([("maxphyaddr", "40"), ("mode", second.isEPT ? "ept" : "npt")] + options)
    var hits = 0, staleHits = 0, refusals = 0
    for number in 0..<caseCount(40) {
      let seed = (randomSeed &+ stream << 40) &+ number
      var sequence = try GuestSequence(seed: seed, processor, under: second, hasWalkCaches: hasWalkCaches)
      defer { sequence.clear() }
      for step in 0..<400 {
        if let difference = try sequence.step() {
          Issue.record("\(second), seed \(seed), step \(step), \(options): \(difference)")
          return
        }
      }
      hits += sequence.hits
      staleHits += sequence.staleHits
      refusals += sequence.refusals
    }
    // The test would say nothing if caches were never asked, or never old.
    #expect(staleHits > 10 && refusals > 10 && (hits > 100 || options.contains { $0 == ("tlb.l1.ways", "0") }))
  }

  private static let noWalkCaches = [("pwc.level1.ways", "0"), ("pwc.level2.ways", "0"), ("pwc.level3.ways", "0")]
  private static let all = [
    ("tlb.nested.ways", "4"), ("tlb.nested.sets", "4"), ("pwc2.level1.ways", "4"), ("pwc2.level2.ways", "2"), ("pwc2.level3.ways", "2"),
  ]

  @Test(arguments: [TableKind.ept4, .fourLevel])
  func `answer with what a walk in both stages gives, or gave since the last invalidation`(_ second: TableKind) throws {
    try check(second, Self.noWalkCaches, hasWalkCaches: false, stream: 110)
    try check(second, Self.noWalkCaches + [("tlb.l1.sets", "1"), ("tlb.l1.ways", "2"), ("tlb.l2.ways", "0")], hasWalkCaches: false, stream: 111)
  }

  @Test(arguments: [TableKind.ept4, .fourLevel])
  func `answer with what follows from entries of both stages as they are, or were since the last invalidation`(_ second: TableKind) throws {
    try check(second, Self.all, hasWalkCaches: true, stream: 112)
    try check(second, [("tlb.l1.ways", "0"), ("tlb.l2.ways", "0")] + Self.all, hasWalkCaches: true, stream: 113)
    try check(second, Self.noWalkCaches + [("tlb.nested.ways", "4"), ("entrycache.ways", "8")], hasWalkCaches: true, stream: 114)
  }
}
