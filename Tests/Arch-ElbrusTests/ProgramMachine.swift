// The same programs on the unit: natively, with demand paging through the cellar, under GP tables, under shadow tables.
import CPagingKit
import PagingKit
import Testing

@testable import Arch_Elbrus

enum ProgramMode: CaseIterable { case allMapped, demand, guestTables, shadowTables }

struct ProgramTrouble: Error, CustomStringConvertible {
  let description: String
}

/// A machine that runs one program in one mode.
final class ProgramMachine {
  static let hostOffset: UInt64 = 0x20_0000_0000
  static let cellar: UInt64 = 0x8_0000

  let mode: ProgramMode
  let program: Program
  let unit: WideUnit
  /// The guest's own tables.
  let tables: Tables
  /// GP or shadow tables.
  let second: Tables
  var device = ProgramDevice()
  /// What the guest's kernel wants of each page.
  private var wanted: [Int]

  init(_ program: Program, _ mode: ProgramMode) throws {
    self.program = program
    self.mode = mode
    wanted = program.frames
    let memory = SparseMemory()
    let bench = try Bench(iset: 6, [("grouping", "marked")], memory: memory, map: Self.map(of: memory))
    unit = WideUnit(bench)
    tables = Tables(memory, .v6, root: 0x10_0000)
    second = Tables(memory, mode == .shadowTables ? .v6 : .gp, root: 0x80_0000)
    for page in 0..<ProgramWorld.dataPages { mapOwn(page, mode == .allMapped ? .none : program.flaws[page]) }
    tables.map(ProgramWorld.address(ProgramWorld.devicePage), to: ProgramWorld.device)
    tables.map(ProgramWorld.address(ProgramWorld.tablePage), to: tables.slot(ProgramWorld.base) & ~0xfff)
    try start()
  }

  private static func map(of memory: SparseMemory) -> PhysicalMapDescriptor {
    let device = ProgramWorld.device
    let map = PhysicalMapDescriptor([
      pgk_region_v1(base: 0, length: device, kind: UInt32(PGK_REGION_CALLBACK), reserved: 0, bytes: nil),
      pgk_region_v1(base: device, length: 4096, kind: UInt32(PGK_REGION_DEVICE), reserved: 0, bytes: nil),
      pgk_region_v1(base: device + 4096, length: 1 << 44, kind: UInt32(PGK_REGION_CALLBACK), reserved: 0, bytes: nil),
    ], owner: memory)
    memory.serve(map)
    return map
  }

  var isGuest: Bool { mode == .guestTables || mode == .shadowTables }

  private func start() throws {
    let bench = unit.bench
    if mode == .guestTables { fillSecond() }
    if isGuest {
      let control = program.control | 1 << (mode == .shadowTables ? 37 : 36) | (mode == .shadowTables ? 1 << 23 : 0)
      try bench.set([
        ("gid", 5), ("virt_ctrl_mu", control), ("gp_pptb", mode == .guestTables ? second.root : 0),
        ("u_pptb", mode == .shadowTables ? second.root : tables.root), ("sh_core_mode", 0x20), ("sh_mmu_cr", 0x821),
        ("g_w_imask_mmu_cr", 1), ("trap_point", Self.cellar),
      ])
    } else {
      try bench.turnOn(.v6, root: tables.root)
      try bench.set([("trap_point", Self.cellar)])
    }
    // Shadow tables exist, and are empty: valid, so that no load is silent.
    if mode == .shadowTables { for page in 0...ProgramWorld.tablePage { second[ProgramWorld.address(page)] = second.valid } }
  }

  private func fillSecond() {
    for frame in 0..<ProgramWorld.frames {
      let slot = second.slot(ProgramWorld.frame(frame))
      guard !program.holes.contains(frame) else { continue }
      let bits = program.protected.contains(frame) ? second.pageBits & ~Tables.writable : second.pageBits
      unit.bench.memory.words[slot] = host(ProgramWorld.frame(frame)) | bits
    }
    // The guest's own tables, now and then not there.
    for frame in 0..<8 as Range<UInt64> where !program.holes.contains(Int(frame)) {
      second.map(0x10_0000 + frame << 12, to: 0x10_0000 + frame << 12)
    }
  }

  /// Where the host keeps a guest's frame.
  func host(_ address: UInt64) -> UInt64 {
    isGuest && address >= ProgramWorld.guestFrames && address < ProgramWorld.device ? address + Self.hostOffset : address
  }

  func mapOwn(_ page: Int, _ flaw: ProgramWorld.Flaw) {
    let frame = ProgramWorld.frame(wanted[page])
    switch flaw {
    case .none: tables.map(ProgramWorld.address(page), to: frame)
    case .absent: tables[ProgramWorld.address(page)] = frame | tables.valid
    case .invalid: tables[ProgramWorld.address(page)] = 0
    case .readOnly: tables.map(ProgramWorld.address(page), to: frame, tables.pageBits & ~Tables.writable)
    }
  }

  // MARK: Running

