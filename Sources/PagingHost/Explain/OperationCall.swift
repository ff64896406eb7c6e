// One exported operation, encoded and performed, with everything that it changed.
import CPagingKit
public import PagingKit

public struct OperationCall {
  private let unit: Unit
  private let line: String
  private let access: pgk_access_v1
  private let operands: pgk_value_v1
  private let value: pgk_value_v1
  private let result: pgk_result_v1
  private let listed: pgk_listed_v1?
  private var registers: [(name: String, old: UInt64, new: UInt64)] = []
  private var counters: [(name: String, by: UInt64)] = []
  private let origin: [String]

  private var architecture: Architecture { unit.architecture }
  public var isFault: Bool { listed != nil }

  /// On a fresh unit, or on one that runs under the request's regime.
  public init(
    _ operation: String, _ arguments: [String], _ request: WalkRequest, _ architecture: Architecture
  ) throws {
    let encoder = try OperationEncoder(architecture, named: operation)
    (unit, origin) = try Self.makeUnit(request, architecture)
    line = ([operation] + arguments).joined(separator: " ")
    let encoded = try encoder.encode(arguments, for: unit)
    access = encoded.access
    operands = encoded.value
    let before = try Self.registers(unit)
    let countsBefore = unit.counters()
    var access = encoded.access
    var value = encoded.value
    var result = pgk_result_v1()
    _ = try unit.run(&access, values: &value, results: &result, count: 1)
    self.value = value
    self.result = result
    listed = unit.pending().first
    for (register, (old, new)) in zip(architecture.registers, zip(before, try Self.registers(unit))) where old != new {
      registers.append((string(register.name), old, new))
    }
    for (counter, (old, new)) in zip(architecture.counters, zip(countsBefore, unit.counters())) where old != new {
      counters.append((string(counter.name), new &- old))
    }
  }

  private static func makeUnit(_ request: WalkRequest, _ architecture: Architecture) throws -> (Unit, [String]) {
    let options = try Configuration(architecture, settings: request.settings).options
    guard let regime = try request.regimeIndex(architecture) else {
      let unit = try Unit(architecture, map: GivenMemory(images: [], words: []).map, options: options)
      try request.loadRegisters(of: unit)
      return (unit, [])
    }
    let tables = try DemonstrationTables.make(architecture, regime: regime, options: options, address: 0, pageShift: nil)
    try request.loadRegisters(of: tables.unit)
    return (tables.unit, ["under the regime \(string(architecture.regimes[regime].name))"])
  }

  private static func registers(_ unit: Unit) throws(UnitError) -> [UInt64] {
    var values: [UInt64] = []
    for index in unit.architecture.registers.indices { values.append(try unit.readRegister(index)) }
    return values
  }

  // MARK: Text

  private var outcome: String { architecture.outcomeName(listed?.outcome ?? result.outcome) }
  private var valueChanged: Bool { value.low != operands.low || value.high != operands.high }

  public var text: String {
    var table: [(String, String)] = origin.map { ("unit", $0) }
    table += [
      ("access", "\(DescriptionNames.name(DescriptionNames.accessKinds, access.kind)) \(hex(access.address)) as \(privilege)"),
      ("operands", "\(hex(operands.low)), \(hex(operands.high))"), ("outcome", outcome),
    ]
    if let listed { table.append(("listed", listedText(listed))) }
    if valueChanged { table.append(("value", value.high == 0 ? hex(value.low) : "\(hex(value.low)), \(hex(value.high))")) }
    table += registers.map { ("register", "\($0.name) \(hex($0.old)) -> \(hex($0.new))") }
    table += counters.map { ("counter", "\($0.name) +\($0.by)") }
    let lines = table.map { "  \($0.0)\(String(repeating: " ", count: 10 - $0.0.count))\($0.1)" }
    return "\(architecture.name): \(line)\n" + lines.joined(separator: "\n") + "\n"
  }

  private var privilege: String { string(architecture.privileges[Int(access.privilege)].name) }

  private func listedText(_ listed: pgk_listed_v1) -> String {
    "\(DescriptionNames.name(DescriptionNames.classes, listed.class_)), code \(hex(UInt64(listed.code))), address \(hex(listed.fault_address))"
  }

  public var json: JSON {
    [
      "architecture": .text(architecture.name), "operation": .text(line),
      "access": [
        "kind": .text(DescriptionNames.name(DescriptionNames.accessKinds, access.kind)), "address": .text(hex(access.address)),
        "privilege": .text(privilege), "byteCount": JSON(1 << Int(access.size_log2)),
      ],
      "operands": .array([.text(hex(operands.low)), .text(hex(operands.high))]), "outcome": .text(outcome),
      "class": listed.map { .text(DescriptionNames.name(DescriptionNames.classes, $0.class_)) } ?? .null,
      "value": valueChanged ? .array([.text(hex(value.low)), .text(hex(value.high))]) : .null,
      "registers": .object(JSONObject(registers.map { ($0.name, ["old": .text(hex($0.old)), "new": .text(hex($0.new))]) })),
      "counters": .object(JSONObject(counters.map { ($0.name, JSON($0.by)) })),
    ]
  }
}

/// The operations of an architecture, a line each.
public struct OperationList {
  private let operations: [OperationEncoder]
  private let name: String

  public init(_ architecture: Architecture) throws(SignatureError) {
    operations = try OperationEncoder.all(of: architecture)
    name = architecture.name
  }

  public var text: String {
    guard !operations.isEmpty else { return "\(name) has no operations of its own.\n" }
    var table = TextTable([.init("operation and arguments", .left), .init("meaning", .left)])
    for operation in operations { table.add(operation.usage, operation.help) }
    return table.text
  }

  public var json: JSON {
    let list = operations.map { operation -> JSON in
      [
        "name": .text(operation.name), "help": .text(operation.help),
        "arguments": .array(operation.arguments.map { ["name": .text($0.name), "type": .text($0.type.name)] }),
      ]
    }
    return ["architecture": .text(name), "operations": .array(list)]
  }
}
