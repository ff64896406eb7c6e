// What the second stage is under the present registers.
import CPagingKit
import PagingKit

/// hgatp and what judges its entries. The unit owns it and changes it between batches, so regimes only point to it.
struct SecondSetting {
  var mode: Mode
  var root: UInt64
  var controls: EntryControls
  var context: ContextTag
  var rights: RightsJudge
  /// Bits of a guest physical address; those above must be zero.
  var inputBits: UInt64

  init(_ setting: Setting, _ contexts: Contexts) {
    mode = setting.second.mode
    root = setting.second.root
    controls = setting.secondControls
    context = contexts.second
    rights = setting.guest.judge
    inputBits = setting.second.mode.guestPhysicalBits
  }

  @inline(__always) func accepts(_ address: UInt64) -> Bool { address &>> inputBits == 0 }
  var topLevel: Int { mode.levelCount - 1 }
}

extension Mode {
  /// Levels of its tables, the same in the widened form.
  var levelCount: Int {
    switch self {
    case .bare: 0
    case .sv32: Sv32x4.radix.levelCount
    case .sv39: Sv39x4.radix.levelCount
    case .sv48: Sv48x4.radix.levelCount
    case .sv57: Sv57x4.radix.levelCount
    }
  }

  /// Width of what the widened form translates.
  var guestPhysicalBits: UInt64 {
    switch self {
    case .bare: 63
    case .sv32: Sv32x4.radix.inputBits
    case .sv39: Sv39x4.radix.inputBits
    case .sv48: Sv48x4.radix.inputBits
    case .sv57: Sv57x4.radix.inputBits
    }
  }
}
