// Lines of a script as the steps that golden scenarios have.

extension InterceptScript {
  /// The step in the form of a scenario; nil for lines that are none.
  func action(_ step: Step) throws(InputError) -> JSON {
    let line = step.line
    switch line.words[0] {
    case "group":
      try checkCount(line, 1...1, "group")
      var action: JSONObject = ["group": try operations(step.operations)]
      if !step.hardware.isEmpty { action["hw"] = try operations(step.hardware) }
      return .object(action)
    case "write":
      try checkCount(line, 3...3, "write ADDRESS WORD")
      return ["write": [[hexadecimal(try number(line, 1, "write ADDRESS WORD")), hexadecimal(try number(line, 2, "write ADDRESS WORD"))]]]
    case "reg":
      try checkCount(line, 3...3, "reg NAME VALUE")
      return ["reg": [.text(try word(line, 1, "reg NAME VALUE")), hexadecimal(try number(line, 2, "reg NAME VALUE"))]]
    case "edit": return ["edit": [try edit(line)]]
    case "glaunch":
      try checkCount(line, 1...1, "glaunch")
      return ["glaunch": true]
    case "reexec":
      try checkCount(line, 2...2, "reexec RECORD")
      return ["reexec": value(line.words[1])]
    case "info_write":
      try checkCount(line, 2...Int.max, "info_write ITEM...")
      return ["info_write": .array(line.words.dropFirst().map(value))]
    default: return .object([line.words[0]: try argument(line)])
    }
  }

  /// KEY VALUE, KEY KIND NAME=VALUE..., or KEY alone.
  private func argument(_ line: ScriptLine) throws(InputError) -> JSON {
    let (named, plain) = (try arguments(line), line.plain)
    guard plain.count < 2, plain.isEmpty || line.words[1] == plain[0] else {
      throw problem(line, expected: "“KEY VALUE” or “KEY KIND NAME=VALUE...”", found: "“\(line.text)”")
    }
    guard named.isEmpty, plain.first.map({ IntegerText($0) != nil }) ?? true else {
      var object = JSONObject(named.map { ($0.name, value($0.value)) })
      if let kind = plain.first { object["kind"] = .text(kind) }
      return .object(object)
    }
    return plain.first.map(value) ?? true
  }

  private func operations(_ lines: [ScriptLine]) throws(InputError) -> JSON {
    var list: [JSON] = []
    for line in lines { list.append(try operation(line)) }
    return .array(list)
  }

  private func operation(_ line: ScriptLine) throws(InputError) -> JSON {
    var object: JSONObject = ["op": .text(line.words[0])]
    let named = try arguments(line)
    if let stray = line.plain.first ?? named.first(where: { $0.name == "op" }).map({ "op=\($0.value)" }) {
      throw problem(line, expected: "arguments NAME=VALUE", found: "“\(stray)”")
    }
    for (name, text) in named { object[name] = value(text) }
    return .object(object)
  }

  private func edit(_ line: ScriptLine) throws(InputError) -> JSON {
    let form = "edit ITEM delete, or edit ITEM NAME=VALUE..."
    let item = JSON(try number(line, 1, form))
    let named = try arguments(line)
    if line.words.dropFirst(2) == ["delete"] { return ["item": item, "delete": true] }
    guard !named.isEmpty, line.plain.count == 1 else { throw problem(line, expected: "“\(form)”", found: "“\(line.text)”") }
    return ["item": item, "set": .object(JSONObject(named.map { ($0.name, value($0.value)) }))]
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
