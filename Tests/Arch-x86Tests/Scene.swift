// Random states of a processor: registers, tables of one or two stages that mostly lead somewhere, and damage to them.
import PagingKit

/// What translates: the guest's, or only, tables, and those below.
struct Shape: CustomStringConvertible, Sendable {
  /// Nil: no paging.
  var first: TableKind?
  var second: TableKind?
  var below: JudgedProcessor.Below { second == nil ? .nothing : second!.isEPT ? .ept : .nestedPaging }

  var description: String {
    let guest = first.map { "\($0)" } ?? "nopaging"
    return second.map { "\(guest) under \($0)" } ?? guest
  }
}

/// One random state. Everything follows from the generator and the model in `processor`.
struct Scene {
  var random: SplitMix64
  let shape: Shape
  let windows: Windows
  var processor: JudgedProcessor
  /// Words of tables, by address.
  var words: [UInt64: UInt64] = [:]
  /// Entries, as address and size, in the order in which they were made.
  private var entries: [(address: UInt64, size: UInt64, kind: TableKind, level: Int)] = []
  /// Linear addresses that were mapped.
  private(set) var targets: [UInt64] = []
  private var usedFrames: Set<UInt64> = []
  /// No flag needs to be set, so that nothing but reading is to be done.
  private let isSettled: Bool
  private var secondRoot: UInt64 = 0

  init(seed: UInt64, shape: Shape, model: JudgedProcessor, windows: Windows) {
    random = SplitMix64(seed: seed)
    self.shape = shape
    self.windows = windows
    processor = model
    processor.below = shape.below
    isSettled = random.next(below: 100) < 45
    makeRegisters()
    makeTables()
    if chance(60) { for _ in 0...random.next(below: 3) { damage() } }
  }

  func clear() { for address in words.keys { windows.store(address, 0) } }

  mutating func chance(_ percent: UInt64) -> Bool { random.next(below: 100) < percent }
  mutating func pick<Element>(_ list: [Element]) -> Element { list[Int(random.next(below: UInt64(list.count)))] }
  mutating func bits(_ width: UInt64) -> UInt64 { random.next() & (width == 64 ? .max : 1 << width - 1) }

  // MARK: Registers

  private mutating func makeRegisters() {
    processor.cr0 = 0x11 | (shape.first == nil ? 0 : 1 << 31) | (chance(60) ? 1 << 16 : 0)
    var cr4: UInt64 = 0
    if shape.first == .pae || shape.first?.isLong == true { cr4 |= 1 << 5 }
    if shape.first == .fiveLevel { cr4 |= 1 << 12 }
    if chance(60) { cr4 |= 1 << 4 }
    if chance(60) { cr4 |= 1 << 7 }
    if chance(40) { cr4 |= 1 << 20 }
    if chance(40) { cr4 |= 1 << 21 }
    if chance(50) { cr4 |= 1 << 22 }
    if chance(40) { cr4 |= 1 << 24 }
    if shape.first?.isLong == true && chance(30) { cr4 |= 1 << 17 }
    if shape.first?.isLong == true && chance(30) { cr4 |= 1 << 28 }
    if processor.cr0 >> 16 & 1 == 1 && chance(40) { cr4 |= 1 << 23 }
    processor.cr4 = cr4
    processor.efer = (shape.first?.isLong == true ? 0x500 : 0) | (chance(65) ? 1 << 11 : 0)
    processor.rflags = 2 | (chance(50) ? 1 << 18 : 0)
    processor.pkru = bits(32) & bits(32)
    processor.pkrs = bits(32) & bits(32)
    if let second = shape.second, !second.isEPT {
      processor.hostEFER = 0x1000 | (second.isLong ? 0x500 : 0) | (chance(70) ? 1 << 11 : 0)
      processor.hostCR4 = (second == .twoLevel ? 0 : 1 << 5) | (second == .fiveLevel ? 1 << 12 : 0)
      if chance(70) { processor.hostCR4 |= 1 << 4 }
      if chance(20) { processor.hostCR4 |= 1 << 20 }
    }
    if shape.second?.isEPT == true { processor.hasModeBasedExecute = chance(40) }
  }

