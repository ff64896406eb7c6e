// A hart on the test bench: two pieces of memory, tables built by hand, one access at a time.
import CPagingKit
import Glibc
import PagingKit

@testable import Arch_RISCV

let riscv = Architecture(table: plugin.pointer.pointee.archs[0]!)

/// RAM at 0x80000000, and some above 4 GiB so that 34-bit addresses matter. Everything else is a hole.
final class TestMemory {
  static let low: UInt64 = 0x8000_0000
  static let high: UInt64 = 0x2_4000_0000
  let lowSize: UInt64
  let highSize: UInt64
  private let lowBytes: UnsafeMutableRawPointer
  private let highBytes: UnsafeMutableRawPointer
  let map: PhysicalMapDescriptor

  init(lowSize: UInt64 = 32 << 20, highSize: UInt64 = 4 << 20) {
    self.lowSize = lowSize
    self.highSize = highSize
    // Zero, and aligned to 16, without touching what is never used.
    lowBytes = calloc(1, Int(lowSize))!
    highBytes = calloc(1, Int(highSize))!
    func region(_ base: UInt64, _ size: UInt64, _ bytes: UnsafeMutableRawPointer) -> pgk_region_v1 {
      pgk_region_v1(base: base, length: size, kind: PGK_REGION_RAM, reserved: 0, bytes: bytes)
    }
    map = PhysicalMapDescriptor([region(Self.low, lowSize, lowBytes), region(Self.high, highSize, highBytes)])
  }

  deinit {
    free(lowBytes)
    free(highBytes)
  }

  private func pointer(_ address: UInt64, _ byteCount: UInt64) -> UnsafeMutableRawPointer? {
    if address >= Self.low, address - Self.low < lowSize, lowSize - (address - Self.low) >= byteCount {
      return lowBytes + Int(address - Self.low)
    }
    if address >= Self.high, address - Self.high < highSize, highSize - (address - Self.high) >= byteCount {
      return highBytes + Int(address - Self.high)
    }
    return nil
  }

  func exists(_ address: UInt64, _ byteCount: UInt64) -> Bool { pointer(address, byteCount) != nil }

  func load(_ address: UInt64, _ size: Int) -> UInt64? {
    pointer(address, UInt64(size)).map { size == 8 ? $0.load(as: UInt64.self) : UInt64($0.load(as: UInt32.self)) }
  }

  func store(_ address: UInt64, _ size: Int, _ value: UInt64) {
    guard let pointer = pointer(address, UInt64(size)) else { preconditionFailure("no memory at \(address)") }
    if size == 8 { pointer.storeBytes(of: value, as: UInt64.self) } else { pointer.storeBytes(of: UInt32(truncatingIfNeeded: value), as: UInt32.self) }
  }
}

/// Bits of an entry.
enum Bit {
  static let v: UInt64 = 1, r: UInt64 = 2, w: UInt64 = 4, x: UInt64 = 8, u: UInt64 = 16, g: UInt64 = 32, a: UInt64 = 64, d: UInt64 = 128
  static let n: UInt64 = 1 << 63
  static func pbmt(_ type: UInt64) -> UInt64 { type << 61 }
  /// A kernel page that needs no update.
  static let kernel = v | r | w | x | a | d
  static let user = kernel | u
}

/// What became of one access.
struct Answer: Equatable, CustomStringConvertible {
  var outcome = ""
  /// Physical address, or the faulting address.
  var address: UInt64 = 0
  var gpa: UInt64?
  var tinst: UInt64?
  var reads: UInt32 = 0
  var level: UInt8 = 0
  var pageShift: UInt8 = 0

  var description: String {
    func hex(_ value: UInt64?) -> String { value.map { "0x" + String($0, radix: 16) } ?? "-" }
    return "\(outcome) \(hex(address)) gpa \(hex(gpa)) tinst \(hex(tinst)) reads \(reads)"
  }
}

/// A hart with its memory. Registers by name; entries by hand.
final class Hart {
  let memory: TestMemory
  let unit: Unit
  let xlen: Int
  private var nextFrame: UInt64

  init(xlen: Int = 64, _ options: [(String, String)] = [], memory: TestMemory = TestMemory()) throws {
    self.memory = memory
    self.xlen = xlen
    unit = try Unit(riscv, map: memory.map, options: [("xlen", "\(xlen)")] + options.map { (name: $0.0, value: $0.1) })
    nextFrame = TestMemory.low + (1 << 20)
  }

  func set(_ registers: [(String, UInt64)]) throws {
    _ = try unit.writeRegisters(registers.map { (riscv.registerIndex(named: $0.0)!, $0.1) })
  }

  func register(_ name: String) throws -> UInt64 { try unit.readRegister(riscv.registerIndex(named: name)!) }

  func counter(_ name: String) -> UInt64 {
    unit.counters()[riscv.counters.firstIndex { String(cString: $0.name) == name }!]
  }

