// A memory unit on the test bench: sparse memory, tables built by hand, one access at a time.
import CPagingKit
import Glibc
import PagingKit

@testable import Arch_Elbrus

let elbrus = Architecture(table: plugin.pointer.pointee.archs[0]!)

/// The whole physical space, zero where nothing was stored.
final class SparseMemory {
  var words: [UInt64: UInt64] = [:]
  /// How often each word was stored to; updates of table entries are no stores.
  private(set) var stores: [UInt64: Int] = [:]
  /// Addresses from here on have no memory.
  var end = UInt64.max & ~15
  private(set) lazy var map = makeMap()

  private func makeMap() -> PhysicalMapDescriptor {
    let region = pgk_region_v1(base: 0, length: end, kind: UInt32(PGK_REGION_CALLBACK), reserved: 0, bytes: nil)
    let map = PhysicalMapDescriptor([region])
    serve(map)
    return map
  }

  /// Regions of a map that are reached by callback are here.
  func serve(_ map: PhysicalMapDescriptor) {
    map.setCallbacks(
      context: Unmanaged.passUnretained(self).toOpaque(),
      load: { context, address, _, value in
        value!.pointee = SparseMemory.at(context).words[address] ?? 0
        return 0
      },
      store: { context, address, _, value in
        SparseMemory.at(context).words[address] = value
        SparseMemory.at(context).stores[address, default: 0] += 1
        return 0
      },
      compareExchange: { context, address, _, expected, desired in
        let memory = SparseMemory.at(context)
        guard memory.words[address] ?? 0 == expected else { return 1 }
        memory.words[address] = desired
        return 0
      })
  }

  private static func at(_ context: UnsafeMutableRawPointer?) -> SparseMemory {
    Unmanaged<SparseMemory>.fromOpaque(context!).takeUnretainedValue()
  }
}

/// Plain RAM from address 0 on, zero where nothing was stored: what fast paths need.
final class DenseMemory {
  static let byteCount = 64 << 20
  private let bytes = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 4096)
  private var touched: Set<UInt64> = []
  let map: PhysicalMapDescriptor

  init() {
    memset(bytes, 0, Self.byteCount)
    map = PhysicalMapDescriptor([
      pgk_region_v1(base: 0, length: UInt64(Self.byteCount), kind: UInt32(PGK_REGION_RAM), reserved: 0, bytes: bytes),
      // Pages may lie anywhere.
      pgk_region_v1(base: UInt64(Self.byteCount), length: 1 << 60, kind: UInt32(PGK_REGION_ADDRESS_ONLY), reserved: 0, bytes: nil),
    ])
  }

  deinit { bytes.deallocate() }

  /// Exactly these words, and zeros.
  func hold(_ words: [UInt64: UInt64]) {
    for address in touched { bytes.storeBytes(of: 0, toByteOffset: Int(address), as: UInt64.self) }
    for (address, word) in words { bytes.storeBytes(of: word, toByteOffset: Int(address), as: UInt64.self) }
    touched = Set(words.keys)
  }

  func word(_ address: UInt64) -> UInt64 { bytes.load(fromByteOffset: Int(address), as: UInt64.self) }
}

/// What became of one access.
struct Answer: Equatable, CustomStringConvertible {
  var outcome: String
  /// Physical address of a finished access, fault address of another.
  var address: UInt64 = 0
  var reads: UInt32 = 0
  var level = 0
  var faultType: UInt64 = 0
  var guestPhysical: UInt64?
  /// guest_pt_lev and guest_pt_lev_fin of an intercept.
  var guestLevel: UInt64 = 0
  var isFinal = false
  var description: String { "\(outcome) 0x\(String(address, radix: 16)) reads \(reads) level \(level)" }
}

final class Bench {
  let memory: SparseMemory
  let unit: Unit
  var isCold = false