  /// CR3 with the root and whatever else a program may write there.
  private mutating func cr3(_ root: UInt64) -> UInt64 {
    guard let first = shape.first else { return 0 }
    if first == .pae { return root | bits(5) }
    var value = root | bits(12)
    if first.isLong && chance(40) { value |= bits(2) << 61 }
    return value
  }

  // MARK: Frames and addresses

  /// Windows that MAXPHYADDR reaches, by address bits that the holder has.
  private func reachable(_ bits: UInt64) -> [UInt64] {
    Windows.bases.filter { $0 >> min(bits, processor.maxPhysical) == 0 }
  }

  private mutating func frame(bits: UInt64) -> UInt64 {
    while true {
      let page = pick(reachable(bits)) + random.next(below: Windows.size >> 12) << 12
      if usedFrames.insert(page).inserted { return page }
    }
  }

  /// Width of what an entry can name.
  private func outputBits(_ kind: TableKind, isLargeLeaf: Bool = false) -> UInt64 {
    kind == .twoLevel ? (isLargeLeaf ? 40 : 32) : processor.maxPhysical
  }

  /// A place that may or may not have memory, aligned.
  private mutating func place(_ shift: Int, bits width: UInt64) -> UInt64 {
    let address = chance(85)
      ? pick(reachable(width)) + random.next(below: Windows.size) : bits(min(width, processor.maxPhysical))
    return address & ~(1 << UInt64(shift) - 1)
  }

  /// A guest-physical address whose low bits lie in a window's reach.
  private mutating func guestAddress(bits width: UInt64) -> UInt64 {
    var width = min(width, processor.maxPhysical)
    if !chance(2) { width = min(width, UInt64(shape.second!.inputBits)) }
    let high = chance(40) ? 0 : bits(width)
    return (high & ~(Windows.size - 1) | random.next(below: Windows.size)) & ~0xfff & (1 << width - 1)
  }

  // MARK: Tables

  private mutating func store(_ address: UInt64, _ value: UInt64, _ kind: TableKind, _ level: Int) {
    windows.store(address, value, kind.size)
    words[address & ~7] = windows.load(address & ~7)
    entries.append((address, kind.size, kind, level))
  }

  private mutating func makeTables() {
    if let second = shape.second {
      secondRoot = frame(bits: second == .twoLevel || second == .pae ? 32 : 52)
      if second.isEPT {
        processor.eptp = secondRoot | pick([0, 6]) | UInt64(second.levels - 1) << 3 | (chance(60) ? 1 << 6 : 0)
      } else {
        processor.hostCR3 = secondRoot
      }
    }
    guard let first = shape.first else {
      for _ in 0...random.next(below: 3) {
        let page = shape.second == nil ? bits(32) & ~0xfff : guestAddress(bits: 32)
        if shape.second != nil { _ = mapSecond(page) }
        targets.append(page)
      }
      return
    }
    let rootBits: UInt64 = first.isLong ? 52 : 32
    let root = table(bits: rootBits)
    processor.cr3 = cr3(root)
    for _ in 0...random.next(below: 3) { map(first, root) }
  }

  /// A page for a table of the first stage, by the address that names it.
  private mutating func table(bits width: UInt64) -> UInt64 {
    guard shape.second != nil else { return frame(bits: width) }
    let page = guestAddress(bits: width)
    _ = mapSecond(page)
    return page
  }

  private var hasPSE: Bool { processor.cr4 >> 4 & 1 == 1 }
  private var hostHasPSE: Bool { processor.hostCR4 >> 4 & 1 == 1 }
  private var pointersAreRegisters: Bool { shape.second?.isEPT == true }

