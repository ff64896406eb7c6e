// A guest on a unit, under GP tables or under shadow tables, with a hypervisor that a test plays.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_Elbrus

/// A guest with four pages of data; its own tables and its cellar lie where it believes.
final class GuestScene {
  static let address: UInt64 = 0x1234_5678_9000
  static let guestPage: UInt64 = 0x5_5555_5000
  static let page: UInt64 = 0x6_0000_0000
  static let cellar: UInt64 = 0x8_0000

  let unit: WideUnit
  /// The guest's tables: used by hardware under GP tables, by the hypervisor alone under shadow tables.
  let tables: Tables
  /// GP tables, or shadow tables.
  let second: Tables
  let isShadow: Bool
  var memory: SparseMemory { unit.bench.memory }

  /// `control`: bits of VIRT_CTRL_MU besides the tables in use.
  init(isShadow: Bool = false, control: UInt64 = 0, _ options: [(String, String)] = []) throws {
    self.isShadow = isShadow
    let bench = try Bench(iset: 6, [("grouping", "marked")] + options)
    unit = WideUnit(bench)
    tables = Tables(bench.memory, .v6, root: 0x10_0000)
    second = Tables(bench.memory, isShadow ? .v6 : .gp, root: 0x80_0000)
    for i in 0..<4 as Range<UInt64> {
      tables.map(Self.address + i << 12, to: Self.guestPage + i << 12)
      second.map(isShadow ? Self.address + i << 12 : Self.guestPage + i << 12, to: Self.page + i << 12)
    }
    if !isShadow { for frame in 0..<16 as Range<UInt64> { second.map(0x10_0000 + frame << 12, to: 0x10_0000 + frame << 12) } }
    try bench.set([
      ("gid", 5), ("virt_ctrl_mu", control | 1 << (isShadow ? 37 : 36)), ("gp_pptb", isShadow ? 0 : second.root),
      ("u_pptb", isShadow ? second.root : tables.root), ("sh_core_mode", 0x20), ("sh_mmu_cr", 0x821),
      ("g_w_imask_mmu_cr", 1), ("trap_point", Self.cellar),
    ])
  }

  /// The hypervisor takes a page of data out of its tables.
  func hole(_ i: UInt64) { second[at(i)] = isShadow ? second.valid : 0 }
  func put(_ i: UInt64) { second.map(at(i), to: Self.page + i << 12) }
  func protect(_ i: UInt64) { second[at(i)] &= ~Tables.writable }
  private func at(_ i: UInt64) -> UInt64 { (isShadow ? Self.address : Self.guestPage) + i << 12 }
  /// The guest takes a page out of its own.
  func unmap(_ i: UInt64) { tables[Self.address + i << 12] = tables.valid }

  func flush(_ i: UInt64) throws {
    try hypervisor("flush_page", [Self.address + i << 12, 0, 5])
  }

  /// An operation of the hypervisor's own, by its encoder's name.
  @discardableResult
  func hypervisor(_ name: String, _ arguments: [UInt64] = []) throws -> UInt64 {
    typealias None = @convention(c) (UnsafeMutableRawPointer?, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) -> Int32
    typealias One = @convention(c) (UnsafeMutableRawPointer?, UInt64, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) -> Int32
    typealias Three = @convention(c) (
      UnsafeMutableRawPointer?, UInt64, UInt32, UInt32, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?
    ) -> Int32
    let function = elbrus.encoders[elbrus.encoderIndex(named: name)!].function
    let handle = UnsafeMutableRawPointer(unit.bench.unit.handle)
    var access = pgk_access_v1()
    var value = pgk_value_v1()
    let code = switch arguments.count {
    case 0: unsafeBitCast(function, to: None.self)(handle, &access, &value)
    case 1: unsafeBitCast(function, to: One.self)(handle, arguments[0], &access, &value)
    default:
      unsafeBitCast(function, to: Three.self)(handle, arguments[0], UInt32(arguments[1]), UInt32(arguments[2]), &access, &value)
    }
    #expect(code == PGK_OK)
    var result = pgk_result_v1()
    _ = try unit.bench.unit.run(&access, values: &value, results: &result, count: 1)
    return value.low
  }

  func word(_ i: UInt64, _ offset: UInt64 = 0) -> UInt64 { memory.words[Self.page + i << 12 + offset] ?? 0 }
  func set(_ i: UInt64, _ offset: UInt64 = 0, _ value: UInt64) { memory.words[Self.page + i << 12 + offset] = value }
  func register(_ name: String) throws -> UInt64 { try unit.bench.register(name) }

  /// Everything that a guest could see.
  func visible() throws -> [UInt64: UInt64] {
    var state = memory.words.filter { $0.key < Self.cellar + 1024 && $0.key >= Self.cellar || $0.key >= Self.page }
    for (i, name) in ["trap_count", "tir_hi", "tir_lo", "sh_mmu_cr", "sh_pid", "hw0"].enumerated() {
      state[UInt64.max - UInt64(i)] = try register(name)
    }
    for (register, value) in unit.registers { state[0xffff_0000_0000_0000 + register] = value.low }
    return state
  }
}
