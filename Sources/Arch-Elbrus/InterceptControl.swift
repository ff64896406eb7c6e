// Which special operations of a guest leave it: VIRT_CTRL_MU and G_W_IMASK_MMU_CR. Kernel header kvm/mmu_hv_regs_types.h.
import CPagingKit
import PagingKit

/// Bits of VIRT_CTRL_MU. Reads of a class of registers are bit n, writes bit n + 8.
enum VirtualControl {
  /// Bits of classes of registers.
  static let control = 0, roots = 1, windows = 2, interruptBase = 3, types = 4, bounds = 5, debug = 6, other = 7
  static let writes = 8

  static let physicalAccess: UInt64 = 1 << 16
  static let dataCache: UInt64 = 1 << 17
  static let dataCacheLine: UInt64 = 1 << 18
  static let instructionCache: UInt64 = 1 << 19
  static let instructionCacheLineOfUser: UInt64 = 1 << 20
  static let instructionCacheLineOfSystem: UInt64 = 1 << 21
  static let wholeTLB: UInt64 = 1 << 22
  static let lastLevelPage: UInt64 = 1 << 23
  static let upperLevelPage: UInt64 = 1 << 24
  static let entryProbe: UInt64 = 1 << 25

  /// The class of a register by its number. Which registers each covers is published by name only.
  static func registerClass(_ number: UInt64, others: ElbrusModel.OtherRegisters) -> Int? {
    switch number {
    case 0x00: control
    case 0x04, 0x35, 0x02, 0x07, 0x38...0x3b: roots
    case 0x03, 0x34: windows
    case 0x0d: interruptBase
    case 0x10...0x1f, 0x30, 0x31: types
    case 0x08, 0x0a, 0x32, 0x33: bounds
    case 0x05, 0x01, 0x0f, 0x4c, 0x0e: others == .never ? nil : other
    // No kernel has a handler for it.
    case 0x06: nil
    default: other
    }
  }
}

extension ElbrusUnit {
  /// The event that a guest's special operation is to its hypervisor; nil if it goes on.
  func intercept(_ access: pgk_access_v1, _ value: pgk_value_v1) -> Outcome? {
    guard isGuest, access.flags & UInt8(PGK_HYPERVISOR) == 0, let operation = Operation(rawValue: access.address) else { return nil }
    func flag(_ bit: UInt64, _ outcome: Outcome) -> Outcome? { values[RegisterIndex.virtualControl] & bit != 0 ? outcome : nil }
    switch operation {
    case .readRegister: return readsIntercepted(value.high >> 4 & 0xff) ? .readIntercept : nil
    case .writeRegister: return writesIntercepted(value.high >> 4 & 0xff, value.low) ? .writeIntercept : nil
    case .readTLB: return flag(1 << UInt64(VirtualControl.other), .readIntercept)
    case .flushCache: return flag(VirtualControl.dataCache, .cacheFlush)
    case .flushLine: return flag(VirtualControl.dataCacheLine, .cacheLineFlush)
    case .flushPage:
      switch value.high & 7 {
      case FlushKind.instructionLineOfUser: return flag(VirtualControl.instructionCacheLineOfUser, .instructionLineOfUser)
      case FlushKind.instructionLineOfSystem: return flag(VirtualControl.instructionCacheLineOfSystem, .instructionLineOfSystem)
      case FlushKind.page: return flag(VirtualControl.lastLevelPage, .pageFlushLast)
      default: return flag(VirtualControl.upperLevelPage, .pageFlushUpper)
      }
    case .flushAll:
      return value.high == FlushKind.allTLB ? flag(VirtualControl.wholeTLB, .tlbFlush) : flag(VirtualControl.instructionCache, .instructionFlush)
    case .probeEntry: return flag(VirtualControl.entryProbe, .entryProbe)
    case .loadPhysical, .storePhysical, .probeAddress, .readControl, .writeControl: return nil
    }
  }

  private func readsIntercepted(_ number: UInt64) -> Bool {
    guard let kind = VirtualControl.registerClass(number, others: model.otherRegisters) else { return false }
    return values[RegisterIndex.virtualControl] >> UInt64(kind) & 1 != 0
  }

  /// MMU_CR has a mask besides: only what changes one of its bits is seen.
  private func writesIntercepted(_ number: UInt64, _ data: UInt64) -> Bool {
    guard let kind = VirtualControl.registerClass(number, others: model.otherRegisters) else { return false }
    if values[RegisterIndex.virtualControl] >> UInt64(kind + VirtualControl.writes) & 1 != 0 { return true }
    guard kind == VirtualControl.control else { return false }
    return (values[RegisterIndex.shadowMMUCR] ^ data) & values[RegisterIndex.writeMask] != 0
  }

  func listed(_ outcome: Outcome, _ access: pgk_access_v1, _ value: pgk_value_v1) -> pgk_listed_v1 {
    var listed = pgk_listed_v1()
    listed.access = access
    listed.value = value
    listed.flags = UInt8(PGK_LISTED_HAS_VALUE)
    listed.class_ = UInt8(outcome.specialClass)
    listed.outcome = outcome.rawValue
    listed.code = UInt32(outcome.code)
    listed.fault_address = value.high
    listed.slot = PGK_NO_ENTRY
    setWords(&listed, code: outcome.code, condition(of: access, value))
    return listed
  }

  func judgeSpecialNeighbour(_ access: pgk_access_v1, _ value: pgk_value_v1) -> pgk_listed_v1? {
    intercept(access, value).map { listed($0, access, value) }
  }
}

extension Outcome {
  /// Event code of an item, kernel header kvm/mmu_hv_regs_types.h.
  var code: UInt64 { UInt64(definition.number) }

  /// What kind of special operation an event is about.
  var specialClass: UInt32 {
    switch self {
    case .readIntercept: PGK_CLASS_REGISTER_READ
    case .writeIntercept: PGK_CLASS_REGISTER_WRITE
    case .entryProbe: PGK_CLASS_PROBE
    default: PGK_CLASS_INVALIDATION
    }
  }
}
