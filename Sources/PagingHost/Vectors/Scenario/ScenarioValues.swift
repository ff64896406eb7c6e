// Values of a scenario, each of the one kind that its key has.

extension JSONValue {
  /// The member of a name.
  subscript(_ name: String) -> JSONValue? { members.first { $0.name.string == name }?.value }

  /// A number, or truth as 0 or 1.
  func number(_ what: String) throws(CaseProblem) -> UInt64 {
    switch kind {
    case .yes: return 1
    case .no: return 0
    default:
      guard let number = unsigned else { throw VectorCaseDecoder.malformed("a number or text such as \"0x1000\" at \"\(what)\"", self) }
      return number
    }
  }

  func list(_ what: String) throws(CaseProblem) -> JSONElements {
    guard kind == .array else { throw VectorCaseDecoder.malformed("a list at \"\(what)\"", self) }
    return elements
  }

  func object(_ what: String) throws(CaseProblem) -> JSONMembers {
    guard kind == .object else { throw VectorCaseDecoder.malformed("an object at \"\(what)\"", self) }
    return members
  }

  func name(_ what: String) throws(CaseProblem) -> String {
    guard kind == .string else { throw VectorCaseDecoder.malformed("a name at \"\(what)\"", self) }
    return string
  }

  /// One of a few names.
  func name(_ what: String, of choices: [String]) throws(CaseProblem) -> String {
    guard kind == .string, choices.contains(string) else {
      throw VectorCaseDecoder.malformed(choices.map { "\"\($0)\"" }.joined(separator: " or ") + " at \"\(what)\"", self)
    }
    return string
  }

  /// Two numbers, as `form` names them.
  func pair(_ form: String, _ what: String) throws(CaseProblem) -> (UInt64, UInt64) {
    let numbers = elements.map(\.unsigned)
    guard numbers.count == 2, let first = numbers[0], let second = numbers[1] else {
      throw VectorCaseDecoder.malformed("\(form) at \"\(what)\"", self)
    }
    return (first, second)
  }

  /// The number of one of `count` things that are there.
  func index(of thing: String, count: Int) throws(CaseProblem) -> Int {
    guard let index = unsigned.flatMap({ Int(exactly: $0) }), index < count else {
      let expected = count == 0 ? "no \(thing), as there is none" : "\(thing == "item" ? "an" : "a") \(thing) from 0 to \(count - 1)"
      throw VectorCaseDecoder.malformed(expected, self)
    }
    return index
  }

  /// The name of a member that numbers a destination register.
  func destination() throws(CaseProblem) -> Int {
    guard let number = UInt16(string) else {
      throw VectorCaseDecoder.malformed("the number of a register from 0 to \(UInt16.max) in \"dst\"", self)
    }
    return Int(number)
  }
}
