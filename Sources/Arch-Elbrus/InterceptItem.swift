// The seven words of a listed operation: an item of INTC_INFO_MU, and, without header and GPA, a record of the trap cellar.
// Kernel header kvm/mmu_hv_regs_types.h.
import CPagingKit
import PagingKit

/// The first word of an item.
enum ItemHeader {
  static let ignore_wr_rights = Field("ignore_wr_rights", 12)
  static let guest_pt_lev = Field("guest_pt_lev", 11, 9)
  static let guest_pt_lev_fin = Field("guest_pt_lev_fin", 8)
  static let event_code = Field("event_code", 7, 0)
}

/// Names of the words of a listed operation and of their parts.
enum ItemWords {
  static let count = 7
  static let names: [NamedMeaning] = [
    .init("hdr", "header: event code 7:0, guest_pt_lev_fin 8, guest_pt_lev 11:9, ignore_wr_rights 12"),
    .init("gpa", "guest-physical address"),
    .init("gva", "address of the operation; 8 on, or 16, where the second page is at fault"),
    .init("data", "store data in the byte lanes of memory; what software puts there for a read"),
    .init("condition", "condition word of the record"),
    .init("data_hi", "upper half of the data of a packed store"),
    .init("mask", "bytes of a packed store"),
  ]

  static let fields: [WordFieldDefinition] = [
    part("code", 0, ItemHeader.event_code), part("fin", 0, ItemHeader.guest_pt_lev_fin), part("lev", 0, ItemHeader.guest_pt_lev),
    part("iwr", 0, ItemHeader.ignore_wr_rights), part("ignore_wr_rights", 0, ItemHeader.ignore_wr_rights),
    WordFieldDefinition("gpa", word: 1), WordFieldDefinition("gva", word: 2), WordFieldDefinition("addr", word: 2),
    WordFieldDefinition("data", word: 3), WordFieldDefinition("data_hi", word: 5), WordFieldDefinition("mask", word: 6),
    part("ft", 4, ConditionWord.fault_type), part("lvl", 4, ConditionWord.miss_lvl), part("na", 4, ConditionWord.num_align),
    part("fmt", 4, ConditionWord.fmt), part("store", 4, ConditionWord.store), part("mas", 4, ConditionWord.mas),
    part("spec", 4, ConditionWord.spec), part("chan", 4, ConditionWord.chan), part("pm", 4, ConditionWord.pm),
    part("s_f", 4, ConditionWord.s_f), part("sru", 4, ConditionWord.sru), part("clw", 4, ConditionWord.clw),
    part("dst", 4, ConditionWord.address), WordFieldDefinition("dst?", word: 4, 9, 8),
  ]

  private static func part(_ name: String, _ word: Int, _ field: Field) -> WordFieldDefinition {
    WordFieldDefinition(name, word: word, field.high, field.low)
  }
}

extension pgk_listed_v1 {
  subscript(header field: Field) -> UInt64 {
    get { Entry(words.0)[field] }
    set {
      var word = Entry(words.0)
      word[field] = newValue
      words.0 = word.bits
    }
  }

  var condition: ConditionWord {
    get { ConditionWord(bits: words.4) }
    set { words.4 = newValue.bits }
  }

  var sevenWords: [UInt64] {
    get { [words.0, words.1, words.2, words.3, words.4, words.5, words.6] }
    set { words = (newValue[0], newValue[1], newValue[2], newValue[3], newValue[4], newValue[5], newValue[6], 0) }
  }

  var isLaterPart: Bool { flags & UInt8(PGK_LISTED_LATER_PART) != 0 }
}

extension ElbrusUnit {
  /// The operation part of the condition word, for special accesses too.
  func condition(of access: pgk_access_v1, _ value: pgk_value_v1) -> ConditionWord {
    let qualifier = qualifier(of: access, value)
    return access.isSpecial ? ConditionWord(special: access, qualifier) : ConditionWord(access, qualifier)
  }

