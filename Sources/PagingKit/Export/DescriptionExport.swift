// A definition in Swift becomes the description of the C border.
import CPagingKit

extension ArchitectureDefinition {
  /// The C description, made anew by each call; a library makes it once.
  func exported() -> UnsafePointer<pgk_description_v1> {
    var d = pgk_description_v1()
    d.size = UInt32(MemoryLayout<pgk_description_v1>.size)
    d.abi = PGK_ABI
    d.name = CArena.string(name)
    d.title = CArena.string(title)
    d.version = CArena.string(version)
    d.reference = CArena.string(reference)
    (d.formats, d.format_count) = (CArena.array(formats.map { $0.exported() }), formats.count)
    (d.regimes, d.regime_count) = (CArena.array(regimes.map { $0.exported() }), regimes.count)
    (d.registers, d.register_count) = (CArena.array(registers.map { $0.exported() }), registers.count)
    (d.options, d.option_count) = (CArena.array(options.map { $0.exported() }), options.count)
    (d.privileges, d.privilege_count) = (
      CArena.array(privileges.map { pgk_privilege_v1(name: CArena.string($0.name), help: CArena.string($0.help)) }), privileges.count
    )
    (d.outcomes, d.outcome_count) = (CArena.array(outcomes.map { $0.exported() }), outcomes.count)
    (d.words, d.word_count) = Self.exported(words)
    (d.word_fields, d.word_field_count) = (CArena.array(wordFields.map { $0.exported() }), wordFields.count)
    (d.rules, d.rule_count) = Self.exported(rules)
    (d.counters, d.counter_count) = Self.exported(Counters.names.map { NamedMeaning($0.name, $0.help) })
    (d.caches, d.cache_count) = (CArena.array(CacheDefinition.common.map { $0.exported() }), CacheDefinition.common.count)
    (d.encoders, d.encoder_count) = (CArena.array(encoders.map { $0.exported() }), encoders.count)
    d.verdicts = verdicts.reduce(0) { $0 | 1 << $1 }
    d.identifier_bits = identifierBits
    let key = contextKey.map { name in UInt32(registers.firstIndex { $0.name == name }!) }
    (d.context_key, d.context_key_count) = (CArena.array(key), key.count)
    return CArena.value(d)
  }

  private static func exported(_ names: [NamedMeaning]) -> (UnsafePointer<pgk_name_v1>, Int) {
    (CArena.array(names.map { pgk_name_v1(name: CArena.string($0.name), help: CArena.string($0.help)) }), names.count)
  }
}

extension FormatDefinition {
  func exported() -> pgk_format_v1 {
    var f = pgk_format_v1()
    f.name = CArena.string(name)
    f.title = CArena.string(title)
    f.reference = CArena.string(reference)
    f.entry_bytes = UInt8(radix.entryBytes)
    f.stage = stage
    f.input_bits = UInt8(radix.inputBits)
    f.output_bits = outputBits
    f.sign_extended = isSignExtended ? 1 : 0
    f.root_alignment_shift = rootAlignmentShift
    f.attributes = attributes
    let list = levels.enumerated().map { i, level in
      pgk_level_v1(
        name: CArena.string(level.name), index_bits: UInt8(radix.indexBits(i)), shift: UInt8(radix.shift(i)),
        leaf: level.mayBeLeaf ? 1 : 0, reserved: 0, reserved2: 0)
    }
    (f.levels, f.level_count) = (CArena.array(list), list.count)
    (f.layouts, f.layout_count) = (CArena.array(layouts.map { $0.exported() }), layouts.count)
    return f
  }
}

extension EntryLayout {
  func exported() -> pgk_entry_layout_v1 {
    let list = fields.map {
      pgk_field_v1(name: CArena.string($0.name.description), high: $0.high, low: $0.low, reserved: 0, reserved2: 0)
    }
    return pgk_entry_layout_v1(
      name: CArena.string(name), kind: kind.rawValue, level_mask: levels.reduce(0) { $0 | 1 << UInt32($1) },
      fields: CArena.array(list), field_count: list.count)
  }
}

extension RegimeDefinition {
  func exported() -> pgk_regime_v1 {
    pgk_regime_v1(
      name: CArena.string(name), help: CArena.string(help), first_format: first.map { UInt8($0) } ?? UInt8(PGK_NO_FORMAT),
      second_format: second.map { UInt8($0) } ?? UInt8(PGK_NO_FORMAT), user: UInt8(user), supervisor: UInt8(supervisor), reserved: 0)
  }
}

extension RegisterDefinition {
  func exported() -> pgk_register_v1 {
    pgk_register_v1(
      name: CArena.string(name), help: CArena.string(help), width: width, kind: kind.rawValue, writable: writable, preset: preset)
  }
}

extension OutcomeDefinition {
  func exported() -> pgk_outcome_v1 {
    pgk_outcome_v1(name: CArena.string(name), help: CArena.string(help), number: number, fault: isFault ? 1 : 0)
  }
}

extension WordFieldDefinition {
  func exported() -> pgk_word_field_v1 {
    pgk_word_field_v1(name: CArena.string(name), word: UInt8(word), high: high, low: low, reserved: 0, reserved2: 0)
  }
}

extension CacheDefinition {
  func exported() -> pgk_cache_v1 {
    pgk_cache_v1(name: CArena.string(name), help: CArena.string(help), kind: kind.rawValue, stage: stage)
  }
}

extension EncoderDefinition {
  func exported() -> pgk_encoder_v1 {
    pgk_encoder_v1(
      name: CArena.string(name), signature: CArena.string(signature),
      argument_names: CArena.array(arguments.map { Optional(CArena.string($0)) }), argument_count: arguments.count,
      help: CArena.string(help), function: function)
  }
}

extension Option {
  func exported() -> pgk_option_info_v1 {
    var o = pgk_option_info_v1()
    o.name = CArena.string(name)
    o.help = CArena.string(help)
    o.preset = CArena.string(preset)
    o.kind = kind.rawValue
    switch values {
    case .boolean: o.type = PGK_TYPE_BOOLEAN
    case .integer(_, let range):
      o.type = PGK_TYPE_INTEGER
      (o.minimum, o.maximum) = (range.lowerBound, range.upperBound)
    case .choice(_, let list):
      o.type = PGK_TYPE_CHOICE
      (o.choices, o.choice_count) = (CArena.array(list.map { Optional(CArena.string($0)) }), list.count)
    }
    return o
  }
}
