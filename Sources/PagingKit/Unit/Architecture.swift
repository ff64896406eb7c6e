// How Swift code on the host's side sees a back end: the C table, with names looked up. Linked-in and loaded back ends
// are the same to it.
public import CPagingKit

/// One architecture behind the C border, loaded or linked in.
///
/// The table must have been checked: by the loader, or because this image exported it.
public struct Architecture: @unchecked Sendable {
  // SAFETY: the table and everything it points to is immutable and lives as long as the library, which is never unloaded.
  public let table: UnsafePointer<pgk_arch_v1>

  public init(table: UnsafePointer<pgk_arch_v1>) { self.table = table }

  public var description: pgk_description_v1 { table.pointee.description.pointee }
  public var name: String { String(cString: description.name) }
  public var title: String { String(cString: description.title) }

  public var formats: UnsafeBufferPointer<pgk_format_v1> { .init(start: description.formats, count: description.format_count) }
  public var regimes: UnsafeBufferPointer<pgk_regime_v1> { .init(start: description.regimes, count: description.regime_count) }
  public var registers: UnsafeBufferPointer<pgk_register_v1> { .init(start: description.registers, count: description.register_count) }
  public var options: UnsafeBufferPointer<pgk_option_info_v1> { .init(start: description.options, count: description.option_count) }
  public var privileges: UnsafeBufferPointer<pgk_privilege_v1> { .init(start: description.privileges, count: description.privilege_count) }
  public var outcomes: UnsafeBufferPointer<pgk_outcome_v1> { .init(start: description.outcomes, count: description.outcome_count) }
  public var words: UnsafeBufferPointer<pgk_name_v1> { .init(start: description.words, count: description.word_count) }
  public var wordFields: UnsafeBufferPointer<pgk_word_field_v1> { .init(start: description.word_fields, count: description.word_field_count) }
  public var rules: UnsafeBufferPointer<pgk_name_v1> { .init(start: description.rules, count: description.rule_count) }
  public var counters: UnsafeBufferPointer<pgk_name_v1> { .init(start: description.counters, count: description.counter_count) }
  public var caches: UnsafeBufferPointer<pgk_cache_v1> { .init(start: description.caches, count: description.cache_count) }
  public var encoders: UnsafeBufferPointer<pgk_encoder_v1> { .init(start: description.encoders, count: description.encoder_count) }

  public func regimeIndex(named name: String) -> Int? { regimes.firstIndex { String(cString: $0.name) == name } }
  public func formatIndex(named name: String) -> Int? { formats.firstIndex { String(cString: $0.name) == name } }
  public func registerIndex(named name: String) -> Int? { registers.firstIndex { String(cString: $0.name) == name } }
  public func privilegeIndex(named name: String) -> Int? { privileges.firstIndex { String(cString: $0.name) == name } }
  public func encoderIndex(named name: String) -> Int? { encoders.firstIndex { String(cString: $0.name) == name } }
  public func cacheIndex(named name: String) -> Int? { caches.firstIndex { String(cString: $0.name) == name } }

  public func hasVerdict(_ kind: UInt32) -> Bool { description.verdicts & (1 << kind) != 0 }

  public func outcomeName(_ index: UInt8) -> String {
    switch UInt32(index) {
    case UInt32(PGK_OUTCOME_LISTED): "listed"
    case UInt32(PGK_OUTCOME_DROPPED): "dropped"
    default: Int(index) < outcomes.count ? String(cString: outcomes[Int(index)].name) : "outcome \(index)"
    }
  }

  public func ruleName(_ index: UInt32) -> String {
    Int(index) < rules.count ? String(cString: rules[Int(index)].name) : "rule \(index)"
  }
}
