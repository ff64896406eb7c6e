import CPagingKit
import PagingKit

/// The toy's memory unit: a TLB without limit, so that only invalidations make it forget, and a walker.
final class ToyUnit {
  struct Translation {
    var output: UInt64 = 0
    var shift: UInt64 = 12
    var rights: UInt8 = 0
    var level = 0
    var reads: UInt32 = 0
  }

  struct Failure: Error {
    var outcome: ToyOutcome
    var slot: UInt64 = UInt64.max
    var level = 0
    var reads: UInt32 = 0
    var address: UInt64
  }

  struct Key: Hashable { var page: UInt64, identifier: UInt64 }

  enum Cached { case page(Translation, isGlobal: Bool), absent }

  struct Item {
    var listed: pgk_listed_v1
    var answer: pgk_verdict_v1?
  }

  static let noCounts = [UInt64](repeating: 0, count: ToyCounter.allCases.count)

  let map: UnsafePointer<pgk_physical_map_v1>
  var regime = 0, root: UInt64 = 0, identifier: UInt64 = 0, isOn = false
  var tlb: [Key: Cached] = [:]
  var counts = noCounts
  var pending: [Item] = []
  var record: [pgk_listed_v1] = []
  var observer: pgk_observer_v1?
  /// Most accesses of a group; a group that stops is listed from there on.
  var groupLength = 1
  var cachesAbsent = false
  /// Never comes to an end with what it lists.
  var isStubborn = false
  private(set) var message: UnsafeMutablePointer<CChar>

  init(_ map: UnsafePointer<pgk_physical_map_v1>) {
    self.map = map
    message = .allocate(capacity: 256)
    message.initialize(repeating: 0, count: 256)
  }

  deinit { message.deallocate() }

  func say(_ text: String) { for (i, c) in text.utf8CString.prefix(255).enumerated() { message[i] = c } }

  func set(_ name: String, _ value: String) -> Bool {
    switch name {
    case "group": groupLength = Int(value) ?? 0
    case "cacheAbsent": cachesAbsent = value == "true"
    case "stubborn": isStubborn = value == "true"
    default: return false
    }
    return groupLength > 0
  }

  func count(_ counter: ToyCounter, _ n: UInt64 = 1) { counts[counter.rawValue] += n }

  // MARK: Memory

  func region(_ address: UInt64) -> pgk_region_v1? {
    (0..<map.pointee.region_count).lazy.map { self.map.pointee.regions[$0] }
      .first { address >= $0.base && address - $0.base < $0.length }
  }

  func bytes(_ address: UInt64) -> UnsafeMutableRawPointer? {
    guard let region = region(address), region.kind == PGK_REGION_RAM else { return nil }
    return region.bytes + Int(address - region.base)
  }

  // MARK: Entries

  static func decode(_ bits: UInt64, _ format: Int, _ level: Int) -> pgk_entry_v1 {
    var entry = pgk_entry_v1()
    entry.level = UInt8(level)
    guard bits & ToyBits.valid != 0 else { return entry }
    let isLeaf = bits & ToyBits.leaf != 0
    entry.output = bits & ToyBits.address
    entry.attributes = UInt32(bits >> ToyBits.attributeShift & 0x7f)
    let shape = ToyFormat.all[format]
    let isRight = isLeaf ? shape.leaves[level] && entry.output & ((1 << shape.shift(level)) - 1) == 0 : level > 0
    entry.kind = UInt8(isRight ? isLeaf ? PGK_ENTRY_LEAF : PGK_ENTRY_TABLE : PGK_ENTRY_INVALID)
    return entry
  }

  static func encode(_ entry: inout pgk_entry_v1, _ format: Int, _ level: Int) -> UInt64? {
    let shape = ToyFormat.all[format]
    guard entry.kind != PGK_ENTRY_ABSENT else { return shape.absent }
    guard entry.output >> UInt64(shape.outputBits) == 0 else { return nil }
    let isLeaf = entry.kind == PGK_ENTRY_LEAF
    let attributes = isLeaf ? UInt64(entry.attributes & 0x7f) : 0
    entry.unexpressed = isLeaf ? entry.attributes & ~0x7f : 0
    let bits = entry.output | ToyBits.valid | (isLeaf ? ToyBits.leaf : 0) | attributes << ToyBits.attributeShift
    return decode(bits, format, level).kind == entry.kind ? bits : nil
  }

  // MARK: Translation