  init(
    iset: Int = 6, _ options: [(String, String)] = [], memory: SparseMemory = SparseMemory(), map: PhysicalMapDescriptor? = nil
  ) throws {
    self.memory = memory
    unit = try Unit(elbrus, map: map ?? memory.map, options: [("iset", "\(iset)")] + options.map { (name: $0.0, value: $0.1) })
  }

  func set(_ registers: [(String, UInt64)]) throws {
    _ = try unit.writeRegisters(registers.map { (elbrus.registerIndex(named: $0.0)!, $0.1) })
  }

  func register(_ name: String) throws -> UInt64 { try unit.readRegister(elbrus.registerIndex(named: name)!) }

  /// Translation on, with a kernel's values.
  func turnOn(_ format: Tables.Shape, root: UInt64, pid: UInt64 = 0) throws {
    try set([("core_mode", format == .v6 ? 0x20 : 0), ("u_pptb", root), ("u_vptb", 0xff80_0000_0000), ("pid", pid), ("mmu_cr", 0x821)])
  }

  enum Who: UInt8 { case user = 0, kernel = 1 }

  func access(
    _ kind: UInt32, _ address: UInt64, _ who: Who = .user, size: UInt8 = 3, speculative: Bool = false
  ) throws -> Answer {
    var access = pgk_access_v1(
      address: address, kind: UInt8(kind), size_log2: size, privilege: who.rawValue,
      flags: UInt8(PGK_TRANSLATE_ONLY | (speculative ? PGK_SPECULATIVE : 0)), tag: 1)
    var result = pgk_result_v1()
    guard try unit.run(&access, values: nil, results: &result, count: 1) == 1 else { return Answer(outcome: "not consumed") }
    guard result.outcome == UInt8(PGK_OUTCOME_LISTED) else {
      return Answer(outcome: elbrus.outcomeName(result.outcome), address: result.output, reads: result.entry_reads, level: Int(result.level))
    }
    let listed = unit.pending()[0]
    try unit.reset(PGK_RESET_PENDING)
    return Answer(
      outcome: elbrus.outcomeName(listed.outcome), address: listed.fault_address, reads: listed.entry_reads, level: Int(listed.level),
      faultType: listed.condition[ConditionWord.fault_type],
      guestPhysical: UInt32(listed.flags) & PGK_LISTED_HAS_GUEST_PHYSICAL != 0 ? listed.guest_physical : nil,
      guestLevel: listed[header: ItemHeader.guest_pt_lev], isFinal: listed[header: ItemHeader.guest_pt_lev_fin] != 0)
  }

  func read(_ address: UInt64, _ who: Who = .user) throws -> Answer { try access(PGK_READ, address, who) }
  func write(_ address: UInt64, _ who: Who = .user) throws -> Answer { try access(PGK_WRITE, address, who) }
  func fetch(_ address: UInt64, _ who: Who = .user) throws -> Answer { try access(PGK_FETCH, address, who) }
  func speculate(_ address: UInt64, _ who: Who = .user) throws -> Answer { try access(PGK_READ, address, who, speculative: true) }

  /// A load with a MAS on a channel.
  func load(_ address: UInt64, mas: UInt64, channel: UInt64 = 0, size: UInt8 = 3, speculative: Bool = false) throws -> Answer {
    try set([("mas", mas), ("chan", channel)])
    defer { try? set([("mas", 0), ("chan", 0)]) }
    return try access(PGK_READ, address, .user, size: size, speculative: speculative)
  }

  /// Performs special accesses; returns the low half of the last value.
  @discardableResult
  func perform(_ requests: [Request]) throws -> UInt64 {
    var last: UInt64 = 0
    for request in requests {
      var access = request.access
      var value = request.value
      var result = pgk_result_v1()
      _ = try unit.run(&access, values: &value, results: &result, count: 1)
      last = value.low
    }
    return last
  }

  func flushPage(_ address: UInt64, _ context: UInt64 = 0) throws {
    try perform([ElbrusUnit.request(.flushPage, data: FlushOperand(page: address, context: context).bits, address: FlushKind.page)])
  }

