// Caches may keep what a table said, until a fence says otherwise, and never longer. Random accesses, table edits, address
// space switches, register changes and fences; each answer is judged by what every slot of the tables has held.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_RISCV

extension World {
  // MARK: What may be seen

  /// What a use of an entry must have been read after.
  private func since(isSecond: Bool, isLeaf: Bool, address: UInt64, level: Int, asid: UInt64, isGlobal: Bool) -> Int {
    let shift = UInt64(12 + 9 * level)
    return fences.last { fence in
      guard fence.isSecond == isSecond else { return false }
      if isSecond {
        guard fence.machine == nil || fence.machine == machine else { return false }
      } else {
        guard !isGuest || fence.machine == machine else { return false }
        guard fence.asid == nil || fence.asid == asid && !isGlobal else { return false }
      }
      // With an address, a fence reaches leaves only.
      return fence.address == nil || isLeaf && fence.address! >> shift == address >> shift
    }?.time ?? 0
  }

  /// Values that the slot may be taken to hold. Absent and refused entries are never kept.
  private func values(_ slot: UInt64, level: Int, _ start: (_ isLeaf: Bool) -> Int) -> [UInt64] {
    let all = history[slot] ?? [(0, 0)]
    var list = [all[all.count - 1].value]
    for (index, item) in all.enumerated().dropLast() {
      let isLeaf = item.value & 0xe != 0
      guard item.value & 1 != 0, isLeaf || level > 0 else { continue }
      // It was there until the next write.
      if all[index + 1].time > start(isLeaf) { list.append(item.value) }
    }
    return list
  }

  private func frame(_ entry: UInt64) -> UInt64 { (entry & 0x3f_ffff_ffff_fc00) << 2 }

  private struct Seen: Hashable {
    /// Nil: a fault.
    var page: UInt64?
    var leaf: UInt64 = 0
    var isSecondFault = false
  }

  /// Leaves that the second stage may give for an address.
  private func secondStage(_ gpa: UInt64) -> [(page: UInt64, leaf: UInt64)?] {
    if !isGuest { return [(gpa, Bit.user)] }
    var list: [(UInt64, UInt64)?] = []
    func walk(_ table: UInt64, _ level: Int) {
      let slot = table + ((gpa >> UInt64(12 + 9 * level)) & (level == 2 ? 2047 : 511)) * 8
      for value in values(slot, level: level, { self.since(isSecond: true, isLeaf: $0, address: gpa, level: level, asid: 0, isGlobal: false) }) {
        if value & 1 == 0 { list.append(nil) } else if value & 0xe != 0 {
          let mask: UInt64 = (1 << UInt64(12 + 9 * level)) - 1
          list.append((frame(value) & ~mask | gpa & mask, value))
        } else if level > 0 {
          walk(frame(value), level - 1)
        } else {
          list.append(nil)
        }
      }
    }
    walk(secondRoots[Int(machine)], 2)
    return list
  }

  /// What an access to the address may see from the tables of an address space, if the mapping is global or if it is not.
  private func firstStage(_ address: UInt64, of asid: UInt64, assumesGlobal: Bool) -> Set<Seen> {
    var result: Set<Seen> = []
    func walk(_ table: UInt64, _ level: Int, _ isGlobal: Bool) {
      let guestSlot = table + ((address >> UInt64(12 + 9 * level)) & 511) * 8
      for place in secondStage(guestSlot) {
        guard let place else {
          result.insert(Seen(isSecondFault: true))
          continue
        }
        let start = { self.since(isSecond: false, isLeaf: $0, address: address, level: level, asid: asid, isGlobal: assumesGlobal) }
        for value in values(place.page, level: level, start) { use(value, level, isGlobal || value & Bit.g != 0) }
      }
    }
    func use(_ value: UInt64, _ level: Int, _ isGlobal: Bool) {
      let mask: UInt64 = (1 << UInt64(12 + 9 * level)) - 1
      if value & 1 == 0 || value & 0xe == 0 && level == 0 || value & 0xe != 0 && frame(value) & mask != 0 {
        result.insert(Seen())
      } else if value & 0xe != 0 {
        if isGlobal == assumesGlobal { result.insert(Seen(page: frame(value) | address & mask, leaf: value)) }
      } else {
        walk(frame(value), level - 1, isGlobal)
      }
    }
    walk(roots[Int(asid)], 2, false)
    return result
  }

  // MARK: One moment

  /// What the slot held at a time.
  private func value(_ slot: UInt64, at moment: Int) -> UInt64 { history[slot]?.last { $0.time <= moment }?.value ?? 0 }

