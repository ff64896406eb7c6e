// A RISC-V hart's memory unit.
import CPagingKit
import PagingKit

/// Identifiers of one first stage in the caches: its own, and that of pages which all its address spaces share.
struct StageContexts {
  var own: ContextTag
  var global: ContextTag
}

/// What cached entries are known by, for the present registers.
struct Contexts {
  var native: StageContexts
  var guest: StageContexts
  var second: ContextTag
  var untranslated: ContextTag
}

final class RISCVUnit: UnitModel {
  static let definition = makeDefinition()

  let state: UnitState
  let model: Model
  let rules: RegisterRules
  private(set) var registers = Registers()
  private(set) var setting: Setting
  private(set) var contexts: Contexts
  // The same as regimes see it.
  let native: UnsafeMutablePointer<StageParameters>
  let guest: UnsafeMutablePointer<StageParameters>
  let second: UnsafeMutablePointer<SecondSetting>

  init(options: OptionValues, memory: PhysicalMemory) throws(OpenError) {
    model = Model(options)
    guard !model.is32 || model.addressBits >= 34 else { throw OpenError("pa.bits is \(model.addressBits), expected 34 or more with xlen 32") }
    rules = RegisterRules(model: model)
    state = UnitState(options: options, sizes: PageSizes([12, 16, 21, 22, 30, 39, 48]), memory: memory)
    setting = Setting(registers, model)
    contexts = Self.contexts(setting, state)
    (native, guest, second) = (.allocate(capacity: 1), .allocate(capacity: 1), .allocate(capacity: 1))
    native.initialize(to: StageParameters(setting.native, contexts.native, model))
    guest.initialize(to: StageParameters(setting.guest, contexts.guest, model))
    second.initialize(to: SecondSetting(setting, contexts))
  }

  deinit {
    native.deallocate()
    guest.deallocate()
    second.deallocate()
  }

  // MARK: Registers

  func readRegister(_ index: Int) -> UInt64 {
    guard let register = Register(rawValue: index) else { return 0 }
    return registers.effective(register)
  }

  func writeRegisters(_ values: [(index: Int, value: UInt64)]) throws(Refusal) -> RegisterLoad {
    var changed = registers
    for (index, value) in values { changed.values[index] = value }
    try rules.check(changed)
    adopt(changed)
    return .done
  }

  func restoreRegisters(_ values: [UInt64]) {
    var changed = Registers()
    for (index, value) in values.enumerated() where index < changed.values.count { changed.values[index] = value }
    adopt(changed)
  }

  /// Makes checked registers the present ones. No write of a register drops cached translations; that is what fences are for.
  func adopt(_ changed: Registers) {
    registers = changed
    setting = Setting(changed, model)
    contexts = Self.contexts(setting, state)
    native.pointee = StageParameters(setting.native, contexts.native, model)
    guest.pointee = StageParameters(setting.guest, contexts.guest, model)
    second.pointee = SecondSetting(setting, contexts)
    state.engine.permissions.clear()
  }

  /// The numbers of the present identifiers. When they run out in between, all are asked for again.
  private static func contexts(_ setting: Setting, _ state: UnitState) -> Contexts {
    func make() -> Contexts {
      let native = TagKind.native(setting.native.translation.mode)
      let guest = TagKind.guest(setting.guest.translation.mode, setting.second.mode)
      let machine = setting.second.identifier
      func stage(_ kind: TagKind, machine: UInt32, _ translation: AddressTranslation) -> StageContexts {
        StageContexts(
          own: state.context(ContextIdentifiers(machine: machine, space: translation.identifier, root: kind.code)),
          global: state.context(ContextIdentifiers(machine: machine, isGlobal: true, root: kind.code)))
      }
      return Contexts(
        native: stage(native, machine: 0, setting.native.translation),
        guest: stage(guest, machine: machine, setting.guest.translation),
        second: state.context(ContextIdentifiers(machine: machine, stage: 2, root: TagKind.second(setting.second.mode).code)),
        untranslated: state.context(ContextIdentifiers(stage: 0)))
    }
    let first = make()
    let again = make()
    return first == again ? first : make()
  }

  // MARK: Entries of other files

  func describe(_ fault: WalkFault, _ listed: inout pgk_listed_v1) { describeFault(fault, &listed) }
  func deliver(_ listed: pgk_listed_v1) { deliverTrap(listed) }
  func rule(_ reason: FaultReason, stage: UInt8, level: Int, kind: UInt32) -> UInt32 {
    Rule.deciding(reason, stage: stage, kind: kind).index
  }

  var regimeIndex: Int? { RegimeList.index(of: setting) }
}

extension Contexts: Equatable {}
extension StageContexts: Equatable {}

/// Which kind of translation a cached entry belongs to, in the `root` of its identifiers: entries of one mode are never
/// used in another, which the manual allows and does not demand.
enum TagKind {
  case native(Mode)
  case guest(Mode, Mode)
  case second(Mode)

  var code: UInt64 {
    switch self {
    case .native(let mode): 0x1_0000 | UInt64(mode.rawValue)
    case .guest(let first, let second): 0x2_0000 | UInt64(second.rawValue) << 8 | UInt64(first.rawValue)
    case .second(let mode): 0x3_0000 | UInt64(mode.rawValue) << 8
    }
  }

  static func isNative(_ code: UInt64) -> Bool { code >> 16 == 1 }
  static func isGuest(_ code: UInt64) -> Bool { code >> 16 == 2 }
  static func isSecond(_ code: UInt64) -> Bool { code >> 16 == 3 }
  static func hasFirstStage(_ code: UInt64) -> Bool { code & 0xff != 0 }
}