  private mutating func map(_ kind: TableKind, _ root: UInt64) {
    var linear = bits(UInt64(kind.inputBits)) & ~0xfff
    if !targets.isEmpty && chance(40) {
      // Near another, so that tables are shared.
      linear = pick(targets) ^ random.next(below: 4) << pick([12, 12, 21, 30])
    }
    linear &= 1 << UInt64(kind.inputBits) - 1
    if kind.isLong && linear >> UInt64(kind.inputBits - 1) == 1 { linear |= ~(1 << UInt64(kind.inputBits) - 1) }
    targets.append(linear)
    let leafLevel = chance(60) ? 0 : pick(kind.leafLevels(hasPSE: hasPSE))
    var table = root
    for level in stride(from: kind.levels - 1, through: 0, by: -1) {
      let index = kind.index(linear, level)
      if kind == .pae && level == 2 && pointersAreRegisters {
        if processor.pointers[Int(index)] & 1 == 0 {
          processor.pointers[Int(index)] = self.table(bits: 52) | 1 | bits(2) << 3
        }
        table = processor.pointers[Int(index)] & 0xf_ffff_ffff_f000
        continue
      }
      guard let slot = host(table + index * kind.size) else { return }
      if level == leafLevel {
        store(slot, leaf(kind, level, to: finalPage(kind, level, linear), isSecond: false), kind, level)
        return
      }
      let found = windows.load(slot, kind.size)
      if found & 1 != 0 {
        if kind.isLeaf(found, level, hasPSE: hasPSE) && !(kind == .pae && level == 2) { return }
        table = kind.address(found, isLargeLeaf: false, level)
      } else {
        table = self.table(bits: outputBits(kind))
        store(slot, pointer(kind, level, to: table, isSecond: false), kind, level)
      }
    }
  }

  /// Where a leaf of the first stage leads. The second stage mostly follows, at the page that will be asked for.
  private mutating func finalPage(_ kind: TableKind, _ level: Int, _ linear: UInt64) -> UInt64 {
    let width = outputBits(kind, isLargeLeaf: level > 0)
    guard shape.second != nil else { return place(kind.shift(level), bits: width) }
    let offset = 1 << UInt64(kind.shift(level)) - 1 as UInt64
    let page = guestAddress(bits: width) & ~offset
    if chance(92) { _ = mapSecond(page | linear & offset & ~0xfff) }
    return page
  }

  /// Maps a guest-physical page, unless it is; returns where it lies, if there is memory.
  @discardableResult
  private mutating func mapSecond(_ address: UInt64) -> UInt64? {
    guard let kind = shape.second, address >> UInt64(kind.inputBits) == 0 else { return nil }
    let leafLevel = chance(60) ? 0 : pick(kind.leafLevels(hasPSE: hostHasPSE))
    var table = secondRoot
    for level in stride(from: kind.levels - 1, through: 0, by: -1) {
      let slot = table + kind.index(address, level) * kind.size
      guard windows.exists(slot, kind.size) else { return nil }
      let found = windows.load(slot, kind.size)
      if found & kind.present != 0 {
        if kind.isLeaf(found, level, hasPSE: hostHasPSE) && !(kind == .pae && level == 2) { return host(address) }
        table = kind.address(found, isLargeLeaf: false, level)
      } else if level == leafLevel {
        let width = outputBits(kind, isLargeLeaf: level > 0)
        let page = level == 0 ? frame(bits: width) : pick(reachable(width)) & ~(1 << UInt64(kind.shift(level)) - 1)
        store(slot, leaf(kind, level, to: page, isSecond: true), kind, level)
        return host(address)
      } else {
        table = frame(bits: outputBits(kind))
        store(slot, pointer(kind, level, to: table, isSecond: true), kind, level)
      }
    }
    return nil
  }

  /// Where a guest-physical address lies by the tables as they were built, without any judging; nil without memory.
  private func host(_ address: UInt64) -> UInt64? {
    guard let kind = shape.second else { return windows.exists(address) ? address : nil }
    guard address >> UInt64(kind.inputBits) == 0 else { return nil }
    var table = secondRoot
    for level in stride(from: kind.levels - 1, through: 0, by: -1) {
      let slot = table + kind.index(address, level) * kind.size
      guard windows.exists(slot, kind.size) else { return nil }
      let found = windows.load(slot, kind.size)
      guard found & kind.present != 0 else { return nil }
      if kind.isLeaf(found, level, hasPSE: hostHasPSE) && !(kind == .pae && level == 2) {
        let offset = 1 << UInt64(kind.shift(level)) - 1 as UInt64
        let physical = kind.address(found, isLargeLeaf: level > 0, level) & ~offset | address & offset
        return windows.exists(physical) ? physical : nil
      }
      table = kind.address(found, isLargeLeaf: false, level)
    }
    return nil
  }
}

// MARK: Entries

