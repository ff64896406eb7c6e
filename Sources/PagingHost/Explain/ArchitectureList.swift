// Every back end that was found, a line each.
import CPagingKit
import PagingKit

public struct ArchitectureList {
  private let architectures: [LoadedArchitecture]
  private let problems: [PluginProblem]

  public init(_ catalogue: Catalogue) {
    architectures = catalogue.architectures
    problems = catalogue.problems
  }

  public var text: String {
    guard !architectures.isEmpty else { return "No back end was found.\n" }
    var table = TextTable([
      .init("name"), .init("title"), .init("formats"), .init("regimes", .right), .init("manual"), .init("file"),
    ])
    for loaded in architectures {
      let architecture = loaded.architecture
      table.add(
        loaded.name, architecture.title, "\(architecture.formats.count)", Self.regimeCounts(architecture),
        string(architecture.description.reference), loaded.file)
    }
    return table.text
  }

  /// Regimes of one stage and of two.
  private static func regimeCounts(_ architecture: Architecture) -> String {
    let two = architecture.regimes.count { $0.second_format != PGK_NO_FORMAT }
    let one = architecture.regimes.count - two
    return two == 0 ? "\(one)" : "\(one) + \(two)"
  }

  public var json: JSON {
    ["architectures": .array(architectures.map(Self.summary)), "problems": .array(problems.map(Self.problem))]
  }

  private static func summary(_ loaded: LoadedArchitecture) -> JSON {
    let architecture = loaded.architecture
    let description = architecture.description
    return [
      "name": .text(loaded.name), "title": .text(architecture.title), "version": .text(string(description.version)),
      "manual": .text(string(description.reference)),
      "formats": .array(architecture.formats.map { .text(string($0.name)) }),
      "regimes": .array(architecture.regimes.map { .text(string($0.name)) }),
      "file": .text(loaded.file), "vendor": .text(loaded.vendor), "licence": .text(loaded.licence),
    ]
  }

  private static func problem(_ problem: PluginProblem) -> JSON {
    [
      "file": .text(problem.file), "kind": .text(problem.kind.rawValue), "expected": .text(problem.expected),
      "found": .text(problem.found), "remedy": .text(problem.remedy), "wasAskedFor": .bool(problem.wasAskedFor),
    ]
  }
}
