// Random machines: registers, tables of one or two stages that mostly lead somewhere, and damage done to them.
import PagingKit

/// How a random case is translated.
struct Shape {
  var xlen: Int
  /// Levels of the first stage, 0 for bare.
  var first: Int
  /// Levels of the second stage, 0 for bare; nil where satp alone translates.
  var second: Int?
}

/// One random state of a hart. Everything follows from the generator.
struct RandomCase {
  var random: SplitMix64
  let shape: Shape
  let memory: TestMemory
  var registers: [String: UInt64] = [:]
  /// Slots of entries that were written, with what they hold.
  var slots: [UInt64: UInt64] = [:]
  /// Addresses that were mapped.
  var targets: [UInt64] = []
  private var secondRoot: UInt64 = 0
  private var firstRoot: UInt64 = 0

  /// Whether there are Svnapot leaves. Their neighbours are left empty, so what a cache makes of them is open.
  private let hasContiguous: Bool

  init(seed: UInt64, shape: Shape, memory: TestMemory, hasEverything: Bool, hasContiguous: Bool) {
    random = SplitMix64(seed: seed)
    self.shape = shape
    self.hasContiguous = hasContiguous
    self.memory = memory
    makeTables()
    makeRegisters(hasEverything: hasEverything)
    if chance(55) { for _ in 0...random.next(below: 3) { damage() } }
  }

  func clear() { for slot in slots.keys { memory.store(slot, size, 0) } }

  private var size: Int { shape.xlen / 8 }
  private var indexBits: Int { shape.xlen == 32 ? 10 : 9 }

  mutating func chance(_ percent: UInt64) -> Bool { random.next(below: 100) < percent }
  mutating func pick<Element>(_ list: [Element]) -> Element { list[Int(random.next(below: UInt64(list.count)))] }

  // MARK: Registers

  private mutating func makeRegisters(hasEverything: Bool) {
    let is32 = shape.xlen == 32
    func mode(_ levels: Int) -> UInt64 { levels == 0 ? 0 : is32 ? 1 << 31 : UInt64(levels + 5) << 60 }
    func translation(_ levels: Int, _ root: UInt64, _ identifier: UInt64) -> UInt64 {
      levels == 0 ? 0 : mode(levels) | identifier << (is32 ? 22 : 44) | root >> 12
    }
    let identifier = random.next(below: is32 ? 512 : 65536)
    if let second = shape.second {
      registers["vsatp"] = translation(shape.first, firstRoot, identifier)
      registers["hgatp"] = translation(second, secondRoot, random.next(below: is32 ? 128 : 16384))
    } else {
      registers["satp"] = translation(shape.first, firstRoot, identifier)
    }
    // SUM, MXR, MPRV, MPP, MPV.
    var status: UInt64 = is32 ? 0 : 0xa_0000_0000
    if chance(40) { status |= 1 << 18 }
    if chance(30) { status |= 1 << 19 }
    if chance(50) { status |= 1 << 17 }
    status |= pick([0, 0, 1, 1, 3]) << 11
    if shape.second != nil && chance(80) { status |= 1 << 39 }
    registers["mstatus"] = status
    registers["vsstatus"] = (chance(40) ? 1 << 18 : 0) | (chance(30) ? 1 << 19 : 0) | (is32 ? 0 : 2 << 32)
    registers["hstatus"] = (chance(50) ? 1 << 8 : 0) | 1 << 9 | (is32 ? 0 : 2 << 32)
    registers["menvcfg"] = environment(pbmt: !is32, everything: hasEverything)
    registers["henvcfg"] = environment(pbmt: !is32, everything: hasEverything)
    if hasEverything {
      registers["senvcfg"] = (chance(60) ? 8 : 0) | masking()
      registers["hstatus"]! |= is32 ? 0 : masking() << 16
    }
  }

  private mutating func environment(pbmt: Bool, everything: Bool) -> UInt64 {
    var value: UInt64 = chance(65) ? 1 << 61 : 0
    if pbmt && chance(65) { value |= 1 << 62 }
    if everything { value |= (chance(70) ? 8 : 0) | masking() }
    return value
  }

  private mutating func masking() -> UInt64 { shape.xlen == 32 ? 0 : pick([0, 2, 3]) << 32 }

  // MARK: Tables

  private mutating func store(_ slot: UInt64, _ value: UInt64) {
    slots[slot] = size == 4 ? value & 0xffff_ffff : value
    memory.store(slot, size, value)
  }

