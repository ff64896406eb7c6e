// Lines of a script as the steps that golden scenarios have.

extension InterceptScript {
  /// The step in the form of a scenario; nil for lines that are none.
  func action(_ step: Step) throws(InputError) -> JSON {
    let line = step.line
    switch line.words[0] {
    case "group":
      var action: JSONObject = ["group": .array(step.operations.map(operation))]
      if !step.hardware.isEmpty { action["hw"] = .array(step.hardware.map(operation)) }
      return .object(action)
    case "write": return ["write": [[hexadecimal(try number(line, 1, "write ADDRESS WORD")), hexadecimal(try number(line, 2, "write ADDRESS WORD"))]]]
    case "reg": return ["reg": [.text(try word(line, 1, "reg NAME VALUE")), hexadecimal(try number(line, 2, "reg NAME VALUE"))]]
    case "edit": return ["edit": [try edit(line)]]
    case "glaunch": return ["glaunch": true]
    case "info_write": return ["info_write": .array(line.plain.dropFirst().map { value($0) })]
    default: return .object([line.words[0]: argument(line)])
    }
  }

  /// KEY VALUE, KEY KIND NAME=VALUE..., or KEY alone.
  private func argument(_ line: ScriptLine) -> JSON {
    let plain = Array(line.plain.dropFirst())
    guard line.named.isEmpty, plain.count < 2, plain.first.map({ IntegerText($0) != nil }) ?? true else {
      var object = JSONObject(line.named.map { ($0.name, value($0.value)) })
      if let kind = plain.first { object["kind"] = .text(kind) }
      return .object(object)
    }
    return plain.first.map(value) ?? true
  }

  private func operation(_ line: ScriptLine) -> JSON {
    var object: JSONObject = ["op": .text(line.words[0])]
    for (name, text) in line.named { object[name] = value(text) }
    return .object(object)
  }

  private func edit(_ line: ScriptLine) throws(InputError) -> JSON {
    let item = JSON(try number(line, 1, "edit ITEM delete, or edit ITEM NAME=VALUE"))
    if line.plain.count > 2 { return ["item": item, "delete": true] }
    return ["item": item, "set": .object(JSONObject(line.named.map { ($0.name, value($0.value)) }))]
  }

  private func value(_ text: String) -> JSON {
    guard let number = IntegerText(text)?.unsigned else { return .text(text) }
    return text.hasPrefix("0") && text.count > 1 ? hexadecimal(number) : JSON(number)
  }

  private func hexadecimal(_ number: UInt64) -> JSON { .text(hex(number)) }
}

extension JSONObject {
  init(_ pair: (String, JSON)) { self.init([pair]) }
}

extension JSON {
  /// One member.
  static func object(_ members: [String: JSON]) -> JSON { .object(JSONObject(members.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })) }
}
