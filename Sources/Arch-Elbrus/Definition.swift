// The description of the architecture as data.
import CPagingKit
import PagingKit

/// The regimes of the description, in its order; the first is the default.
enum ElbrusRegime: Int, CaseIterable {
  case v6, v6Separate, v3, v6OnGP, v6SeparateOnGP, v3OnGP, bareOnGP, bare

  var isSeparate: Bool { self == .v6Separate || self == .v6SeparateOnGP }
  var first: ElbrusFormats? {
    switch self {
    case .v6, .v6Separate, .v6OnGP, .v6SeparateOnGP: .v6
    case .v3, .v3OnGP: .v3
    case .bareOnGP, .bare: nil
    }
  }
  var isGuest: Bool { rawValue >= ElbrusRegime.v6OnGP.rawValue && self != .bare }

  var definition: RegimeDefinition {
    let (name, help) =
      switch self {
      case .v6: ("v6", "V6 tables, one root")
      case .v6Separate: ("v6-separate", "V6 tables, a user root and an OS root split at OS_VAB")
      case .v3: ("v3", "V3 tables, one root")
      case .v6OnGP: ("v6/gp", "V6 tables of a guest under GP tables")
      case .v6SeparateOnGP: ("v6-separate/gp", "V6 tables of a guest with separate roots under GP tables")
      case .v3OnGP: ("v3/gp", "V3 tables of a guest under GP tables")
      case .bareOnGP: ("bare/gp", "a guest without translation under GP tables")
      case .bare: ("bare", "no translation")
      }
    return RegimeDefinition(
      name, help, first: first?.rawValue, second: isGuest ? ElbrusFormats.gp.rawValue : nil, user: Int(Privilege.user),
      supervisor: Int(Privilege.kernel))
  }
}

extension ElbrusUnit {
  static let definition = ArchitectureDefinition(
    name: "elbrus", title: "Elbrus (e2k)", version: "0.1.0", reference: KernelHeader.edition,
    formats: ElbrusFormats.allCases.map(\.definition),
    regimes: ElbrusRegime.allCases.map(\.definition),
    registers: ElbrusRegister.all.map(\.definition),
    options: ElbrusModel.options,
    privileges: Privilege.names,
    outcomes: Outcome.allCases.map(\.definition),
    words: ItemWords.names,
    wordFields: ItemWords.fields,
    rules: Rule.allCases.map(\.meaning),
    encoders: ElbrusEncoders.all,
    verdicts: ArchitectureDefinition.preciseVerdicts + [PGK_VERDICT_REPLAY_IGNORING_WRITE_PROTECTION],
    identifierBits: 12,
    contextKey: [])

  var regimeIndex: Int? {
    let isSeparate = EffectiveRegisters(values, isGuest: isGuest).isSeparate
    let regime: ElbrusRegime? =
      switch selection {
      case .physical: .bare
      case .v6: isSeparate ? .v6Separate : .v6
      // V3 tables with separate roots translate, but are no regime of their own.
      case .v3: isSeparate ? nil : .v3
      case .guestV6: isSeparate ? .v6SeparateOnGP : .v6OnGP
      case .guestV3: isSeparate ? nil : .v3OnGP
      case .untranslatedGuest: .bareOnGP
      }
    return regime?.rawValue
  }
}