  /// Fills the words from access and value, and what the condition says besides.
  func setWords(_ listed: inout pgk_listed_v1, code: UInt64, _ condition: ConditionWord) {
    listed.words = (0, 0, 0, 0, 0, 0, 0, 0)
    listed.word_count = UInt8(ItemWords.count)
    listed[header: ItemHeader.event_code] = code
    listed.condition = condition
    if listed.flags & UInt8(PGK_LISTED_HAS_GUEST_PHYSICAL) != 0 { listed.words.1 = listed.guest_physical }
    if listed.access.isSpecial {
      listed.words.2 = listed.value.high
      listed.words.3 = condition[ConditionWord.store] == 1 ? listed.value.low : 0
      return
    }
    let isWide = condition[ConditionWord.fmt] == 5 || condition[ConditionWord.fmt] == 7
    let step: UInt64 = condition[ConditionWord.num_align] == 0 ? 0 : isWide ? 16 : 8
    listed.words.2 = listed.access.address &+ step
    guard condition[ConditionWord.store] == 1 else { return }
    listed.words.3 = CellarRecord.rotated(listed.value.low, by: listed.access.address)
    guard condition[ConditionWord.fmt] == 7 else { return }
    listed.words.5 = CellarRecord.rotated(listed.value.high, by: listed.access.address)
    listed.words.6 = listed.value.mask == 0 ? 0xffff : UInt64(listed.value.mask)
  }

  /// An operation that is good itself, dropped because a neighbour is not.
  func describeInnocent(_ listed: inout pgk_listed_v1) {
    setWords(&listed, code: UInt64(Outcome.forced.definition.number), condition(of: listed.access, listed.value))
  }

  // MARK: Pairs

  /// 16 bytes that are not packed are a pair of 8: two items, on neighbouring channels, for neighbouring registers.
  func parts(of listed: pgk_listed_v1) -> [pgk_listed_v1] {
    let qualifier = qualifier(of: listed.access, listed.value)
    guard isPair(listed.access, qualifier) else { return [listed] }
    return [part(of: listed, qualifier, isLater: false), part(of: listed, qualifier, isLater: true)]
  }

  func isPair(_ access: pgk_access_v1, _ qualifier: AccessQualifier) -> Bool {
    let kind = UInt32(access.kind)
    // An access that moves nothing stays one.
    guard !access.isTranslateOnly else { return false }
    return access.size_log2 == 4 && !qualifier.isPacked && (kind == PGK_READ || kind == PGK_WRITE || kind == PGK_LOAD_LOCKED)
  }

  private func part(of whole: pgk_listed_v1, _ qualifier: AccessQualifier, isLater: Bool) -> pgk_listed_v1 {
    let isStore = UInt32(whole.access.kind) == PGK_WRITE
    let offset: UInt64 = isLater ? 8 : 0
    var part = whole
    part.access.size_log2 = 3
    part.access.flags |= UInt8(PGK_HAS_VALUE)
    part.access.address &+= offset
    part.fault_address &+= offset
    if part.flags & UInt8(PGK_LISTED_HAS_GUEST_PHYSICAL) != 0 { part.guest_physical &+= offset }
    part.value = pgk_value_v1()
    part.value.low = isLater ? whole.value.high : whole.value.low
    part.value.tags.0 = isLater ? whole.value.tags.1 : whole.value.tags.0
    part.value.qualifier = qualifier.half(isLater: isLater, isStore: isStore).bits
    part.flags |= UInt8(PGK_LISTED_HAS_VALUE) | (isLater ? UInt8(PGK_LISTED_LATER_PART) : 0)
    var condition = condition(of: part.access, part.value)
    for field in [ConditionWord.fault_type, ConditionWord.num_align, ConditionWord.miss_lvl] {
      condition[field] = whole.condition[field]
    }
    let header = whole.words.0
    setWords(&part, code: 0, condition)
    part.words.0 = header
    return part
  }
}
