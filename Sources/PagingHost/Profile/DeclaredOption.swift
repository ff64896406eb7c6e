// What may be said to a back end before a unit is opened: models, features, policies and geometry, by name.
import CPagingKit
public import PagingKit

/// An option as an architecture declares it.
public struct DeclaredOption: Hashable, Sendable {
  public enum Kind: String, Sendable, CaseIterable { case model, feature, policy, geometry }

  public enum Values: Hashable, Sendable {
    case boolean
    case integer(ClosedRange<Int64>)
    case choice([String])
  }

  public let name: String
  public let help: String
  /// What holds when nothing is said.
  public let preset: String
  public let kind: Kind
  public let values: Values

  init(_ option: pgk_option_info_v1) {
    name = String(cString: option.name)
    help = String(cString: option.help)
    preset = String(cString: option.preset)
    kind = Kind.allCases[Int(option.kind)]
    switch option.type {
    case PGK_TYPE_BOOLEAN: values = .boolean
    case PGK_TYPE_INTEGER: values = .integer(option.minimum...option.maximum)
    default:
      let choices = UnsafeBufferPointer(start: option.choices, count: option.choice_count)
      values = .choice(choices.map { $0.map { String(cString: $0) } ?? "" })
    }
  }

  /// All options of an architecture in its own order.
  public static func all(of architecture: Architecture) -> [DeclaredOption] { architecture.options.map(Self.init) }

  /// The values that are allowed, in words.
  public var allowed: String {
    switch values {
    case .boolean: "true or false"
    case .integer(let range): "\(range.lowerBound) to \(range.upperBound)"
    case .choice(let names): names.count == 1 ? names[0] : "one of \(names.joined(separator: ", "))"
    }
  }

  /// The value as the back end takes it, integers in decimal; nil if it is not allowed.
  public func accepted(_ text: String) -> String? {
    switch values {
    case .boolean: text == "true" || text == "false" ? text : nil
    case .integer(let range): IntegerText(text)?.signed.flatMap { range.contains($0) ? "\($0)" : nil }
    case .choice(let names): names.contains(text) ? text : nil
    }
  }
}