  func run() throws -> ProgramEnd {
    for group in program.groups {
      try perform(group.flatMap(requests))
      for case .remap(let page, let frame) in group { wanted[page] = frame }
    }
    return end()
  }

  private func requests(_ operation: ProgramOperation) -> [Request] {
    switch operation {
    case .load(let page, let offset, let size, let channel, let destination, let isPacked):
      return [.load(ProgramWorld.address(page, offset), size: size, channel: channel, to: destination, isPacked: isPacked)]
    case .store(let page, let offset, let size, let channel, let data, let high, let isPacked):
      return [.store(ProgramWorld.address(page, offset), data, high: high, size: size, channel: channel, isPacked: isPacked)]
    case .readRegister(let number, let destination): return [.readRegister(number, to: destination)]
    case .writeRegister(let number, let data): return [.writeRegister(number, data)]
    case .remap(let page, let frame):
      let slot = tables.slot(ProgramWorld.address(page)) & 0xfff
      let entry = ProgramWorld.frame(frame) | tables.pageBits
      return [.store(ProgramWorld.address(ProgramWorld.tablePage, slot), entry), .flushPage(ProgramWorld.address(page))]
    }
  }

  /// A group and all that becomes of it, traps included.
  private func perform(_ group: [Request], depth: Int = 0) throws {
    guard depth < 24 else { throw ProgramTrouble(description: "an operation faults again and again") }
    try unit.bench.set([("exc_data_page", 0)])
    try unit.run(group)
    try settle()
    try handleTrap(depth)
  }

  private func settle() throws {
    var rounds = 0
    while !unit.bench.unit.pending().isEmpty {
      rounds += 1
      guard rounds < 200 else { throw ProgramTrouble(description: "a list makes no progress: \(unit.codes)") }
      try unit.resume(isGuest ? hypervisorAnswers() : nativeAnswers())
    }
  }

  /// Devices are asked when their turn has come, and faults are delivered then.
  private func nativeAnswers() -> [Int: pgk_verdict_v1] {
    let item = unit.items[0]
    switch UInt32(item.class_) {
    case PGK_CLASS_DEVICE: return [0: emulate(item, at: item.guest_physical)]
    case PGK_CLASS_GUEST_FAULT: return [0: WideUnit.verdict(PGK_VERDICT_REFLECT)]
    default: return [:]
    }
  }

  func emulate(_ item: pgk_listed_v1, at address: UInt64) -> pgk_verdict_v1 {
    let offset = address - ProgramWorld.device
    if UInt32(item.access.kind) == PGK_WRITE {
      device.store(offset, item.access.byteCount, item.value.low)
      return WideUnit.verdict(PGK_VERDICT_DROP)
    }
    return WideUnit.verdict(PGK_VERDICT_COMPLETE, device.load(offset, item.access.byteCount))
  }

  // MARK: The guest's kernel

  /// Takes the records, puts the pages right, has every operation done again in order.
  private func handleTrap(_ depth: Int) throws {
    guard try unit.bench.register("exc_data_page") == 1 else { return }
    let records = try unit.records()
    // The kernel writes the counter as its own operation.
    try perform([.writeRegister(0x06, 0)], depth: depth + 1)
    for record in records where record.faultType != 0 { try putRight(record, depth) }
    for record in records { try reexecute(record, depth) }
  }

  private func putRight(_ record: pgk_listed_v1, _ depth: Int) throws {
    let first = record.access.address, last = first + record.access.byteCount - 1
    for address in first >> 12 == last >> 12 ? [first] : [first, last] {
      let page = Int((address - ProgramWorld.base) >> 12)
      guard page < ProgramWorld.dataPages else { continue }
      mapOwn(page, .none)
      try perform([.flushPage(address & ~0xfff)], depth: depth + 1)
    }
  }

  private func reexecute(_ record: pgk_listed_v1, _ depth: Int) throws {
    guard depth < 24 else { throw ProgramTrouble(description: "an operation faults again and again") }
    try unit.bench.set([("exc_data_page", 0)])
    try unit.reexecute(record)
    try settle()
    try handleTrap(depth + 1)
  }

  // MARK: The end

  private func end() -> ProgramEnd {
    var end = ProgramEnd()
    let range = host(ProgramWorld.guestFrames)..<host(ProgramWorld.guestFrames) + UInt64(ProgramWorld.frames) << 12
    let offset = range.lowerBound - ProgramWorld.guestFrames
    for (place, word) in unit.bench.memory.words where range.contains(place) && word != 0 { end.memory[place - offset] = word }
    for (place, count) in unit.bench.memory.stores where range.contains(place) { end.stores[place - offset] = count }
    end.registers = unit.registers.mapValues(\.low)
    end.writes = unit.writes
    end.device = device.log
    for number in ProgramWorld.registers {
      let value = (try? unit.bench.register(number == 0x0e ? "hw0" : "mtrr0")) ?? 0
      if value != 0 { end.controls[number] = value }
    }
    return end
  }
}
