// The declared formats and regimes, and which of them the registers select.
import PagingKit

enum FormatList {
  static let all: [any RISCVFormat.Type] = [
    Sv39.self, Sv48.self, Sv57.self, Sv32.self, Sv39x4.self, Sv48x4.self, Sv57x4.self, Sv32x4.self,
  ]

  static func index(first mode: Mode) -> UInt8 {
    switch mode {
    case .sv39: 0
    case .sv48: 1
    case .sv57: 2
    case .sv32: 3
    case .bare: 0xff
    }
  }

  static func index(second mode: Mode) -> UInt8 { mode == .bare ? 0xff : index(first: mode) + 4 }
}

/// A first stage, over a second one or none.
struct RegimeEntry {
  let first: Mode
  /// Nil: V=0, satp translates.
  let second: Mode?

  var name: String {
    guard let second else { return first.name }
    return first.name + "/" + (second == .bare ? "bare" : second.name + "x4")
  }

  var definition: RegimeDefinition {
    func format(_ index: UInt8) -> Int? { index == 0xff ? nil : Int(index) }
    let guestModes = (user: Privilege.vu.rawValue, supervisor: Privilege.vs.rawValue)
    return RegimeDefinition(
      name, second == nil ? "satp selects it" : "vsatp and hgatp select it",
      first: format(FormatList.index(first: first)), second: second.flatMap { format(FormatList.index(second: $0)) },
      user: second == nil ? Privilege.u.rawValue : guestModes.user,
      supervisor: second == nil ? Privilege.s.rawValue : guestModes.supervisor)
  }
}

enum RegimeList {
  static let all: [RegimeEntry] = {
    let wide: [Mode] = [.sv39, .sv48, .sv57]
    var list = (wide + [.sv32, .bare]).map { RegimeEntry(first: $0, second: nil) }
    for second in wide { list += (wide + [.bare]).map { RegimeEntry(first: $0, second: second) } }
    list += [RegimeEntry(first: .sv32, second: .sv32), RegimeEntry(first: .bare, second: .sv32)]
    list += (wide + [.sv32, .bare]).map { RegimeEntry(first: $0, second: .bare) }
    return list
  }()

  /// Natively satp's, as long as neither vsatp nor hgatp is in use.
  static func index(of setting: Setting) -> Int? {
    let isGuest = setting.guest.translation.mode != .bare || setting.second.mode != .bare
    let first = isGuest ? setting.guest.translation.mode : setting.native.translation.mode
    let second: Mode? = isGuest ? setting.second.mode : nil
    return all.firstIndex { $0.first == first && $0.second == second }
  }
}