  func flushLinks(_ address: UInt64, _ context: UInt64 = 0, level: UInt64) throws {
    let operand = FlushOperand(walkCaches: address, context: context, level: level)
    try perform([ElbrusUnit.request(.flushPage, data: operand.bits, address: FlushKind.walkCaches)])
  }

  func flushAll() throws { try perform([ElbrusUnit.request(.flushAll, address: FlushKind.allTLB)]) }
}

/// Tables written entry by entry, with the bits of the kernel headers spelled out here a second time.
final class Tables {
  enum Shape { case v3, v6, gp }

  let memory: SparseMemory
  let shape: Shape
  let root: UInt64
  private var nextFrame: UInt64

  init(_ memory: SparseMemory, _ shape: Shape, root: UInt64) {
    self.memory = memory
    self.shape = shape
    self.root = root
    nextFrame = root + 0x1000
  }

  var directoryBits: UInt64 {
    switch shape {
    // P, W, A, D, VALID, PV, NON_EX.
    case .v3: 0x63 | 1 << 40 | 1 << 41 | 1 << 43
    case .v6: 0x63 | 1 << 3 | 1 << 2 | 1 << 63
    case .gp: 0x63
    }
  }

  /// P, W, A, D and VALID: a page that user programs may do anything with.
  var pageBits: UInt64 {
    switch shape {
    case .v3: 0x63 | 1 << 40
    case .v6: 0x63 | 1 << 3
    case .gp: 0x63
    }
  }

  var valid: UInt64 { shape == .v3 ? 1 << 40 : 1 << 3 }
  var privileged: UInt64 { shape == .v3 ? 1 << 41 : 1 << 2 }
  var nonExecutable: UInt64 { shape == .v3 ? 1 << 43 : 1 << 63 }
  static let present: UInt64 = 1, writable: UInt64 = 2, accessed: UInt64 = 1 << 5, dirty: UInt64 = 1 << 6
  static let huge: UInt64 = 1 << 7, global: UInt64 = 1 << 8

  /// Address of the entry at a level (0 to 3), with directories made on the way.
  func slot(_ address: UInt64, level: Int = 0) -> UInt64 {
    var table = root
    var current = 3
    while current > level {
      let slot = table + (address >> UInt64(12 + 9 * current) & 511) * 8
      if memory.words[slot] ?? 0 == 0 {
        memory.words[slot] = nextFrame | directoryBits
        nextFrame += 0x1000
      }
      table = memory.words[slot]! & 0xff_ffff_f000
      current -= 1
    }
    return table + (address >> UInt64(12 + 9 * level) & 511) * 8
  }

  /// Writes a leaf; `bits` nil is a page without restrictions.
  func map(_ address: UInt64, to output: UInt64, level: Int = 0, _ bits: UInt64? = nil) {
    memory.words[slot(address, level: level)] = output | (bits ?? pageBits) | (level > 0 ? Self.huge : 0)
  }

  subscript(_ address: UInt64, level level: Int) -> UInt64 {
    get { memory.words[slot(address, level: level)] ?? 0 }
    set { memory.words[slot(address, level: level)] = newValue }
  }
  subscript(_ address: UInt64) -> UInt64 {
    get { self[address, level: 0] }
    set { self[address, level: 0] = newValue }
  }
}

/// Both formats of programs, each with a revision that has it.
enum Shapes { static let all: [(Tables.Shape, Int)] = [(.v3, 3), (.v3, 4), (.v3, 5), (.v3, 6), (.v6, 6), (.v6, 7)] }

/// A unit with one format on and an address mapped.
struct Mapped {
  static let address: UInt64 = 0x1234_5678_9000
  static let page: UInt64 = 0x5_5555_5000
  let bench: Bench
  let tables: Tables

  init(_ shape: Tables.Shape, iset: Int, _ options: [(String, String)] = []) throws {
    bench = try Bench(iset: iset, options)
    tables = Tables(bench.memory, shape, root: 0x10_0000)
    tables.map(Self.address, to: Self.page)
    try bench.turnOn(shape, root: tables.root)
  }
}