  /// Zeroed frames for tables, aligned to their size.
  func frames(_ count: UInt64 = 1) -> UInt64 {
    nextFrame = (nextFrame + count * 4096 - 1) / (count * 4096) * (count * 4096)
    defer { nextFrame += count * 4096 }
    return nextFrame
  }

  /// Walks down to `level` from a root, adding tables, and writes an entry; returns its slot. `tables` gives the address
  /// that pointers hold for a table, where it is not the physical one.
  @discardableResult
  func put(
    _ entry: UInt64, at address: UInt64, level: Int = 0, root: UInt64, levels: Int, isSecond: Bool = false, pointer: UInt64 = Bit.v
  ) -> UInt64 {
    let (bits, size): (Int, UInt64) = levels == 2 ? (10, 4) : (9, 8)
    var table = root
    for current in stride(from: levels - 1, through: 0, by: -1) {
      let width = bits + (isSecond && current == levels - 1 ? 2 : 0)
      let slot = table + ((address >> UInt64(12 + current * bits)) & ((1 << UInt64(width)) - 1)) * size
      if current == level {
        memory.store(slot, Int(size), entry)
        return slot
      }
      let found = memory.load(slot, Int(size))!
      if found & 1 == 0 {
        table = frames()
        memory.store(slot, Int(size), table >> 2 | pointer)
      } else {
        table = (found & 0x3f_ffff_ffff_fc00) << 2
      }
    }
    preconditionFailure("level \(level) of \(levels)")
  }

  func entry(_ slot: UInt64) -> UInt64 { memory.load(slot, xlen / 8)! }

  /// satp, vsatp or hgatp: MODE by the number of levels.
  func translation(_ levels: Int, root: UInt64, identifier: UInt64 = 0) -> UInt64 {
    xlen == 32 ? 1 << 31 | identifier << 22 | root >> 12 : UInt64(levels + 5) << 60 | identifier << 44 | root >> 12
  }

  // MARK: Accesses

  static func leaf(_ page: UInt64, _ bits: UInt64) -> UInt64 { page >> 2 | bits }

  static func access(_ kind: UInt32, _ address: UInt64, _ privilege: String, size: UInt64 = 4, flags: UInt32 = PGK_TRANSLATE_ONLY) -> pgk_access_v1 {
    pgk_access_v1(
      address: address, kind: UInt8(kind), size_log2: UInt8(size.trailingZeroBitCount),
      privilege: UInt8(riscv.privilegeIndex(named: privilege)!), flags: UInt8(flags), tag: 0)
  }

  /// Performs one access; a fault is taken from the list.
  func perform(_ kind: UInt32, _ address: UInt64, _ privilege: String = "S", size: UInt64 = 4) throws -> Answer {
    try perform(Self.access(kind, address, privilege, size: size))
  }

  func perform(_ access: pgk_access_v1, value: pgk_value_v1? = nil) throws -> Answer {
    var access = access
    var result = pgk_result_v1()
    var given = value ?? pgk_value_v1()
    _ = try unit.run(&access, values: &given, results: &result, count: 1)
    guard UInt32(result.outcome) == PGK_OUTCOME_LISTED else {
      return Answer(
        outcome: "finished", address: result.output, reads: result.entry_reads, level: result.level, pageShift: result.page_shift)
    }
    let listed = unit.pending()[0]
    try unit.reset(PGK_RESET_PENDING)
    return Answer(listed)
  }

  func load(_ address: UInt64, _ privilege: String = "S") throws -> Answer { try perform(PGK_READ, address, privilege) }
  func store(_ address: UInt64, _ privilege: String = "S") throws -> Answer { try perform(PGK_WRITE, address, privilege) }
  func fetch(_ address: UInt64, _ privilege: String = "S") throws -> Answer { try perform(PGK_FETCH, address, privilege) }

  /// Performs a special access as the mode would.
  @discardableResult
  func perform(_ request: Request, as privilege: String? = nil) throws -> (answer: Answer, value: UInt64) {
    var access = request.access
    if let privilege { access.privilege = UInt8(riscv.privilegeIndex(named: privilege)!) }
    var value = request.value
    var result = pgk_result_v1()
    _ = try unit.run(&access, values: &value, results: &result, count: 1)
    guard UInt32(result.outcome) == PGK_OUTCOME_LISTED else { return (Answer(outcome: "finished"), value.low) }
    let listed = unit.pending()[0]
    try unit.reset(PGK_RESET_PENDING)
    return (Answer(listed), value.low)
  }
}

extension Answer {
  init(_ listed: pgk_listed_v1) {
    outcome = riscv.outcomeName(listed.outcome)
    address = listed.fault_address
    reads = listed.entry_reads
    level = listed.level
    if listed.word_count == 2 { (gpa, tinst) = (listed.words.0, listed.words.1) }
  }
}
