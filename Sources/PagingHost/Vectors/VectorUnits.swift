import CPagingKit
import PagingKit

/// A unit under one set of options.
struct VectorUnit {
  let unit: Unit
  /// Values of the options that are policies, as numbers of names: they choose among expectations.
  let policies: [Int]
  /// Options that are features which this unit has.
  let features: Set<Int>
}

/// Units by their options, opened when a case first asks for a set.
///
/// A case's own options stand over the header's, the user's over both.
final class VectorUnits {
  /// A file that asks for more sets at a time costs time, not memory.
  static let mostOpen = 32

  private let names: VectorNames
  private let memory: any VectorMemory
  /// Value by index of option as number of a name, -1 where nothing is said.
  private var header: [Int]
  private var forced: [Int]
  /// The user's options that are not declared: opening a unit names the valid ones.
  private var undeclared: [(name: String, value: String)] = []
  private var open: [[Int]: VectorUnit] = [:]
  private var lastKey: [Int] = []
  private var last: VectorUnit?

  /// `preset`: options that the kind of file needs, where the back end declares them.
  init(
    _ names: VectorNames, memory: any VectorMemory, settings: [(name: String, value: String)],
    preset: [(name: String, value: String)] = []
  ) {
    self.names = names
    self.memory = memory
    header = [Int](repeating: -1, count: names.architecture.options.count)
    for (name, value) in preset {
      let option = names.meaning(names.number(of: name)).option
      if option >= 0 { header[option] = names.number(of: value) }
    }
    forced = [Int](repeating: -1, count: header.count)
    for (name, value) in settings {
      let option = names.meaning(names.number(of: name)).option
      if option >= 0 { forced[option] = names.number(of: value) } else { undeclared.append((name, value)) }
    }
  }

  /// Takes in what a header says; names that are not options of the back end are remarks.
  func read(header root: JSONValue) {
    for (name, value) in root.members {
      let number = names.number(of: name)
      if value.kind == .object {
        for (child, value) in value.members { set(names.number(of: number, child.bytes), value) }
      } else {
        set(number, value)
      }
    }
  }

  private func set(_ number: Int, _ value: JSONValue) {
    let option = names.meaning(number).option
    if option >= 0, let value = self.value(of: option, value) { header[option] = value }
  }

  /// The number of an option's value as the back end wants it written; nil if it is no scalar.
  func value(of option: Int, _ value: JSONValue) -> Int? {
    let type = names.architecture.options[option].type
    switch value.kind {
    case .yes, .no, .number:
      if type == PGK_TYPE_BOOLEAN, let bit = value.unsigned, bit < 2 { return names.number(of: bit == 1 ? "true" : "false") }
      return names.number(of: value)
    case .string:
      if type == PGK_TYPE_INTEGER, let integer = value.unsigned { return names.number(of: String(integer)) }
      return names.number(of: value)
    default: return nil
    }
  }

  /// The unit for a case with these options of its own.
  func unit(for own: [(option: Int, value: Int)]) throws(UnitError) -> VectorUnit {
    if let last, own.isEmpty, lastKey.isEmpty { return last }
    var key = own.isEmpty ? [] : header
    for (option, value) in own { key[option] = value }
    if let last, key == lastKey { return last }
    let unit: VectorUnit
    if let known = open[key] {
      unit = known
    } else {
      unit = try makeUnit(key.isEmpty ? header : key)
      if open.count >= Self.mostOpen { open.removeAll() }
      open[key] = unit
    }
    (lastKey, last) = (key, unit)
    return unit
  }

  private func makeUnit(_ values: [Int]) throws(UnitError) -> VectorUnit {
    var chosen: [(name: String, value: String)] = []
    var policies: [Int] = []
    var features: Set<Int> = []
    for (index, option) in names.architecture.options.enumerated() {
      let value = forced[index] >= 0 ? forced[index] : values[index]
      if value >= 0 { chosen.append((String(cString: option.name), names.text(value))) }
      let text = value >= 0 ? names.text(value) : option.preset.map { String(cString: $0) } ?? ""
      if option.kind == PGK_OPTION_POLICY { policies.append(names.number(of: text)) }
      if option.type == PGK_TYPE_BOOLEAN && text == "true" { features.insert(index) }
    }
    let unit = try Unit(names.architecture, map: memory.map, options: chosen + undeclared)
    return VectorUnit(unit: unit, policies: policies, features: features)
  }
}