  /// A free place for a table: host memory, aligned to its size.
  private mutating func hostFrame(pages: UInt64 = 1) -> UInt64 {
    while true {
      let isHigh = chance(20)
      let count = (isHigh ? memory.highSize : memory.lowSize) / 4096 / pages
      let frame = (isHigh ? TestMemory.high : TestMemory.low) + random.next(below: count) * pages * 4096
      if !used.contains(frame) {
        used.insert(frame)
        return frame
      }
    }
  }
  private var used: Set<UInt64> = []

  private mutating func makeTables() {
    if let second = shape.second, second > 0 { secondRoot = hostFrame(pages: 4) }
    let hasSecond = shape.second.map { $0 > 0 } ?? false
    if shape.first > 0 { firstRoot = hasSecond ? guestFrame() : hostFrame() }
    for _ in 0...random.next(below: 2) { map() }
  }

  /// A guest physical page that the second stage maps, for a table of the first.
  private mutating func guestFrame() -> UInt64 {
    let page = guestAddress() & ~0xfff
    _ = mapSecond(page)
    return page
  }

  private mutating func guestAddress() -> UInt64 {
    let levels = shape.second ?? 0
    // The first stage can name 34 or 56 bits.
    let bits = UInt64(shape.xlen == 32 ? 34 : min(56, 14 + 9 * levels))
    if chance(50) { return TestMemory.low + random.next(below: memory.lowSize) }
    return random.next() & ((1 << bits) - 1)
  }

  private mutating func map() {
    let inputBits = UInt64(12 + shape.first * indexBits)
    if shape.first == 0 {
      let address = shape.second == nil || shape.second == 0 ? hostAddress() : guestAddress()
      if let second = shape.second, second > 0 { _ = mapSecond(address & ~0xfff) }
      targets.append(address & ~0xfff)
      return
    }
    var address = random.next() & ((1 << inputBits) - 1) & ~0xfff
    if shape.xlen == 64 && address >> (inputBits - 1) != 0 { address |= ~((1 << inputBits) - 1) }
    targets.append(address)
    var table = firstRoot
    let leafLevel = chance(60) ? 0 : Int(random.next(below: UInt64(shape.first)))
    for level in stride(from: shape.first - 1, through: 0, by: -1) {
      let guestSlot = table + index(address, level, width: indexBits) * UInt64(size)
      guard let slot = host(guestSlot) else { return }
      if level == leafLevel {
        store(slot, leaf(level, to: finalPage(level)))
        return
      }
      let found = memory.load(slot, size)!
      if found & 0xf == 1 {
        table = (found & 0x3f_ffff_ffff_fc00) << 2
      } else {
        table = shape.second.map { $0 > 0 } ?? false ? guestFrame() : hostFrame()
        store(slot, table >> 2 | pointerBits())
      }
    }
  }

  private func index(_ address: UInt64, _ level: Int, width: Int) -> UInt64 {
    (address >> UInt64(12 + level * indexBits)) & ((1 << UInt64(width)) - 1)
  }

  private mutating func hostAddress() -> UInt64 {
    if chance(15) { return random.next() & (shape.xlen == 32 ? 0xffff_ffff : 0xff_ffff_ffff) }
    return chance(80) || shape.xlen == 32 ? TestMemory.low + random.next(below: memory.lowSize) : TestMemory.high + random.next(below: memory.highSize)
  }

  /// Where a first-stage leaf leads; the second stage may follow.
  private mutating func finalPage(_ level: Int) -> UInt64 {
    let alignment: UInt64 = 1 << UInt64(12 + level * indexBits)
    guard let second = shape.second, second > 0 else { return hostAddress() & ~(alignment - 1) }
    let page = guestAddress() & ~(alignment - 1)
    if chance(92) {
      // Some page of it, so that mixed page sizes occur; the low bits of a target are cleared, so the first.
      _ = mapSecond(page | targets[targets.count - 1] & (alignment - 1) & ~0xfff)
    }
    return page
  }

  private mutating func pointerBits() -> UInt64 { Bit.v | (chance(15) ? Bit.g : 0) | random.next(below: 4) << 8 }

