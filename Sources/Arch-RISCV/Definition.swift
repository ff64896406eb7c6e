// What the back end says of itself.
import CPagingKit
import PagingKit

extension RISCVUnit {
  static func makeDefinition() -> ArchitectureDefinition {
    ArchitectureDefinition(
      name: "riscv", title: "RISC-V", version: "0.1", reference: Manual.reference,
      formats: FormatList.all.map { $0.definition }, regimes: RegimeList.all.map(\.definition), registers: Registers.definitions,
      options: Model.options, privileges: Privilege.definitions, outcomes: Outcome.allCases.map(\.definition),
      words: Words.definitions, rules: Rule.allCases.map(\.definition), encoders: encoders,
      verdicts: ArchitectureDefinition.preciseVerdicts, identifierBits: 16, contextKey: ["mstatus", "vsstatus", "menvcfg", "henvcfg", "senvcfg"])
  }
}