  /// One walk down with every slot as it was then; nil for anything but a well-formed leaf.
  private func leaf(_ root: UInt64, _ address: UInt64, at moment: Int, _ host: (UInt64) -> UInt64?) -> (value: UInt64, page: UInt64, shift: UInt64, isGlobal: Bool)? {
    var (table, isGlobal) = (root, false)
    for level in (0..<3 as Range<UInt64>).reversed() {
      let shift = 12 + 9 * level
      let index = (address >> shift) & (level == 2 && secondRoots.contains(root) ? 2047 : 511)
      guard let slot = host(table + index * 8) else { return nil }
      let value = value(slot, at: moment)
      guard value & 1 != 0 else { return nil }
      isGlobal = isGlobal || value & Bit.g != 0
      let mask: UInt64 = (1 << shift) - 1
      if value & 0xe != 0 { return frame(value) & mask == 0 ? (value, frame(value) | address & mask, shift, isGlobal) : nil }
      table = frame(value)
    }
    return nil
  }

  private func secondLeaf(_ gpa: UInt64, at moment: Int) -> (value: UInt64, page: UInt64, shift: UInt64)? {
    if !isGuest { return (Bit.user | Bit.w | Bit.x, gpa, 64) }
    return leaf(secondRoots[Int(machine)], gpa, at: moment) { $0 }.map { ($0.value, $0.page, $0.shift) }
  }

  /// Whether a TLB without walk caches may give the page: a walk gave it at one moment, and no later fence reaches it.
  private func wasTrue(_ page: UInt64, _ address: UInt64, _ kind: UInt32, _ isUser: Bool) -> Bool {
    for moment in (0...time).reversed() {
      let later = fences.filter { $0.time > moment }
      if later.contains(where: { $0.address == nil && $0.asid == nil && ($0.machine == nil || !isGuest || $0.machine == machine) && !$0.isSecond }) { return false }
      for other in 0..<3 as Range<UInt64> {
        guard let first = leaf(roots[Int(other)], address, at: moment, { self.secondLeaf($0, at: moment)?.page }),
          other == asid || first.isGlobal, let second = secondLeaf(first.page, at: moment), second.page == page,
          permits(first.value, kind, isUser), isMarked(first.value, kind), permits(second.value, kind, true, withMXR: false)
        else { continue }
        let isReached = later.contains { fence in
          if fence.isSecond {
            return (fence.machine == nil || fence.machine == machine)
              && (fence.address == nil || fence.address! >> second.shift == first.page >> second.shift)
          }
          return (!isGuest || fence.machine == machine) && (fence.asid == nil || fence.asid == other && !first.isGlobal)
            && (fence.address == nil || fence.address! >> first.shift == address >> first.shift)
        }
        if !isReached { return true }
      }
    }
    return false
  }

  // MARK: Judging

  /// Performs an access and says what is wrong with the answer, or nil.
  func check() throws -> String? {
    let address = address()
    let isUser = pick(2) == 0
    let kind = [PGK_READ, PGK_WRITE, PGK_FETCH][Int(pick(3))]
    let privilege = isGuest ? (isUser ? "VU" : "VS") : isUser ? "U" : "S"
    let found = try hart.perform(kind, address, privilege, size: 8)
    if let wrong = noteUpdates(isWrite: kind == PGK_WRITE, isPageFault: describe(found) == "page") {
      return "\(kind) at 0x\(String(address, radix: 16)) as \(privilege): \(wrong)"
    }
    var seen = firstStage(address, of: asid, assumesGlobal: false).union(firstStage(address, of: asid, assumesGlobal: true))
    // A global mapping is every space's.
    for other in 0..<3 as Range<UInt64> where other != asid {
      seen.formUnion(firstStage(address, of: other, assumesGlobal: true).filter { $0.page != nil })
    }
    var allowed: Set<String> = []
    for one in seen {
      guard let page = one.page else {
        allowed.insert(one.isSecondFault ? "guest page" : "page")
        continue
      }
      guard permits(one.leaf, kind, isUser) else {
        allowed.insert("page")
        continue
      }
      // The hart has set what the access needs, so this value alone let nothing pass.
      guard isMarked(one.leaf, kind) else { continue }
      for second in secondStage(page) {
        if let second, permits(second.leaf, kind, true, withMXR: false) {
          allowed.insert(hart.memory.exists(second.page, 8) ? "0x" + String(second.page, radix: 16) : "access")
        } else {
          allowed.insert("guest page")
        }
      }
    }
    answers += 1
    let text = describe(found)
    if !allowed.contains(text) { return "\(kind) at 0x\(String(address, radix: 16)) as \(privilege) gives \(text), allowed are \(allowed)" }
    let now = try cold(kind, address, privilege)
    if now == text { return nil }
    stale += 1
    if hasWalkCaches { return nil }
    // Faults are kept nowhere: what a TLB does not let pass is walked now.
    if found.outcome == "finished" && wasTrue(found.address, address, kind, isUser) { return nil }
    return "\(kind) at 0x\(String(address, radix: 16)) as \(privilege) gives \(text), which no walk gave since the last fence; now it is \(now)"
  }