  private mutating func leaf(_ level: Int, to page: UInt64, isSecond: Bool = false) -> UInt64 {
    var bits = Bit.v | random.next(below: 4) << 8
    bits |= pick([Bit.r, Bit.r | Bit.w, Bit.r | Bit.w, Bit.r | Bit.w | Bit.x, Bit.r | Bit.w | Bit.x, Bit.x, Bit.r | Bit.x, Bit.w])
    if isSecond ? chance(94) : chance(50) { bits |= Bit.u }
    if chance(20) { bits |= Bit.g }
    if chance(60) { bits |= Bit.a }
    if chance(50) { bits |= Bit.d }
    if shape.xlen == 64 && chance(20) { bits |= Bit.pbmt(random.next(below: 3)) }
    if shape.xlen == 64 && level == 0 && hasContiguous && chance(12) { return (page & ~0xffff | 0x8000) >> 2 | bits | Bit.n }
    return page >> 2 | bits
  }

  /// Maps a guest physical page somewhere, unless it is; returns the host page if it leads to memory.
  @discardableResult
  private mutating func mapSecond(_ address: UInt64) -> UInt64? {
    if let known = host(address) { return known }
    guard let levels = shape.second, levels > 0 else { return nil }
    var table = secondRoot
    var leafLevel = chance(60) ? 0 : Int(random.next(below: UInt64(min(2, levels))))
    if chance(4) { leafLevel = Int(random.next(below: UInt64(levels))) }
    for level in stride(from: levels - 1, through: 0, by: -1) {
      let slot = table + index(address, level, width: indexBits + (level == levels - 1 ? 2 : 0)) * UInt64(size)
      // Frames may meet by chance, so that an entry leads out of memory: nothing is mapped there.
      guard let found = memory.load(slot, size) else { return nil }
      if found == 0 && level == leafLevel {
        let alignment: UInt64 = 1 << UInt64(12 + level * indexBits)
        let page = level == 0 ? hostFrame() : hostAddress() & ~(alignment - 1)
        store(slot, leaf(level, to: page, isSecond: true))
        return host(address)
      }
      if found & 0xf == 1 {
        table = (found & 0x3f_ffff_ffff_fc00) << 2
      } else if found == 0 {
        table = hostFrame()
        store(slot, table >> 2 | Bit.v | random.next(below: 4) << 8)
      } else {
        return nil
      }
    }
    return nil
  }

  /// Host address of a guest physical one by the tables as they were built, without any judging; nil if there is no memory.
  private func host(_ address: UInt64) -> UInt64? {
    guard let levels = shape.second, levels > 0 else { return memory.exists(address, 8) ? address : nil }
    var table = secondRoot
    for level in stride(from: levels - 1, through: 0, by: -1) {
      let slot = table + index(address, level, width: indexBits + (level == levels - 1 ? 2 : 0)) * UInt64(size)
      guard let found = memory.load(slot, size), found & 1 != 0 else { return nil }
      if found & 0xe != 0 {
        let isContiguous = size == 8 && found >> 63 == 1
        let offset: UInt64 = isContiguous ? 0xffff : (1 << UInt64(12 + level * indexBits)) - 1
        let page = ((found & 0x3f_ffff_ffff_fc00) << 2) & ~offset | address & offset
        return memory.exists(page, 8) ? page : nil
      }
      table = (found & 0x3f_ffff_ffff_fc00) << 2
    }
    return nil
  }

  // MARK: Damage

  private mutating func damage() {
    guard !slots.isEmpty else { return }
    let slot = pick(slots.keys.sorted())
    var entry = slots[slot]!
    switch random.next(below: 14) {
    case 0: entry &= ~Bit.v
    case 1, 2: entry ^= 1 << random.next(below: 8)
    case 3: entry &= ~(Bit.r | Bit.w | Bit.x)
    case 4: entry ^= Bit.a | Bit.d
    case 5: entry ^= 1 << random.next(below: UInt64(shape.xlen))
    case 6: if size == 8 { entry ^= 1 << (54 + random.next(below: 7)) }
    case 7: if size == 8 { entry |= Bit.pbmt(1 + random.next(below: 3)) }
    case 8: if size == 8 { entry |= Bit.n }
    case 9: entry ^= 1 << (10 + random.next(below: size == 8 ? 44 : 22))
    case 10: entry |= Bit.pick(random.next(below: 4))
    case 11: entry ^= Bit.u
    case 12: entry = entry & ~0xe | [Bit.x, Bit.w, Bit.r | Bit.w, Bit.w | Bit.x][Int(random.next(below: 4))]
    default: entry = size == 8 ? entry & 0x3ff | (random.next() & 0x3f_ffff_ffff_fc00) : entry & 0x3ff | (random.next() & 0xffff_fc00)
    }
    store(slot, hasContiguous ? entry : entry & ~Bit.n)
  }
}

extension Bit {
  static func pick(_ number: UInt64) -> UInt64 { [a, d, u, g][Int(number)] }
}
