// Random programs of wide instructions, and a straight-line interpreter that says what they must come to.
import PagingKit

@testable import Arch_Elbrus

/// One operation of a program, on pages of a small world.
enum ProgramOperation {
  case load(page: Int, offset: UInt64, size: UInt64, channel: UInt64, to: UInt64, isPacked: Bool)
  case store(page: Int, offset: UInt64, size: UInt64, channel: UInt64, data: UInt64, high: UInt64, isPacked: Bool)
  case readRegister(UInt64, to: UInt64)
  case writeRegister(UInt64, data: UInt64)
  /// The guest's own table entry of a page gets another frame; a flush of the page stands behind it.
  case remap(page: Int, frame: Int)
}

/// Pages of the world: data pages one after the other, then the device's, then the guest's last table as it sees it.
struct ProgramWorld {
  static let dataPages = 6
  static let devicePage = 6
  static let tablePage = 7
  /// Frames that data pages may have.
  static let frames = 8
  static let base: UInt64 = 0x1234_5678_0000
  static let guestFrames: UInt64 = 0x5_5555_0000
  static let device: UInt64 = 0x7_0000_0000

  static func address(_ page: Int, _ offset: UInt64 = 0) -> UInt64 { base + UInt64(page) << 12 + offset }
  static func frame(_ frame: Int) -> UInt64 { guestFrames + UInt64(frame) << 12 }
  static let registers: [UInt64] = [0x0e, 0x10]

  /// What is wrong with a page at the beginning.
  enum Flaw: CaseIterable { case none, absent, invalid, readOnly }
}

struct Program {
  var groups: [[ProgramOperation]] = []
  /// The frame of each data page at the beginning.
  var frames: [Int] = []
  var flaws: [ProgramWorld.Flaw] = []
  /// Frames that the hypervisor has not given yet, and those that it protects.
  var holes: Set<Int> = []
  var protected: Set<Int> = []
  /// VIRT_CTRL_MU besides the tables in use.
  var control: UInt64 = 0
  /// The hypervisor answers as many items as the order allows; otherwise only the first.
  var isEager = false
  private var chance: Chance

  init(seed: UInt64) {
    chance = Chance(seed)
    for _ in 0..<8 { _ = chance.next() }
    frames = (0..<ProgramWorld.dataPages).map { $0 }
    flaws = frames.map { _ in [.none, .none, .absent, .invalid, .readOnly][Int(chance.below(5))] }
    for frame in 0..<ProgramWorld.frames {
      if chance.oneIn(3) { holes.insert(frame) } else if chance.oneIn(4) { protected.insert(frame) }
    }
    // Registers 0x0e (other) and 0x10 (types), page flushes.
    for bit in [4, 7, 12, 15, 23] as [UInt64] where chance.oneIn(2) { control |= 1 << bit }
    isEager = chance.oneIn(2)
    for _ in 0..<(1 + chance.below(4)) { groups.append(group()) }
  }

  // MARK: Groups

  private mutating func group() -> [ProgramOperation] {
    var list: [ProgramOperation] = []
    if chance.oneIn(8) {
      let page = Int(chance.below(UInt64(ProgramWorld.dataPages)))
      list.append(.remap(page: page, frame: Int(chance.below(UInt64(ProgramWorld.frames)))))
      // What else is in this group does not touch the page.
      for _ in 0..<chance.below(3) { list.insert(operation(but: page), at: Int(chance.below(UInt64(list.count + 1)))) }
      return list
    }
    for _ in 0..<(1 + chance.below(4)) { list.append(operation(but: nil)) }
    return list
  }

  private mutating func operation(but excluded: Int?) -> ProgramOperation {
    if chance.oneIn(8) {
      let register = chance.pick(ProgramWorld.registers)
      return chance.oneIn(2) ? .readRegister(register, to: destination) : .writeRegister(register, data: chance.next() >> 1)
    }
    var page = chance.oneIn(6) ? ProgramWorld.devicePage : Int(chance.below(UInt64(ProgramWorld.dataPages)))
    while page == excluded || page + 1 == excluded { page = (page + 1) % ProgramWorld.dataPages }
    let isDevice = page == ProgramWorld.devicePage
    let size = chance.pick(isDevice ? [1, 2, 4, 8] : [1, 2, 4, 8, 8, 16]) as UInt64
    let mayCross = !isDevice && size < 16 && page + 1 < ProgramWorld.dataPages && page + 1 != excluded
    // Few places, so that operations meet.
    var offset = chance.below(4) * 16 + (size < 16 && !isDevice ? chance.below(16) : 0)
    if isDevice { offset = offset & ~(size - 1) }
    if mayCross && chance.oneIn(6) { offset = 4096 - chance.below(size) - 1 }
    let isPacked = size == 16 && chance.oneIn(2)
    if chance.oneIn(2) {
      return .load(page: page, offset: offset, size: size, channel: chance.below(4), to: destination, isPacked: isPacked)
    }
    return .store(
      page: page, offset: offset, size: size, channel: 1 + 2 * chance.below(2), data: chance.next(), high: chance.next(),
      isPacked: isPacked)
  }

