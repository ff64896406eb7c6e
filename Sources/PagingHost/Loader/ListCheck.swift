// Registers, options, outcomes, names, caches and encoders.
import CPagingKit

extension LentMemory {
  mutating func checkRegisters(_ description: pgk_description_v1) {
    guard let registers = list(description.registers, count: description.register_count, "registers") else { return }
    var names: [String] = []
    for (index, register) in registers.enumerated() {
      let name = word(register.name, "register \(index)") ?? "\(index)"
      names.append(name)
      checkRegister(register, name)
    }
    unique(names, "registers")
    guard let key = list(description.context_key, count: description.context_key_count, "context_key") else { return }
    for index in key {
      require(
        Int(index) < registers.count, "context_key", expected: "an index below \(registers.count)", found: "\(index)")
    }
    unique(key.map { "\($0)" }, "context_key")
  }

  private mutating func checkRegister(_ register: pgk_register_v1, _ name: String) {
    let item = "register “\(name)”"
    require(name == name.lowercased(), item, expected: "lower case", found: "“\(name)”")
    _ = text(register.help, "\(item), help", mayBeEmpty: true)
    require(register.kind <= PGK_REGISTER_RECORD, "\(item), kind", expected: "0 to 3", found: "\(register.kind)")
    guard (1...64).contains(register.width) else {
      return report("\(item), width", expected: "1 to 64", found: "\(register.width)")
    }
    let bits = UInt64.max >> (64 - UInt64(register.width))
    for (member, value) in [("writable", register.writable), ("preset", register.preset)] {
      require(
        value & ~bits == 0, "\(item), \(member)", expected: "at most \(register.width) bits", found: hex(value))
    }
  }

  mutating func checkOptions(_ description: pgk_description_v1) {
    guard let options = list(description.options, count: description.option_count, "options") else { return }
    var names: [String] = []
    for (index, option) in options.enumerated() {
      let name = word(option.name, "option \(index)") ?? "\(index)"
      names.append(name)
      checkOption(option, "option “\(name)”")
    }
    unique(names, "options")
  }

  private mutating func checkOption(_ option: pgk_option_info_v1, _ item: String) {
    _ = text(option.help, "\(item), help", mayBeEmpty: true)
    require(option.kind <= PGK_OPTION_GEOMETRY, "\(item), kind", expected: "0 to 3", found: "\(option.kind)")
    guard let preset = text(option.preset, "\(item), preset") else { return }
    let presetItem = "\(item), preset"
    switch option.type {
    case PGK_TYPE_BOOLEAN:
      require(preset == "true" || preset == "false", presetItem, expected: "true or false", found: "“\(preset)”")
    case PGK_TYPE_INTEGER:
      guard option.minimum <= option.maximum else {
        return report("\(item), range", expected: "minimum up to maximum", found: "\(option.minimum) and \(option.maximum)")
      }
      let isInside = Int64(preset).map { $0 >= option.minimum && $0 <= option.maximum } ?? false
      require(isInside, presetItem, expected: "\(option.minimum) to \(option.maximum)", found: "“\(preset)”")
    case PGK_TYPE_CHOICE:
      guard let choices = list(option.choices, count: option.choice_count, "\(item), choices", atLeast: 1) else { return }
      let names = choices.compactMap { word($0, "\(item), choice") }
      unique(names, "\(item), choices")
      require(names.contains(preset), presetItem, expected: "one of its choices", found: "“\(preset)”")
    default:
      report("\(item), type", expected: "0 to 2", found: "\(option.type)")
    }
  }

  mutating func checkOutcomes(_ description: pgk_description_v1) {
    guard let outcomes = list(
      description.outcomes, count: description.outcome_count, "outcomes", atLeast: 1, atMost: 251) else { return }
    var names: [String] = []
    for (index, outcome) in outcomes.enumerated() {
      let name = text(outcome.name, "outcome \(index)") ?? "\(index)"
      names.append(name)
      _ = text(outcome.help, "outcome “\(name)”, help", mayBeEmpty: true)
      require(outcome.fault <= 1, "outcome “\(name)”, fault", expected: "0 or 1", found: "\(outcome.fault)")
    }
    unique(names, "outcomes")
    require(
      names[0] == "finished" && outcomes[0].fault == 0, "outcome 0", expected: "“finished”, which is no fault",
      found: "“\(names[0])”, fault \(outcomes[0].fault)")
  }

