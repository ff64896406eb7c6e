import CPagingKit
import PagingKit

/// Turns one line of a vector file into a case, by the names that the back end declares.
///
/// Nothing is run before the whole line is understood, so a bad line leaves nothing half done.
struct VectorCaseDecoder {
  let names: VectorNames
  let units: VectorUnits
  let memory: any VectorMemory
  private let kind: String
  private var ownOptions: [(option: Int, value: Int)] = []
  private var policies: [Int] = []
  /// Options that are features of the case's unit.
  private(set) var features: Set<Int> = []

  /// `kind`: what the header calls the cases.
  init(names: VectorNames, units: VectorUnits, memory: any VectorMemory, kind: String) {
    self.kind = kind
    self.names = names
    self.units = units
    self.memory = memory
  }

  /// Fills `into` and returns the unit that the case is for.
  mutating func decode(_ root: JSONValue, into vector: inout VectorCase) throws(CaseProblem) -> Unit {
    guard root.kind == .object else { throw Self.malformed("an object, one case", root) }
    guard kind == "walk" else { throw .unsupported("cases of kind \"\(kind)\"") }
    guard !names.isFull else { throw .malformed(expected: "at most \(VectorNames.most) different names", found: "more") }
    let unit = try decodeOptions(root)
    var accesses: JSONValue?
    for (name, value) in root.members {
      let number = names.number(of: name)
      switch names.meaning(number).key {
      case .id: vector.id = value.string
      case .regs: try decodeRegisters(value, prefix: nil, &vector)
      case .mem: try decodeWords(value, &vector.memory)
      case .load: vector.load = try decodeExpectation(value, &vector)
      case .accesses: accesses = value
      case let key?:
        guard key.isRemark else { throw .unsupported("cases with \"\(key.rawValue)\"") }
      case nil: try decodeOther(number, value, &vector)
      }
    }
    guard let accesses, accesses.kind == .array else {
      throw .malformed(expected: "a case with a list \"accesses\"", found: accesses?.quotedText ?? "none")
    }
    for access in accesses.elements { try decodeAccess(access, &vector) }
    return unit
  }

  static func malformed(_ expected: String, _ found: JSONValue) -> CaseProblem {
    .malformed(expected: expected, found: found.quotedText)
  }

  // MARK: Options

  /// Options come first: policies decide which expectations count.
  mutating func decodeOptions(_ root: JSONValue) throws(CaseProblem) -> Unit {
    ownOptions.removeAll(keepingCapacity: true)
    for (name, value) in root.members {
      let number = names.number(of: name)
      if value.kind == .object, names.meaning(number).key == nil {
        for (child, value) in value.members { readOption(names.number(of: number, child.bytes), value) }
      } else {
        readOption(number, value)
      }
    }
    do {
      let unit = try units.unit(for: ownOptions)
      policies = unit.policies
      features = unit.features
      return unit.unit
    } catch { throw .unsupported("units with these options: \(error.message)") }
  }

  private mutating func readOption(_ number: Int, _ value: JSONValue) {
    let option = names.meaning(number).option
    if option >= 0, let value = units.value(of: option, value) { ownOptions.append((option, value)) }
  }

  // MARK: Registers and memory

  /// A name that the format does not know: an object of registers or options, or a remark.
  private func decodeOther(_ number: Int, _ value: JSONValue, _ vector: inout VectorCase) throws(CaseProblem) {
    switch value.kind {
    case .object: try decodeRegisters(value, prefix: number, &vector)
    case .array: throw .unsupported("cases with \"\(names.text(number))\"")
    default: break
    }
  }

  func decodeRegisters(
    _ object: JSONValue, prefix: Int?, _ vector: inout VectorCase
  ) throws(CaseProblem) {
    guard object.kind == .object else { throw Self.malformed("an object of registers", object) }
    for (name, value) in object.members {
      let number = prefix.map { names.number(of: $0, name.bytes) } ?? names.number(of: name)
      if prefix != nil, names.meaning(number).option >= 0 { continue }
      guard value.kind == .array else {
        vector.registers.append(try register(number, value))
        continue
      }
      for (index, element) in value.elements.enumerated() {
        let number = names.number(of: "\(names.text(number)).\(index)")
        vector.registers.append(try register(number, element))
      }
    }
  }

  private func register(_ number: Int, _ value: JSONValue) throws(CaseProblem) -> pgk_register_value_v1 {
    let register = names.meaning(number).register
    guard register >= 0 else {
      throw .unsupported("a register or option \"\(names.text(number))\"")
    }
    return pgk_register_value_v1(index: UInt32(register), reserved: 0, value: try integer(value, names.text(number)))
  }

  /// Numbers, hexadecimal text, and truth as 0 or 1.
  private func integer(_ value: JSONValue, _ name: @autoclosure () -> String) throws(CaseProblem) -> UInt64 {
    switch value.kind {
    case .yes: return 1
    case .no: return 0
    default:
      guard let number = value.unsigned else {
        throw Self.malformed("a number or text such as \"0x1000\" at \"\(name())\"", value)
      }
      return number
    }
  }