  func translate(_ access: pgk_access_v1, _ address: UInt64) throws(Failure) -> Translation {
    guard isOn else { return Translation(output: address, shift: 64, rights: 0xf) }
    let translation = try lookUp(access, address)
    let wanted: UInt8 =
      switch UInt32(access.kind) {
      case PGK_READ, PGK_LOAD_LOCKED: 1
      case PGK_FETCH: 4
      default: 2
      }
    guard translation.rights & wanted != 0, translation.rights & 8 != 0 || access.privilege == 0 else {
      throw Failure(outcome: .denied, level: translation.level, address: address)
    }
    guard region(translation.output) != nil else { throw Failure(outcome: .hole, address: address) }
    return translation
  }

  private func lookUp(_ access: pgk_access_v1, _ address: UInt64) throws(Failure) -> Translation {
    for key in [Key(page: address >> 12, identifier: identifier), Key(page: address >> 12, identifier: .max)] {
      guard let cached = tlb[key] else { continue }
      count(.tlbHits)
      guard case .page(var hit, _) = cached else { throw Failure(outcome: .absent, address: address) }
      hit.output |= address & 0xfff
      hit.reads = 0
      return hit
    }
    return try walk(access, address)
  }

  private func walk(_ access: pgk_access_v1, _ address: UInt64) throws(Failure) -> Translation {
    let shape = ToyFormat.all[regime]
    let unused = UInt64(64 - shape.inputBits)
    let canonical = shape.isSignExtended
      ? UInt64(bitPattern: Int64(bitPattern: address << unused) >> Int64(unused)) : (address << unused) >> unused
    guard canonical == address else { throw Failure(outcome: .nonCanonical, address: address) }
    count(.walks)
    var table = root
    var reads: UInt32 = 0
    for level in shape.indexBits.indices.reversed() {
      let index = address >> shape.shift(level) & ((1 << UInt64(shape.indexBits[level])) - 1)
      let slot = table + index * UInt64(shape.entryBytes)
      guard let place = bytes(slot) else { throw Failure(outcome: .hole, slot: slot, level: level, reads: reads, address: address) }
      let bits = shape.entryBytes == 8 ? place.load(as: UInt64.self) : UInt64(place.load(as: UInt32.self))
      reads += 1
      count(.entryReads)
      let entry = Self.decode(bits, regime, level)
      report(access, slot, bits, address, entry)
      switch UInt32(entry.kind) {
      case PGK_ENTRY_TABLE: table = entry.output
      case PGK_ENTRY_LEAF: return fill(entry, address, shape.shift(level), level, reads)
      default:
        if cachesAbsent { tlb[Key(page: address >> 12, identifier: identifier)] = .absent }
        throw Failure(outcome: .absent, slot: slot, level: level, reads: reads, address: address)
      }
    }
    fatalError("a table below the last level")
  }

  private func fill(_ entry: pgk_entry_v1, _ address: UInt64, _ shift: UInt64, _ level: Int, _ reads: UInt32) -> Translation {
    let page = entry.output | address & ((1 << shift) - 1) & ~0xfff
    let isGlobal = entry.attributes & PGK_ATTRIBUTE_GLOBAL != 0
    var result = Translation(output: page, shift: shift, rights: UInt8(entry.attributes & 0xf), level: level, reads: reads)
    tlb[Key(page: address >> 12, identifier: isGlobal ? .max : identifier)] = .page(result, isGlobal: isGlobal)
    result.output |= address & 0xfff
    return result
  }

  private func report(_ access: pgk_access_v1, _ slot: UInt64, _ bits: UInt64, _ input: UInt64, _ entry: pgk_entry_v1) {
    guard let observer else { return }
    let kind = UInt32(entry.kind) == PGK_ENTRY_TABLE ? PGK_STEP_TABLE
      : UInt32(entry.kind) == PGK_ENTRY_LEAF ? PGK_STEP_LEAF : PGK_STEP_REFUSED
    var access = access
    var step = pgk_step_v1(
      slot: slot, entry: bits, input: input, output: entry.output, rule: 0, kind: UInt8(kind), level: entry.level,
      stage: 1, format: UInt8(regime))
    observer.step(observer.context, &access, &step)
  }

  func dump(_ entries: UnsafeMutablePointer<pgk_cached_v1>?, _ capacity: Int) -> Int64 {
    let pages = tlb.compactMap { key, cached -> pgk_cached_v1? in
      guard case .page(let t, let isGlobal) = cached else { return nil }
      var entry = pgk_cached_v1()
      entry.input = key.page << 12
      entry.output = t.output
      entry.identifier = isGlobal ? 0 : UInt32(key.identifier)
      entry.page_shift = UInt8(t.shift)
      entry.rights = t.rights
      entry.flags = UInt8(isGlobal ? PGK_CACHED_GLOBAL : 0)
      return entry
    }.sorted { $0.input < $1.input }
    for (i, entry) in pages.prefix(capacity).enumerated() { entries![i] = entry }
    return Int64(pages.count)
  }
}
