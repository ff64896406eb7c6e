import CPagingKit
import PagingKit

extension VectorCaseDecoder {
  /// One of `pa`, `fault`, `intercept`, `diagnostic` or the name of a declared outcome, with the quantities beside it.
  func decodeExpectation(_ object: JSONValue, _ vector: inout VectorCase) throws(CaseProblem) -> VectorExpectation {
    guard object.kind == .object else { throw Self.malformed("an object, one expectation", object) }
    var outcome: VectorExpectation.Outcome?
    let first = vector.checks.count
    for (name, value) in object.members {
      let number = names.number(of: name)
      guard let found = try decodeOutcome(number, value, &vector) else {
        try decodeCheck(number, value, &vector)
        continue
      }
      guard outcome == nil else { throw Self.malformed("one outcome in an expectation", object) }
      outcome = found
    }
    guard let outcome else {
      throw Self.malformed("an expectation with \"pa\", \"fault\" or another outcome", object)
    }
    return VectorExpectation(outcome: outcome, checks: first..<vector.checks.count)
  }

  /// The outcome that a member of an expectation names; nil if it is a quantity beside one.
  private func decodeOutcome(
    _ number: Int, _ value: JSONValue, _ vector: inout VectorCase
  ) throws(CaseProblem) -> VectorExpectation.Outcome? {
    switch names.meaning(number).key {
    case .pa:
      vector.checks.append(VectorCheck(quantity: .output, expected: try address(value, "pa"), name: number))
      return .finished
    case .fault: return try decodeFault(value)
    case .intercept: return .declared(try declared(names.number(of: value)))
    case .diagnostic:
      guard value.kind == .yes else { throw Self.malformed("true at \"diagnostic\"", value) }
      return .declared(try declared(number))
    default:
      guard value.kind == .object else { return nil }
      try decodeFields(value, &vector)
      return .declared(try declared(number))
    }
  }

  /// The manual's number, a declared outcome's name, or a list of one such name.
  private func decodeFault(_ value: JSONValue) throws(CaseProblem) -> VectorExpectation.Outcome {
    if let number = value.unsigned, let number = Int32(exactly: number) {
      guard names.architecture.outcomes.contains(where: { $0.number == number && $0.fault != 0 }) else {
        throw .unsupported("an outcome numbered \(number)")
      }
      return .numbered(number)
    }
    if value.kind == .string { return .declared(try declared(names.number(of: value))) }
    let list = Array(value.elements)
    guard list.count == 1, list[0].kind == .string else { throw Self.malformed("a number or one name at \"fault\"", value) }
    return .declared(try declared(names.number(of: list[0])))
  }

  private func declared(_ number: Int) throws(CaseProblem) -> Int {
    let outcome = names.meaning(number).outcome
    guard outcome >= 0 else { throw .unsupported("an outcome \"\(names.text(number))\"") }
    return outcome
  }

  private func decodeCheck(_ number: Int, _ value: JSONValue, _ vector: inout VectorCase) throws(CaseProblem) {
    guard let quantity = try quantity(number) else { return }
    vector.checks.append(VectorCheck(quantity: quantity, expected: try address(value, names.text(number)), name: number))
  }

  /// The raw words of an outcome that is written as an object. `mask` limits the bits of those that are no addresses;
  /// `mask_FEATURE` stands in its place where the unit has the feature.
  private func decodeFields(_ object: JSONValue, _ vector: inout VectorCase) throws(CaseProblem) {
    let first = vector.checks.count
    var mask = UInt64.max
    var featureMask: UInt64?
    for (name, value) in object.members {
      let number = names.number(of: name)
      if names.meaning(number).key == .mask {
        mask = try address(value, "mask")
      } else if names.text(number).hasPrefix("mask_") {
        let bits = try address(value, names.text(number))
        guard let option = names.meaning(number).maskOfOption else { throw .unsupported("a feature of \"\(names.text(number))\"") }
        if features.contains(option) { featureMask = bits }
      } else {
        try decodeCheck(number, value, &vector)
      }
    }
    mask = featureMask ?? mask
    for index in first..<vector.checks.count {
      switch vector.checks[index].quantity {
      case .word, .code:
        let key = names.meaning(vector.checks[index].name).key
        if key != .gpa, key != .linear, key != .addr { vector.checks[index].mask = mask }
      default: break
      }
    }
  }

  /// What a name beside an outcome is compared with; nil for a remark. A declared raw word of the name comes first.
  private func quantity(_ number: Int) throws(CaseProblem) -> VectorCheck.Quantity? {
    let meaning = names.meaning(number)
    switch meaning.key {
    case .reads: return .entryReads
    case .gpa: return .guestPhysical
    case .addr: return .faultAddress
    case let key? where key.isRemark: return nil
    default: break
    }
    if meaning.word >= 0 { return .word(names.wordParts[meaning.word]) }
    switch meaning.key {
    case .linear: return .faultAddress
    case .code: return .code
    default: throw .unsupported("a raw word \"\(names.text(number))\"")
    }
  }

  private func address(_ value: JSONValue, _ name: String) throws(CaseProblem) -> UInt64 {
    guard let number = value.unsigned else {
      throw Self.malformed("a number or text such as \"0x1000\" at \"\(name)\"", value)
    }
    return number
  }
}
