// The description of an architecture as JSON: all that `ArchitectureText` shows, for programs.
import CPagingKit
import PagingKit

public struct ArchitectureJSON {
  private let loaded: LoadedArchitecture
  private var architecture: Architecture { loaded.architecture }

  public init(_ loaded: LoadedArchitecture) { self.loaded = loaded }

  public var json: JSON {
    let description = architecture.description
    return [
      "name": .text(loaded.name), "title": .text(architecture.title), "version": .text(string(description.version)),
      "manual": .text(string(description.reference)), "file": .text(loaded.file), "vendor": .text(loaded.vendor),
      "licence": .text(loaded.licence), "identifierBits": JSON(description.identifier_bits),
      "formats": .array(architecture.formats.map(format)), "regimes": .array(architecture.regimes.map(regime)),
      "registers": .array(architecture.registers.map(register)),
      "options": .array(DeclaredOption.all(of: architecture).map(option)),
      "privileges": .array(architecture.privileges.map { ["name": .text(string($0.name)), "help": .text(string($0.help))] }),
      "outcomes": .array(architecture.outcomes.map(outcome)), "words": names(architecture.words),
      "rules": .array(architecture.rules.map { ["rule": .text(string($0.name)), "section": .text(string($0.help))] }),
      "counters": names(architecture.counters), "caches": .array(architecture.caches.map(cache)),
      "operations": .array(architecture.encoders.map(encoder)),
      "verdicts": .array(DescriptionNames.names(DescriptionNames.verdicts, mask: description.verdicts).map { .text($0) }),
      "contextKey": .array(contextKey.map { .text($0) }),
    ]
  }

  private var contextKey: [String] {
    let description = architecture.description
    return UnsafeBufferPointer(start: description.context_key, count: description.context_key_count)
      .map { string(architecture.registers[Int($0)].name) }
  }

  private func names(_ list: UnsafeBufferPointer<pgk_name_v1>) -> JSON {
    .array(list.map { ["name": .text(string($0.name)), "help": .text(string($0.help))] })
  }

  private func format(_ format: pgk_format_v1) -> JSON {
    [
      "name": .text(string(format.name)), "title": .text(string(format.title)), "reference": .text(string(format.reference)),
      "stage": JSON(format.stage), "entryBytes": JSON(format.entry_bytes), "inputBits": JSON(format.input_bits),
      "outputBits": JSON(format.output_bits), "isSignExtended": .bool(format.sign_extended != 0),
      "rootAlignmentShift": JSON(format.root_alignment_shift),
      "attributes": .array(DescriptionNames.names(DescriptionNames.attributes, mask: format.attributes).map { .text($0) }),
      "levels": .array(format.levelList.enumerated().map(level)), "layouts": .array(format.layoutList.map { layout($0, format) }),
    ]
  }

  private func level(_ index: Int, _ level: pgk_level_v1) -> JSON {
    [
      "level": JSON(index), "name": .text(string(level.name)), "indexBits": JSON(level.index_bits), "shift": JSON(level.shift),
      "mayBeLeaf": .bool(level.leaf != 0),
    ]
  }

  private func layout(_ layout: pgk_entry_layout_v1, _ format: pgk_format_v1) -> JSON {
    [
      "name": .text(string(layout.name)), "kind": .text(layout.kind == PGK_ENTRY_LEAF ? "leaf" : "table"),
      "levels": .array(format.levelList.indices.filter(layout.occurs).map { JSON($0) }),
      "fields": .array(
        layout.fieldList.map { ["name": .text(string($0.name)), "high": JSON($0.high), "low": JSON($0.low)] }),
    ]
  }

  private func regime(_ regime: pgk_regime_v1) -> JSON {
    [
      "name": .text(string(regime.name)), "help": .text(string(regime.help)), "firstFormat": formatName(regime.first_format),
      "secondFormat": formatName(regime.second_format), "user": .text(string(architecture.privileges[Int(regime.user)].name)),
      "supervisor": .text(string(architecture.privileges[Int(regime.supervisor)].name)),
    ]
  }

  private func formatName(_ index: UInt8) -> JSON {
    UInt32(index) == PGK_NO_FORMAT ? .null : .text(string(architecture.formats[Int(index)].name))
  }

  private func register(_ register: pgk_register_v1) -> JSON {
    [
      "name": .text(string(register.name)), "help": .text(string(register.help)), "width": JSON(register.width),
      "kind": .text(register.kind == PGK_REGISTER_QUALIFIER ? "qualifier" : "control"),
      "writable": .text(hex(register.writable)), "preset": .text(hex(register.preset)),
    ]
  }

  private func option(_ option: DeclaredOption) -> JSON {
    var object: JSONObject = [
      "name": .text(option.name), "help": .text(option.help), "kind": .text(option.kind.rawValue), "preset": .text(option.preset),
    ]
    switch option.values {
    case .boolean: object["type"] = "boolean"
    case .integer(let range):
      object["type"] = "integer"
      object["minimum"] = JSON(range.lowerBound)
      object["maximum"] = JSON(range.upperBound)
    case .choice(let names):
      object["type"] = "choice"
      object["choices"] = .array(names.map { .text($0) })
    }
    return .object(object)
  }

  private func outcome(_ outcome: pgk_outcome_v1) -> JSON {
    [
      "name": .text(string(outcome.name)), "help": .text(string(outcome.help)),
      "number": outcome.number < 0 ? .null : JSON(outcome.number), "isFault": .bool(outcome.fault != 0),
    ]
  }

  private func cache(_ cache: pgk_cache_v1) -> JSON {
    [
      "name": .text(string(cache.name)), "help": .text(string(cache.help)),
      "kind": .text(["tlb", "prefix", "entry"][Int(min(cache.kind, 2))]), "stage": JSON(cache.stage),
    ]
  }

  private func encoder(_ encoder: pgk_encoder_v1) -> JSON {
    let arguments = (try? OperationEncoder(architecture, named: string(encoder.name)).arguments) ?? []
    return [
      "name": .text(string(encoder.name)), "help": .text(string(encoder.help)), "signature": .text(string(encoder.signature)),
      "arguments": .array(arguments.map { ["name": .text($0.name), "type": .text($0.type.name)] }),
    ]
  }
}
