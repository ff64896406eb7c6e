// One architecture in full, from its description alone.
import CPagingKit
import PagingKit

/// What `paging arch ARCH` prints: everything that a back end declares.
public struct ArchitectureText {
  private let loaded: LoadedArchitecture
  private var architecture: Architecture { loaded.architecture }

  public init(_ loaded: LoadedArchitecture) { self.loaded = loaded }

  public var text: String {
    [
      head, section("Formats", architecture.formats.map { FormatText(format: $0).text }.joined(separator: "\n")),
      section("Regimes", indented(regimes.text, by: 2)), section("Registers", indented(registers.text, by: 2)),
      section("Options (--set NAME=VALUE)", options), section("Privileges", indented(privileges.text, by: 2)),
      section("Outcomes", indented(outcomes.text, by: 2)), section("Raw words of a listed operation", names(architecture.words)),
      section("Counters", names(architecture.counters)), section("Caches", indented(caches.text, by: 2)),
      section("Operations (paging call)", indented(operations.text, by: 2)),
      section("Rules", names(architecture.rules, "rule", "section")),
      section("Verdicts", "  " + verdicts.joined(separator: ", ") + "\n"),
    ].joined(separator: "\n")
  }

  private var head: String {
    let description = architecture.description
    let identifiers = description.identifier_bits == 0 ? "none" : "\(description.identifier_bits) bits"
    let facts: [(String, String)] = [
      ("manual", string(description.reference)), ("version", string(description.version)),
      ("identifiers", identifiers), ("library", loaded.file), ("vendor", loaded.vendor), ("licence", loaded.licence),
    ]
    let lines = facts.map { name, value in "  \(name)\(String(repeating: " ", count: 13 - name.count))\(value)" }
    return "\(loaded.name): \(architecture.title)\n" + lines.joined(separator: "\n") + "\n"
  }

  /// Nothing is said of what an architecture does not have.
  private func section(_ title: String, _ body: String) -> String {
    "\(title)\n\(body.isEmpty ? "  none\n" : body)"
  }

  private func names(
    _ list: UnsafeBufferPointer<pgk_name_v1>, _ name: String = "name", _ meaning: String = "meaning"
  ) -> String {
    guard !list.isEmpty else { return "" }
    var table = TextTable([.init(name, .left), .init(meaning, .left)])
    for item in list { table.add(string(item.name), string(item.help)) }
    return indented(table.text, by: 2)
  }

  private var regimes: TextTable {
    var table = TextTable("name", "first stage", "second stage", "program", "kernel", "meaning")
    for regime in architecture.regimes {
      table.add(
        string(regime.name), formatName(regime.first_format), formatName(regime.second_format),
        privilegeName(regime.user), privilegeName(regime.supervisor), string(regime.help))
    }
    return table
  }

  private func formatName(_ index: UInt8) -> String {
    UInt32(index) == PGK_NO_FORMAT ? "-" : string(architecture.formats[Int(index)].name)
  }

  private func privilegeName(_ index: UInt8) -> String { string(architecture.privileges[Int(index)].name) }

  private var registers: TextTable {
    var table = TextTable([
      .init("name"), .init("bits"), .init("known bits", .right), .init("preset", .right), .init("meaning", .left),
    ])
    for register in architecture.registers {
      let help = string(register.help)
      let isQualifier = register.kind == PGK_REGISTER_QUALIFIER
      table.add(
        string(register.name), "\(register.width)", hex(register.writable), hex(register.preset),
        isQualifier ? "(of accesses) \(help)" : help)
    }
    return table
  }

  private var options: String {
    let all = DeclaredOption.all(of: architecture)
    var table = TextTable([
      .init("name"), .init("kind"), .init("preset", .left), .init("values", .left), .init("meaning", .left),
    ])
    for kind in DeclaredOption.Kind.allCases {
      for option in all where option.kind == kind {
        table.add(option.name, kind.rawValue, option.preset, option.allowed, option.help)
      }
    }
    return all.isEmpty ? "" : indented(table.text, by: 2)
  }

  private var privileges: TextTable {
    var table = TextTable([.init("name"), .init("meaning", .left)])
    for privilege in architecture.privileges { table.add(string(privilege.name), string(privilege.help)) }
    return table
  }

  private var outcomes: TextTable {
    var table = TextTable([.init("name"), .init("number", .right), .init("fault"), .init("meaning", .left)])
    for outcome in architecture.outcomes {
      table.add(
        string(outcome.name), outcome.number < 0 ? "-" : "\(outcome.number)", outcome.fault != 0 ? "yes" : "no",
        string(outcome.help))
    }
    return table
  }

  private var caches: TextTable {
    var table = TextTable([.init("name"), .init("kind", .left), .init("stage"), .init("meaning", .left)])
    for cache in architecture.caches {
      table.add(
        string(cache.name), DescriptionNames.name(DescriptionNames.cacheKinds, cache.kind), "\(cache.stage)",
        string(cache.help))
    }
    return table
  }

  private var operations: TextTable {
    var table = TextTable([.init("operation and arguments", .left), .init("meaning", .left), .init("signature", .left)])
    for encoder in architecture.encoders {
      let usage = (try? OperationEncoder(architecture, named: string(encoder.name)).usage) ?? string(encoder.name)
      table.add(usage, string(encoder.help), string(encoder.signature))
    }
    return table
  }

  private var verdicts: [String] {
    DescriptionNames.names(DescriptionNames.verdicts, mask: architecture.description.verdicts)
  }
}
