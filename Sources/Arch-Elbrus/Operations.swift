// Special operations: register accesses, flushes and probes, which only run performs.
//
// They are loads and stores with a MAS of their own (kernel headers mas.h, mmu_regs_access.h): the operation number of
// the special access is the MAS with bit 8 for a store, its first operand the data, its second the address.
import CPagingKit
import PagingKit

enum Operation: UInt64 {
  /// MAS 1: eight bytes at a physical address.
  case loadPhysical = 0x001
  case storePhysical = 0x101
  case readRegister = 0x047
  case writeRegister = 0x147
  /// Caches hold nothing that memory does not, so their flushes change nothing. A guest's may be intercepted.
  case flushCache = 0x107
  case flushLine = 0x10f
  /// Address operand 1: TLB page; 3: page of the TLU caches (v6); 0 and 2 lines of the instruction cache.
  case flushPage = 0x117
  /// Address operand 1: the whole TLB; 0: the instruction cache.
  case flushAll = 0x127
  case probeAddress = 0x02f
  case probeEntry = 0x037
  /// A tag or entry of the TLB, for diagnostics.
  case readTLB = 0x04f
  // Control unit: instructions of their own, no MAS.
  case readControl = 0x200
  case writeControl = 0x300

  /// A number that is no operation.
  static let none: UInt64 = 0xffff
}

/// The address operand of a page flush.
enum FlushKind {
  static let instructionLineOfUser: UInt64 = 0
  static let instructionLineOfSystem: UInt64 = 2
  static let instructionCache: UInt64 = 0
  static let page: UInt64 = 1
  static let walkCaches: UInt64 = 3
  static let allTLB: UInt64 = 1
}

extension ElbrusUnit {
  func perform(_ access: pgk_access_v1, _ value: inout pgk_value_v1, isAnswered: Bool) -> SpecialEnd {
    guard let operation = Operation(rawValue: access.address) else {
      return .refused(Refusal(PGK_E_ARGUMENT, "special access 0x\(String(access.address, radix: 16)) is no operation of Elbrus"))
    }
    if !isAnswered, let event = intercept(access, value) { return .listed(listed(event, access, value)) }
    let isBelow = access.flags & UInt8(PGK_HYPERVISOR) != 0
    switch operation {
    case .loadPhysical, .storePhysical: return movePhysical(value.high, isStore: operation == .storePhysical, isBelow: isBelow, &value)
    case .readRegister: return read(.memoryUnit(value.high >> 4 & 0xff), isBelow: isBelow, &value)
    case .readControl: return read(.controlUnit(value.high), isBelow: isBelow, &value)
    case .writeRegister: return write(.memoryUnit(value.high >> 4 & 0xff), value.low, isBelow: isBelow)
    case .writeControl: return write(.controlUnit(value.high), value.low, isBelow: isBelow)
    case .flushCache, .flushLine: return .finished
    case .flushPage:
      let named = isBelow && value.qualifier & Self.namesMachine != 0
      return flushPage(
        kind: value.high & 7, FlushOperand(bits: value.low), machine: named ? value.qualifier & ~Self.namesMachine : machine)
    case .flushAll:
      if value.high == FlushKind.instructionCache { return .finished }
      guard value.high == FlushKind.allTLB else { return noFlush("whole", value.high) }
      state.engine.caches.counters.pointee.invalidations &+= 1
      state.engine.caches.removeAll()
      first.pointee.links.mayBeThere = false
      return .finished
    case .readTLB:
      let address = value.high
      value = pgk_value_v1()
      value.low = readTag(address)
      return .finished
    case .probeAddress, .probeEntry:
      let address = value.high
      value = pgk_value_v1()
      value.low = operation == .probeEntry ? probeEntry(address) : probeAddress(address)
      return .finished
    }
  }

  // MARK: Physical addresses

  /// Eight bytes of RAM; a kernel reads its trap cellar so. A guest's physical addresses are ordinary accesses with MAS 1.
  private func movePhysical(_ address: UInt64, isStore: Bool, isBelow: Bool, _ value: inout pgk_value_v1) -> SpecialEnd {
    let place = address & model.physicalMask
    guard address & 7 == 0, isBelow || untranslated == .physical, state.engine.memory.answers(place) else {
      return .refused(Refusal(PGK_E_ARGUMENT, "there are no eight bytes at the physical address 0x\(String(address, radix: 16))"))
    }
    if isStore {
      state.engine.memory.storeBytes(place, 8, value.low)
    } else {
      value = pgk_value_v1()
      value.low = state.engine.memory.loadBytes(place, 8)
    }
    return .finished
  }

  // MARK: Registers

  /// A guest reaches its own copies of the registers that it has copies of.
  private func index(_ place: ElbrusRegister.Place, isBelow: Bool) -> Int? {
    guard let index = ElbrusRegister.all.firstIndex(where: { $0.place == place }), ElbrusRegister.all[index].firstISET <= model.iset else { return nil }
    return isGuest && !isBelow ? Self.shadows[index] ?? index : index
  }

  private static let shadows: [Int: Int] = [
    RegisterIndex.mmuCR: RegisterIndex.shadowMMUCR, RegisterIndex.pid: RegisterIndex.shadowPID,
    RegisterIndex.osRoot: RegisterIndex.shadowOSRoot, RegisterIndex.osWindow: RegisterIndex.shadowOSWindow,
    RegisterIndex.osBase: RegisterIndex.shadowOSBase, RegisterIndex.coreMode: RegisterIndex.shadowCoreMode,
  ]

  private func read(_ place: ElbrusRegister.Place, isBelow: Bool, _ value: inout pgk_value_v1) -> SpecialEnd {
    guard let index = index(place, isBelow: isBelow) else { return noRegister(place) }
    value = pgk_value_v1()
    switch place {
    case .memoryUnit(Self.windowNumber): value.low = readWindow()
    case .memoryUnit(Self.pointerNumber): value.low = readPointer()
    default: value.low = readRegister(index)
    }
    return .finished
  }

  private func write(_ place: ElbrusRegister.Place, _ value: UInt64, isBelow: Bool) -> SpecialEnd {
    guard let index = index(place, isBelow: isBelow) else { return noRegister(place) }
    switch place {
    case .memoryUnit(Self.pointerNumber): return .finished
    case .memoryUnit(Self.windowNumber):
      do throws(Refusal) {
        try writeWindow(value)
        return .finished
      } catch { return .refused(error) }
    default: break
    }
    values[index] = masked(ElbrusRegister.all[index], value)
    registersChanged()
    return .finished
  }

  static let windowNumber: UInt64 = 0x44
  static let pointerNumber: UInt64 = 0x45
  /// In the qualifier of a hypervisor's flush: the lower bits are a GID.
  static let namesMachine: UInt32 = 1 << 31

  private func noRegister(_ place: ElbrusRegister.Place) -> SpecialEnd {
    .refused(Refusal(PGK_E_ARGUMENT, "ISET v\(model.iset) has no register \(place)"))
  }

  // MARK: Requests

  static func request(_ operation: Operation, data: UInt64 = 0, address: UInt64 = 0) -> Request {
    Request(special: operation.rawValue, low: data, high: address, privilege: Privilege.kernel)
  }

  static func write(_ register: Int, _ value: UInt64) -> Request {
    switch ElbrusRegister.all[register].place {
    case .memoryUnit(let number): request(.writeRegister, data: value, address: number << 4)
    case .controlUnit(let number): request(.writeControl, data: value, address: number)
    case .qualifier, .trap: preconditionFailure("\(ElbrusRegister.all[register].name) is no register")
    }
  }
}
