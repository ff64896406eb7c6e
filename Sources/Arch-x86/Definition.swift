// The description of x86 as data.
import CPagingKit
import PagingKit

extension X86Unit {
  static let firstStages: [X86Format?] = [.fourLevel, .fiveLevel, .pae, .twoLevel, nil]
  static let secondStages: [X86Format] = [.nptFourLevel, .nptFiveLevel, .nptPAE, .nptTwoLevel, .ept4, .ept5]

  /// One-stage regimes, then every guest over every second stage.
  static let regimePairs: [(first: X86Format?, second: X86Format?)] =
    firstStages.map { ($0, nil) } + firstStages.flatMap { first in secondStages.map { (first, $0) } }

  static func regimeIndex(first: X86Format?, second: NestedControls.Kind) -> Int? {
    let format: X86Format? = switch second {
    case .none: nil
    case .nptTwoLevel: .nptTwoLevel
    case .nptPAE: .nptPAE
    case .nptFourLevel: .nptFourLevel
    case .nptFiveLevel: .nptFiveLevel
    case .ept4: .ept4
    case .ept5: .ept5
    }
    return regimePairs.firstIndex { $0.first == first && $0.second == format }
  }

  private static let regimes: [RegimeDefinition] = regimePairs.map { first, second in
    let name = first?.definition.name ?? "bare"
    let title = first?.definition.title ?? "no paging"
    return RegimeDefinition(
      second.map { "\(name)/\($0.definition.name)" } ?? name, second.map { "\(title) under \($0.definition.title)" } ?? title,
      first: first?.rawValue, second: second?.rawValue, user: Int(Privilege.user), supervisor: Int(Privilege.supervisor))
  }

  static let definition = ArchitectureDefinition(
    name: "x86", title: "x86 (Intel 64, AMD64)", version: "0.1.0",
    reference: "Intel SDM volume 3 (edition 080); AMD APM volume 2 (revision 3.41)",
    formats: X86Format.allCases.map(\.definition), regimes: regimes, registers: Register.allCases.map(\.definition),
    options: X86Model.options,
    privileges: [
      NamedMeaning("supervisor", "CPL 0 to 2"), NamedMeaning("user", "CPL 3"),
      NamedMeaning("implicit-supervisor", "accesses to system tables, whatever the CPL"),
      NamedMeaning("user-shadow-stack", "shadow-stack accesses at CPL 3"),
      NamedMeaning("supervisor-shadow-stack", "shadow-stack accesses at CPL 0 to 2"),
    ],
    outcomes: Outcome.allCases.map(\.definition), words: Word.definitions, rules: Rule.allCases.map(\.definition),
    encoders: X86Encoders.all, verdicts: ArchitectureDefinition.preciseVerdicts, identifierBits: 12,
    contextKey: ["cr0", "cr4", "efer", "rflags", "pkru", "pkrs"])
}