  mutating func checkNames(_ description: pgk_description_v1) {
    if let privileges = list(description.privileges, count: description.privilege_count, "privileges", atLeast: 1, atMost: 256) {
      unique(names(privileges.map { ($0.name, $0.help) }, "privilege", areWords: false), "privileges")
    }
    if let words = list(description.words, count: description.word_count, "words", atMost: 8) {
      unique(names(words.map { ($0.name, $0.help) }, "word", areWords: false), "words")
    }
    checkWordFields(description)
    if let counters = list(description.counters, count: description.counter_count, "counters") {
      unique(names(counters.map { ($0.name, $0.help) }, "counter"), "counters")
    }
    guard let rules = list(description.rules, count: description.rule_count, "rules") else { return }
    // A rule's name is a sentence, and two sections may state the same one.
    for (index, rule) in rules.enumerated() {
      _ = text(rule.name, "rule \(index)")
      _ = text(rule.help, "rule \(index), help", mayBeEmpty: true)
    }
  }

  private mutating func checkWordFields(_ description: pgk_description_v1) {
    guard let fields = list(description.word_fields, count: description.word_field_count, "word_fields") else { return }
    var names: [String] = []
    for (index, field) in fields.enumerated() {
      let name = text(field.name, "word field \(index)") ?? "\(index)"
      names.append(name)
      require(
        Int(field.word) < description.word_count, "word field “\(name)”, word", expected: "an index below \(description.word_count)",
        found: "\(field.word)")
      require(
        field.high < 64 && field.low <= field.high, "word field “\(name)”, bits", expected: "63 to 0, high first",
        found: "\(field.high):\(field.low)")
    }
    unique(names, "word_fields")
  }

  /// Names that are typed or become keys of a report are words; the manual's own may have blanks.
  private mutating func names(
    _ list: [(UnsafePointer<CChar>?, UnsafePointer<CChar>?)], _ item: String, areWords: Bool = true
  ) -> [String] {
    list.enumerated().map { index, pair in
      let found = areWords ? word(pair.0, "\(item) \(index)") : text(pair.0, "\(item) \(index)")
      let name = found ?? "\(index)"
      _ = text(pair.1, "\(item) “\(name)”, help", mayBeEmpty: true)
      return name
    }
  }

  mutating func checkCaches(_ description: pgk_description_v1) {
    guard let caches = list(description.caches, count: description.cache_count, "caches") else { return }
    unique(names(caches.map { ($0.name, $0.help) }, "cache"), "caches")
    for (index, cache) in caches.enumerated() {
      require(cache.kind <= PGK_CACHE_ENTRY, "cache \(index), kind", expected: "0 to 2", found: "\(cache.kind)")
      require([1, 2].contains(cache.stage), "cache \(index), stage", expected: "1 or 2", found: "\(cache.stage)")
    }
  }

  mutating func checkEncoders(_ description: pgk_description_v1) {
    guard let encoders = list(description.encoders, count: description.encoder_count, "encoders") else { return }
    unique(names(encoders.map { ($0.name, $0.help) }, "encoder"), "encoders")
    for (index, encoder) in encoders.enumerated() { checkEncoder(encoder, index) }
  }

  private mutating func checkEncoder(_ encoder: pgk_encoder_v1, _ index: Int) {
    let item = "encoder \(index)"
    function(encoder.function, "\(item), function")
    let limit = Signature.argumentLimit - 3
    if let arguments = list(encoder.argument_names, count: encoder.argument_count, "\(item), argument_names", atMost: limit) {
      unique(arguments.compactMap { word($0, "\(item), argument") }, "\(item), argument_names")
    }
    guard let text = text(encoder.signature, "\(item), signature") else { return }
    do {
      let signature = try Signature(text)
      require(
        signature.isEncoder, "\(item), signature", expected: "i32(ptr,...,ptr,ptr)", found: "“\(text)”")
      require(
        signature.arguments.count == encoder.argument_count + 3, "\(item), signature",
        expected: "\(encoder.argument_count) arguments between unit and access, one for each name", found: "“\(text)”")
    } catch {
      report("\(item), signature", expected: error.expected, found: error.found)
    }
  }
}