extension Scene {
  private mutating func common(_ kind: TableKind, isSecond: Bool) -> UInt64 {
    var entry: UInt64 = 1
    if isSecond ? chance(95) : chance(80) { entry |= 2 }
    if isSecond ? chance(96) : chance(70) { entry |= 4 }
    if isSettled || chance(50) { entry |= 1 << 5 }
    entry |= bits(2) << 3 | bits(3) << 9
    let nxe = (isSecond ? processor.hostEFER : processor.efer) >> 11 & 1 == 1
    if kind != .twoLevel && nxe && chance(isSecond ? 6 : 15) { entry |= 1 << 63 }
    if kind.isLong { entry |= bits(11) << 52 }
    return entry
  }

  private mutating func eptRights() -> UInt64 {
    var entry: UInt64 = chance(85) ? 7 : pick([1, 3, 4, 5, 7, 7])
    if chance(75) { entry |= 1 << 10 }
    return entry | (isSettled ? 3 : bits(2)) << 8 | bits(1) << 11 | bits(12) << 52
  }

  mutating func pointer(_ kind: TableKind, _ level: Int, to table: UInt64, isSecond: Bool) -> UInt64 {
    if kind.isEPT { return table | eptRights() }
    if kind == .pae && level == 2 { return table | 1 | bits(2) << 3 | bits(3) << 9 }
    var entry = table | common(kind, isSecond: isSecond) | bits(1) << 6
    // G means nothing here, but AMD reserves it high up.
    if !processor.isAMD || level == 1 || kind == .twoLevel { entry |= bits(1) << 8 }
    // Without CR4.PSE it is ignored.
    let hasPSE = (isSecond ? processor.hostCR4 : processor.cr4) >> 4 & 1 == 1
    if kind == .twoLevel && !hasPSE && chance(30) { entry |= 1 << 7 }
    return entry
  }

  mutating func leaf(_ kind: TableKind, _ level: Int, to page: UInt64, isSecond: Bool) -> UInt64 {
    if kind.isEPT { return page | eptRights() | pick([0, 1, 4, 5, 6, 6, 6]) << 3 | (level > 0 ? 1 << 7 : bits(1) << 7) }
    var entry = kind.field(page, isLargeLeaf: level > 0) | common(kind, isSecond: isSecond)
    if isSettled || chance(50) { entry |= 1 << 6 }
    if chance(25) { entry |= 1 << 8 }
    // PS, or PAT of a small page.
    if level > 0 { entry |= 1 << 7 | bits(1) << 12 } else { entry |= bits(1) << 7 }
    return entry
  }

  // MARK: Damage

  private mutating func damage() {
    if !entries.isEmpty, chance(90) {
      let (address, size, kind, level) = pick(entries)
      var entry = windows.load(address, size)
      damage(&entry, kind, level)
      windows.store(address, entry, size)
      words[address & ~7] = windows.load(address & ~7)
    } else if shape.first == .pae && pointersAreRegisters {
      processor.pointers[Int(random.next(below: 4))] &= ~1
    }
  }

  private mutating func damage(_ entry: inout UInt64, _ kind: TableKind, _ level: Int) {
    let width = kind.size * 8
    switch random.next(below: 16) {
    case 0: entry &= kind.isEPT ? ~7 : ~1
    case 1: entry &= ~0x407
    case 2, 3: entry ^= 1 << random.next(below: 12)
    case 4: entry ^= 1 << random.next(below: width)
    case 5: entry ^= 1 << 7
    case 6: entry ^= 1 << 8
    case 7: if width == 64 { entry ^= 1 << 63 }
    case 8: if width == 64 { entry |= 1 << min(63, processor.maxPhysical + random.next(below: 3)) }
    case 9: entry ^= 1 << (12 + random.next(below: 10))
    case 10: entry ^= 1 << (12 + random.next(below: 18))
    case 11: entry = entry & ~7 | random.next(below: 8)
    case 12: entry ^= 0x38 & bits(6)
    case 13: entry ^= 0x60 & bits(7)
    case 14: if width == 64 { entry ^= 1 << (52 + random.next(below: 12)) }
    default:
      // Somewhere else, perhaps to a table that is in use.
      let other = chance(50) && !entries.isEmpty ? pick(entries).address & ~0xfff : bits(processor.maxPhysical) & ~0xfff
      entry = entry & 0xfff | other & (width == 32 ? 0xffff_f000 : .max)
    }
  }
}