  func decodeWords(_ list: JSONValue, _ words: inout [VectorWord]) throws(CaseProblem) {
    guard list.kind == .array else { throw Self.malformed("a list of [address, word]", list) }
    for pair in list.elements {
      var elements = pair.elements
      guard let address = elements.next()?.unsigned, let value = elements.next()?.unsigned, elements.next() == nil else {
        throw Self.malformed("[address, word]", pair)
      }
      guard address % 8 == 0, memory.holds(address) else {
        throw Self.malformed("the address of an 8-byte word in \"ram\"", pair)
      }
      words.append(VectorWord(address: address, value: value))
    }
  }

  // MARK: Accesses

  /// The members of an access that are needed all at once.
  private struct AccessParts {
    var va, op, priv, insn, size: JSONValue?
    var expect, memAfter: JSONValue?
    /// Those that a policy puts in the place of the two above.
    var policyExpect, policyMemAfter: JSONValue?
  }

  private func decodeAccess(_ object: JSONValue, _ vector: inout VectorCase) throws(CaseProblem) {
    guard object.kind == .object else { throw Self.malformed("an object, one access", object) }
    var access = VectorAccess()
    access.access.flags = UInt8(PGK_TRANSLATE_ONLY)
    access.access.tag = UInt32(truncatingIfNeeded: vector.accesses.count)
    let firstQualifier = vector.qualifiers.count
    var parts = AccessParts()
    for (name, value) in object.members { try sort(names.number(of: name), value, into: &parts, &access, &vector) }
    access.qualifiers = firstQualifier..<vector.qualifiers.count
    access.access.address = try integer(try required(parts.va, "va", object), "va")
    access.access.kind = try kind(try required(parts.op, "op", object))
    access.access.size_log2 = try sizeLog2(try required(parts.size, "size", object))
    access.access.privilege = try privilege(try required(parts.priv, "priv", object), parts.insn)
    let expect = try required(parts.policyExpect ?? parts.expect, "expect", object)
    access.expectation = try decodeExpectation(expect, &vector)
    access.needsGuestPhysical = needsGuestPhysical(access.expectation, vector)
    let firstWord = vector.memoryAfter.count
    if let words = parts.policyMemAfter ?? parts.memAfter { try decodeWords(words, &vector.memoryAfter) }
    access.memoryAfter = firstWord..<vector.memoryAfter.count
    vector.accesses.append(access)
  }

  private func sort(
    _ number: Int, _ value: JSONValue, into parts: inout AccessParts, _ access: inout VectorAccess,
    _ vector: inout VectorCase
  ) throws(CaseProblem) {
    let meaning = names.meaning(number)
    switch meaning.key {
    case .va: parts.va = value
    case .op: parts.op = value
    case .priv: parts.priv = value
    case .insn: parts.insn = value
    case .size: parts.size = value
    case .expect: parts.expect = value
    case .memAfter: parts.memAfter = value
    case .spec:
      if try integer(value, "spec") != 0 { access.access.flags |= UInt8(PGK_SPECULATIVE) }
    case let key?:
      guard key.isRemark else { throw .unsupported("accesses with \"\(key.rawValue)\"") }
    case nil:
      if meaning.register >= 0 {
        vector.qualifiers.append(try register(number, value))
      } else if let base = meaning.variantOf {
        guard policies.contains(meaning.suffix) else { return }
        if base == .expect { parts.policyExpect = value } else { parts.policyMemAfter = value }
      } else {
        throw .unsupported("accesses with \"\(names.text(number))\"")
      }
    }
  }

  private func required(_ value: JSONValue?, _ name: String, _ object: JSONValue) throws(CaseProblem) -> JSONValue {
    guard let value else { throw Self.malformed("an access with \"\(name)\"", object) }
    return value
  }

  private func kind(_ value: JSONValue) throws(CaseProblem) -> UInt8 {
    let bytes = value.bytes
    if value.kind == .string, bytes.count == 1 {
      switch bytes[0] {
      case UInt8(ascii: "r"): return UInt8(PGK_READ)
      case UInt8(ascii: "w"): return UInt8(PGK_WRITE)
      case UInt8(ascii: "x"): return UInt8(PGK_FETCH)
      default: break
      }
    }
    throw Self.malformed("\"r\", \"w\" or \"x\" at \"op\"", value)
  }

  private func sizeLog2(_ value: JSONValue) throws(CaseProblem) -> UInt8 {
    guard let size = value.unsigned, size.nonzeroBitCount == 1, size <= 16 else {
      throw Self.malformed("1, 2, 4, 8 or 16 at \"size\"", value)
    }
    return UInt8(size.trailingZeroBitCount)
  }

  /// PRIV, or PRIV.INSN: an instruction that judges rights in its own way is a privilege of its own.
  private func privilege(_ value: JSONValue, _ instruction: JSONValue?) throws(CaseProblem) -> UInt8 {
    guard value.kind == .string, instruction?.kind ?? .string == .string else {
      throw Self.malformed("a name at \"priv\"", value)
    }
    var number = names.number(of: value)
    if let instruction { number = names.number(of: number, instruction.bytes) }
    let privilege = names.meaning(number).privilege
    guard privilege >= 0 else { throw .unsupported("a privilege \"\(names.text(number))\"") }
    return UInt8(privilege)
  }

  private func needsGuestPhysical(_ expectation: VectorExpectation, _ vector: VectorCase) -> Bool {
    guard case .finished = expectation.outcome else { return false }
    return vector.checks[expectation.checks].contains { if case .guestPhysical = $0.quantity { true } else { false } }
  }
}