  private var destination: UInt64 { mutating get { 1 + 2 * chance.below(12) } }
}

/// What a program leaves behind.
struct ProgramEnd: Equatable {
  /// By guest-physical address.
  var memory: [UInt64: UInt64] = [:]
  /// Stores that touched each word.
  var stores: [UInt64: Int] = [:]
  var registers: [UInt64: UInt64] = [:]
  var writes: [UInt64: Int] = [:]
  var device: [String] = []
  var controls: [UInt64: UInt64] = [:]
}

/// The device: every access is in its log, and a load depends on how many there were.
struct ProgramDevice {
  private(set) var log: [String] = []

  mutating func load(_ offset: UInt64, _ size: UInt64) -> UInt64 {
    log.append("load \(offset) \(size)")
    let value = UInt64(log.count) &* 0x1234_5678_9abc_def1
    return size == 8 ? value : value & ((1 << (8 * size)) - 1)
  }
  mutating func store(_ offset: UInt64, _ size: UInt64, _ data: UInt64) {
    log.append("store \(offset) \(size) \(size == 8 ? data : data & ((1 << (8 * size)) - 1))")
  }
}

/// One operation after the other, nothing deferred and nothing missing.
struct StraightLine {
  private(set) var end = ProgramEnd()
  private var device = ProgramDevice()
  private var frames: [Int]

  static func end(of program: Program) -> ProgramEnd {
    var machine = StraightLine(frames: program.frames)
    for operation in program.groups.joined() { machine.perform(operation) }
    machine.end.device = machine.device.log
    return machine.end
  }

  private init(frames: [Int]) { self.frames = frames }

  private func place(_ page: Int, _ offset: UInt64) -> UInt64 {
    ProgramWorld.frame(frames[page + Int(offset >> 12)]) + offset & 0xfff
  }

  private mutating func write(_ register: UInt64, _ value: UInt64) {
    end.registers[register] = value
    end.writes[register, default: 0] += 1
  }

  private mutating func perform(_ operation: ProgramOperation) {
    switch operation {
    case .load(let page, let offset, let size, _, let destination, let isPacked):
      guard page != ProgramWorld.devicePage else { return write(destination, device.load(offset, size)) }
      write(destination, bytes(page, offset, min(size, 8)))
      if size == 16 && !isPacked { write(destination + 1, bytes(page, offset + 8, 8)) }
    case .store(let page, let offset, let size, _, let data, let high, _):
      guard page != ProgramWorld.devicePage else { return device.store(offset, size, data) }
      store(page, offset, min(size, 8), data)
      if size == 16 { store(page, offset + 8, 8, high) }
    case .readRegister(let number, let destination): write(destination, end.controls[number] ?? 0)
    case .writeRegister(let number, let data): end.controls[number] = data
    case .remap(let page, let frame): frames[page] = frame
    }
  }

  private func bytes(_ page: Int, _ offset: UInt64, _ count: UInt64) -> UInt64 {
    (0..<count).reduce(0) { value, i in
      let place = place(page, offset + i)
      return value | ((end.memory[place & ~7] ?? 0) >> (8 * (place & 7)) & 0xff) << (8 * i)
    }
  }

  private mutating func store(_ page: Int, _ offset: UInt64, _ count: UInt64, _ data: UInt64) {
    var touched: Set<UInt64> = []
    for i in 0..<count {
      let place = place(page, offset + i)
      let shift = 8 * (place & 7)
      end.memory[place & ~7, default: 0] &= ~(0xff << shift)
      end.memory[place & ~7]! |= (data >> (8 * i) & 0xff) << shift
      touched.insert(place & ~7)
    }
    for word in touched { end.stores[word, default: 0] += 1 }
  }
}