  private func permits(_ leaf: UInt64, _ kind: UInt32, _ isUser: Bool, withMXR: Bool = true) -> Bool {
    if isUser ? leaf & Bit.u == 0 : leaf & Bit.u != 0 && (!sum || kind == PGK_FETCH) { return false }
    switch kind {
    case PGK_FETCH: return leaf & Bit.x != 0
    case PGK_WRITE: return leaf & Bit.w != 0
    default: return leaf & Bit.r != 0 || withMXR && mxr && leaf & Bit.x != 0
    }
  }

  /// A, and D for a store.
  private func isMarked(_ leaf: UInt64, _ kind: UInt32) -> Bool {
    let flags = kind == PGK_WRITE ? Bit.a | Bit.d : Bit.a
    return leaf & flags == flags
  }

  private func describe(_ answer: Answer) -> String {
    if answer.outcome == "finished" { return "0x" + String(answer.address, radix: 16) }
    return answer.outcome.hasSuffix("GuestPageFault") ? "guest page" : answer.outcome.hasSuffix("PageFault") ? "page" : "access"
  }

  /// The answer of a hart without caches, by the straight-line judge.
  private func cold(_ kind: UInt32, _ address: UInt64, _ privilege: String) throws -> String {
    var judged = JudgedHart()
    for name in ["satp", "vsatp", "hgatp", "mstatus", "vsstatus", "menvcfg", "henvcfg"] { judged.registers[name] = try hart.register(name) }
    let judge = Judge(judged, hasMemory: hart.memory.exists, fetchWord: hart.memory.load)
    switch judge.rule(kind == PGK_FETCH ? .fetch : kind == PGK_WRITE ? .store : .load, as: privilege, at: address, byteCount: 8) {
    case .reaches(let pa): return "0x" + String(pa, radix: 16)
    case .raises(let cause, _, _, _): return cause >= 20 ? "guest page" : cause >= 12 ? "page" : "access"
    }
  }

  /// One random step; the words of a wrong answer, or nil.
  func step() throws -> String? {
    switch pick(20) {
    case 0, 1: edit()
    case 2: try fence()
    case 3:
      asid = pick(3)
      if isGuest && pick(3) == 0 { machine = pick(2) }
      try enter()
    case 4:
      if pick(2) == 0 { sum.toggle() } else { mxr.toggle() }
      try enter()
    default: return try check()
    }
    return nil
  }
}

private let tlbOnly = [("pwc.level1.ways", "0"), ("pwc.level2.ways", "0"), ("pwc.level3.ways", "0")]
private let everything = [("tlb.nested.ways", "4"), ("pwc2.level1.ways", "2"), ("pwc2.level2.ways", "2"), ("tlb.l1i.ways", "4"), ("tlb.l1.sets", "3"), ("tlb.l2.sets", "2")]
private let otherReplacement = [("tlb.replacement", "plru"), ("tlb.l1.sets", "1"), ("tlb.l2.sets", "1"), ("tlb.nested.ways", "2"), ("pwc.level1.ways", "2")]
private let noTLB = [("tlb.l1.ways", "0"), ("tlb.l2.ways", "0"), ("entrycache.ways", "6")]

@Suite struct `A RISC-V cache` {
  @Test(arguments: [false, true], [[], tlbOnly, everything, otherReplacement, noTLB])
  func `keeps what was, as long as no fence reaches it, and no longer`(_ isGuest: Bool, _ options: [(String, String)]) throws {
    var (stale, answers) = (0, 0)
    for round in 0..<(8 * randomScale) {
      let seed = randomSeed &+ round
      let world = try World(seed: seed, isGuest: isGuest, options)
      for _ in 0..<400 {
        if let wrong = try world.step() {
          Issue.record("seed \(seed): \(wrong)")
          return
        }
      }
      stale += world.stale
      answers += world.answers
    }
    // The test would be empty if nothing were ever kept.
    #expect(stale * 200 > answers, "\(stale) of \(answers) answers were stale")
  }
}
