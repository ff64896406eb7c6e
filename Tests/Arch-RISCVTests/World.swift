// A hart whose tables are shared, changed and fenced at random, and what every slot of them has held.
import CPagingKit
import PagingKit

@testable import Arch_RISCV

/// A fence that was executed.
struct Fence {
  var time: Int
  var isSecond: Bool
  /// Nil reaches every address, every identifier.
  var address: UInt64?
  var asid: UInt64?
  /// For the first stage the machine that hgatp named; for the second the operand.
  var machine: UInt64?
}

/// A hart with small tables that are shared and changed, and the history of every slot.
final class World {
  let hart: Hart
  let isGuest: Bool
  let hasWalkCaches: Bool
  var random: SplitMix64
  var time = 0
  var history: [UInt64: [(time: Int, value: UInt64)]] = [:]
  var fences: [Fence] = []
  /// ADUE: A and D are set by the hart, so entries may come without.
  let updates: Bool
  var stale = 0
  var answers = 0
  var sum = false
  var mxr = false
  var asid: UInt64 = 0
  var machine: UInt64 = 0
  let roots: [UInt64]
  let secondRoots: [UInt64]
  /// Tables by level, in the space that first-stage pointers name.
  let tables: [[UInt64]]
  let secondTables: [[UInt64]]

  static let guestBase: UInt64 = 0x4000_0000

  init(seed: UInt64, isGuest: Bool, _ options: [(String, String)]) throws {
    hart = try Hart(options)
    self.isGuest = isGuest
    hasWalkCaches = !options.contains { $0 == ("pwc.level1.ways", "0") } || options.contains { $0.0 == "entrycache.ways" }
    updates = seed & 1 == 1
    random = SplitMix64(seed: seed)
    let hart = hart
    func place(_ count: Int) -> [UInt64] { (0..<count).map { _ in hart.frames() } }
    let (roots, middle, last) = (place(3), place(3), place(4))
    // A guest's tables are seen a gibibyte lower at first.
    func seen(_ list: [UInt64]) -> [UInt64] { isGuest ? list.map { $0 - TestMemory.low + Self.guestBase } : list }
    self.roots = seen(roots)
    tables = [seen(last), seen(middle)]
    secondRoots = isGuest ? [hart.frames(4), hart.frames(4)] : []
    secondTables = isGuest ? [place(3), place(2)] : [[], []]
    if isGuest { setUpSecondStage() }
    if updates { try hart.set([("menvcfg", 1 << 61), ("henvcfg", 1 << 61)]) }
    for _ in 0..<60 { edit() }
    try enter()
  }

  /// Each machine maps the guest's memory in pages of 2 MiB first; edits follow.
  func setUpSecondStage() {
    for (number, root) in secondRoots.enumerated() {
      let table = secondTables[1][number]
      store(root + (Self.guestBase >> 30) * 8, table >> 2 | Bit.v)
      for index in 0..<16 as Range<UInt64> { store(table + index * 8, Hart.leaf(TestMemory.low + index << 21, Bit.user)) }
    }
  }

  /// What the hart itself wrote since the last look becomes history. Returns what is wrong with it, or nil.
  func noteUpdates(isWrite: Bool, isPageFault: Bool) -> String? {
    for (slot, list) in history {
      let (old, new) = (list[list.count - 1].value, hart.memory.load(slot, 8)!)
      if new == old { continue }
      time += 1
      history[slot]!.append((time, new))
      let flags = new & ~old
      let isLeaf = old & 1 != 0 && old & 0xe != 0
      if !updates || isPageFault || !isLeaf || new & ~flags != old || flags & ~(isWrite ? Bit.a | Bit.d : Bit.a) != 0 {
        return "the entry at 0x\(String(slot, radix: 16)) became 0x\(String(new, radix: 16)) from 0x\(String(old, radix: 16))"
      }
    }
    return nil
  }

  func store(_ slot: UInt64, _ value: UInt64) {
    time += 1
    hart.memory.store(slot, 8, value)
    history[slot, default: [(0, 0)]].append((time, value))
  }

