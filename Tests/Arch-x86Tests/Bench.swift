// A processor on the test bench: windows of memory, registers by name, one access at a time. Everything goes through the
// C border.
import CPagingKit
import Glibc
import PagingKit

@testable import Arch_x86

/// Several back ends in one test program export the same symbol, so the table is made here from the module's own model.
private let export = PluginExport(vendor: "tests", [X86Unit.self])
let x86 = Architecture(table: export.entry(hostABI: PGK_ABI)!.pointee.archs[0]!)

/// Five windows of RAM from low to the very high. What lies between them are holes.
final class Windows {
  static let bases: [UInt64] = [0, 1 << 30, 4 << 30, 1 << 39, 1 << 51]
  static let size: UInt64 = 64 << 20
  private var bytes: [UnsafeMutableRawPointer] = []
  let map: PhysicalMapDescriptor

  init() {
    for _ in Self.bases {
      // Zero, and costs nothing where it is not touched.
      let start = mmap(nil, Int(Self.size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
      guard let start, start != MAP_FAILED else { preconditionFailure("no memory for the tests") }
      bytes.append(start)
    }
    map = PhysicalMapDescriptor(zip(Self.bases, bytes).map {
      pgk_region_v1(base: $0, length: Self.size, kind: PGK_REGION_RAM, reserved: 0, bytes: $1)
    })
  }

  deinit { for part in bytes { munmap(part, Int(Self.size)) } }

  @inline(__always) private func pointer(_ address: UInt64, _ byteCount: UInt64) -> UnsafeMutableRawPointer? {
    for (base, part) in zip(Self.bases, bytes) where address &- base <= Self.size - byteCount { return part + Int(address - base) }
    return nil
  }

  func exists(_ address: UInt64, _ byteCount: UInt64 = 8) -> Bool { pointer(address, byteCount) != nil }

  /// The eight bytes at a multiple of eight.
  func word(_ address: UInt64) -> UInt64? { pointer(address, 8)?.load(as: UInt64.self) }

  func load(_ address: UInt64, _ size: UInt64 = 8) -> UInt64 {
    guard let pointer = pointer(address, size) else { return .max }
    return switch size {
    case 1: UInt64(pointer.load(as: UInt8.self))
    case 4: UInt64(pointer.load(as: UInt32.self))
    default: pointer.load(as: UInt64.self)
    }
  }

  func store(_ address: UInt64, _ value: UInt64, _ size: UInt64 = 8) {
    guard let pointer = pointer(address, size) else { preconditionFailure("no memory at \(hex(address))") }
    switch size {
    case 1: pointer.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
    case 4: pointer.storeBytes(of: UInt32(truncatingIfNeeded: value), as: UInt32.self)
    default: pointer.storeBytes(of: value, as: UInt64.self)
    }
  }
}

/// Names of raw words and outcomes, found once.
enum Named {
  static func word(_ name: String) -> Int { x86.words.firstIndex { String(cString: $0.name) == name }! }
  static func outcome(_ name: String) -> UInt8 { UInt8(x86.outcomes.firstIndex { String(cString: $0.name) == name }!) }
  static let code = word("code"), info1 = word("info1"), info2 = word("info2")
  static let qualification = word("qualification"), gpa = word("gpa"), linear = word("linear")
  static let generalProtection = outcome("general_protection"), pageFault = outcome("page_fault"), npf = outcome("npf")
  static let eptViolation = outcome("ept_violation"), eptMisconfig = outcome("ept_misconfig")
  static let registers = Dictionary(uniqueKeysWithValues: x86.registers.enumerated().map { (String(cString: $1.name), $0) })
  static let counters = Dictionary(uniqueKeysWithValues: x86.counters.enumerated().map { (String(cString: $1.name), $0) })
}

/// What became of one access.
struct Answer: Equatable {
  var ruling: Ruling
  var reads: UInt32 = 0
  var pageShift: UInt8 = 0
  /// First byte on the faulting page.
  var faultAddress: UInt64?
}

extension Ruling {
  init(_ listed: pgk_listed_v1) {
    func word(_ index: Int) -> UInt64 { withUnsafeBytes(of: listed.words) { $0.load(fromByteOffset: index * 8, as: UInt64.self) } }
    switch listed.outcome {
    case Named.generalProtection: self = .generalProtection
    case Named.pageFault: self = .pageFault(code: word(Named.code), address: listed.fault_address)
    case Named.npf: self = .nestedFault(info1: word(Named.info1), info2: word(Named.info2))
    case Named.eptViolation:
      self = .eptViolation(qualification: word(Named.qualification), mask: .max, gpa: word(Named.gpa), linear: word(Named.linear))
    case Named.eptMisconfig: self = .eptMisconfiguration(gpa: word(Named.gpa))
    default: preconditionFailure("outcome \(x86.outcomeName(listed.outcome)) of an access")
    }
  }
}

/// A processor with its memory.
final class Processor {
  let windows: Windows
  let unit: Unit
  private let observed = GuestPhysicalObserver()

  init(_ options: [(String, String)] = [], windows: Windows = Windows()) throws {
    self.windows = windows
    unit = try Unit(x86, map: windows.map, options: options.map { (name: $0.0, value: $0.1) })
  }

  /// Options of a unit that keeps nothing.
  static let noCaches = [
    ("tlb.l1.ways", "0"), ("tlb.l2.ways", "0"), ("pwc.level1.ways", "0"), ("pwc.level2.ways", "0"), ("pwc.level3.ways", "0"),
  ]

  @discardableResult
  func set(_ values: [(String, UInt64)]) throws -> UInt8 {
    try unit.writeRegisters(values.map { (Named.registers[$0.0]!, $0.1) }).outcome
  }

  func register(_ name: String) throws -> UInt64 { try unit.readRegister(Named.registers[name]!) }

  func counter(_ name: String) -> UInt64 { unit.counters()[Named.counters[name]!] }

  static func privilege(_ privilege: JudgedAccess.Privilege) -> UInt8 {
    switch privilege {
    case .supervisor: 0
    case .user: 1
    case .implicit: 2
    case .userShadowStack: 3
    case .supervisorShadowStack: 4
    }
  }

  static func kind(_ kind: JudgedAccess.Kind) -> UInt8 {
    switch kind {
    case .read: UInt8(PGK_READ)
    case .write: UInt8(PGK_WRITE)
    case .modify: UInt8(PGK_MODIFY)
    case .fetch: UInt8(PGK_FETCH)
    }
  }

  static func access(_ access: JudgedAccess, _ address: UInt64, byteCount: UInt64, flags: UInt32 = PGK_TRANSLATE_ONLY) -> pgk_access_v1 {
    pgk_access_v1(
      address: address, kind: kind(access.kind), size_log2: UInt8(byteCount.trailingZeroBitCount),
      privilege: privilege(access.privilege), flags: UInt8(flags), tag: 7)
  }

  /// Performs one access and takes a fault from the list. `watching` finds the guest-physical address too.
  func perform(_ access: JudgedAccess, _ address: UInt64, byteCount: UInt64 = 1, watching: Bool = false) throws -> Answer {
    if watching { try observed.watch(unit) }
    defer { if watching { try? unit.observe(nil) } }
    var answer = try perform(Self.access(access, address, byteCount: byteCount)).answer
    if watching, case .reaches(let pa, _) = answer.ruling { answer.ruling = .reaches(pa: pa, gpa: observed.first ?? pa) }
    return answer
  }

  func perform(_ access: pgk_access_v1, value: pgk_value_v1? = nil) throws -> (answer: Answer, value: pgk_value_v1) {
    var access = access
    var result = pgk_result_v1()
    var given = value ?? pgk_value_v1()
    _ = try unit.run(&access, values: &given, results: &result, count: 1)
    guard UInt32(result.outcome) == PGK_OUTCOME_LISTED else {
      let ruling = Ruling.reaches(pa: result.output, gpa: result.output)
      return (Answer(ruling: ruling, reads: result.entry_reads, pageShift: result.page_shift), given)
    }
    let listed = unit.pending()[0]
    try unit.reset(PGK_RESET_PENDING)
    return (Answer(ruling: Ruling(listed), reads: listed.entry_reads, faultAddress: listed.fault_address), given)
  }

  /// Performs an operation as an encoder makes it. Nil if it finished, or the outcome's name.
  @discardableResult
  func special(_ request: Request) throws -> String? {
    var access = request.access
    var value = request.value
    var result = pgk_result_v1()
    _ = try unit.run(&access, values: &value, results: &result, count: 1)
    guard UInt32(result.outcome) == PGK_OUTCOME_LISTED else { return nil }
    let listed = unit.pending()[0]
    try unit.reset(PGK_RESET_PENDING)
    return x86.outcomeName(listed.outcome)
  }
}

/// Sees where the leaf of the first stage leads, or what the second stage is asked for where there is no first. Of an
/// access in two parts, the first.
private final class GuestPhysicalObserver {
  private var leaf: UInt64?
  private var asked: UInt64?
  var first: UInt64? { leaf ?? asked }

  func watch(_ unit: Unit) throws {
    (leaf, asked) = (nil, nil)
    var observer = pgk_observer_v1()
    observer.size = UInt32(MemoryLayout<pgk_observer_v1>.size)
    observer.abi = PGK_ABI
    observer.context = Unmanaged.passUnretained(self).toOpaque()
    observer.step = { context, _, step in
      // SAFETY: called only while the processor, which owns this object, performs an access.
      let own = Unmanaged<GuestPhysicalObserver>.fromOpaque(context!).takeUnretainedValue()
      switch (UInt32(step!.pointee.kind), step!.pointee.stage) {
      case (PGK_STEP_LEAF, 1): if own.leaf == nil { own.leaf = step!.pointee.output }
      case (PGK_STEP_LEAF, 2): if own.asked == nil { own.asked = step!.pointee.input }
      default: break
      }
    }
    try unit.observe(observer)
  }
}