  func enter() throws {
    let satp = 8 << 60 | asid << 44 | roots[Int(asid)] >> 12
    let status = (sum ? 1 << 18 : 0) | (mxr ? 1 << 19 : 0) as UInt64
    if isGuest {
      try hart.set([("vsatp", satp), ("hgatp", 8 << 60 | machine << 44 | secondRoots[Int(machine)] >> 12), ("vsstatus", status), ("mstatus", 0)])
    } else {
      try hart.set([("satp", satp), ("mstatus", status)])
    }
  }

  func pick(_ bound: UInt64) -> UInt64 { random.next(below: bound) }
  func pick(_ list: [UInt64]) -> UInt64 { list[Int(random.next(below: UInt64(list.count)))] }

  func address() -> UInt64 { pick(2) << 30 | pick(2) << 21 | pick(3) << 12 | pick(512) << 3 }

  // MARK: Edits

  /// Writes one random slot, of the first stage or, less often, of the second.
  func edit() {
    if isGuest && pick(4) == 0 { return editSecond() }
    let level = pick(3)
    let table = level == 2 ? pick(roots) : pick(tables[Int(level)])
    let slot = table + pick(level == 0 ? 3 : 2) * 8
    // It lies where the memory was set up, whatever the second stage says by now.
    let host = isGuest ? slot - Self.guestBase + TestMemory.low : slot
    if pick(8) == 0 { return store(host, 0) }
    if level > 0 && pick(4) != 0 { return store(host, pick(tables[Int(level) - 1]) >> 2 | Bit.v | (pick(10) == 0 ? Bit.g : 0)) }
    var bits = Bit.v | Bit.a | Bit.d | [Bit.r, Bit.r | Bit.w, Bit.x, Bit.r | Bit.w | Bit.x][Int(pick(4))]
    if pick(2) == 0 { bits |= Bit.u }
    if pick(6) == 0 { bits |= Bit.g }
    if updates && pick(3) == 0 { bits &= ~(pick(2) == 0 ? Bit.d : Bit.a | Bit.d) }
    let base = isGuest ? Self.guestBase : TestMemory.low
    let page = level == 0 ? base + 0x40_0000 + pick(8) << 12 : level == 1 ? base + (pick(2) == 0 ? 2 : pick(8)) << 21 : base & ~0x3fff_ffff
    store(host, Hart.leaf(page, bits))
  }

  func editSecond() {
    let level = pick(2)
    let table = pick(secondTables[Int(level)])
    if level == 0 {
      // 4 KiB pages where a 2 MiB one may be divided: 0x400000 to 0x408000 are data.
      return store(table + pick(8) * 8, pick(8) == 0 ? 0 : Hart.leaf(TestMemory.low + 0x80_0000 + pick(16) << 12, Bit.user & ~(pick(3) == 0 ? Bit.w : 0)))
    }
    let slot = table + 2 * 8
    if pick(3) == 0 { return store(slot, Hart.leaf(TestMemory.low + (2 + pick(3)) << 21, Bit.user)) }
    store(slot, pick(secondTables[0]) >> 2 | Bit.v)
  }

  // MARK: Fences

  func fence() throws {
    time += 1
    let (hasAddress, hasIdentifier) = (pick(2) == 0, pick(2) == 0)
    if isGuest && pick(3) == 0 {
      let gpa = hasAddress ? Self.guestBase + 0x40_0000 + pick(8) << 12 : nil
      let machine = hasIdentifier ? pick(2) : nil
      try hart.perform(.fence(pick(2) == 0 ? .hfenceGVMA : .hinvalGVMA, address: gpa.map { $0 >> 2 }, identifier: machine))
      fences.append(Fence(time: time, isSecond: true, address: gpa, asid: nil, machine: machine))
      return
    }
    let address = hasAddress ? self.address() : nil
    let asid = hasIdentifier ? pick(3) : nil
    let isHypervisors = isGuest && pick(2) == 0
    let operations: [Arch_RISCV.Operation] = isHypervisors ? [.hfenceVVMA, .hinvalVVMA] : [.sfenceVMA, .sinvalVMA]
    try hart.perform(.fence(operations[Int(pick(2))], address: address, identifier: asid), as: isGuest && !isHypervisors ? "VS" : pick(2) == 0 ? "S" : "M")
    fences.append(Fence(time: time, isSecond: false, address: address, asid: asid, machine: machine))
  }
}
