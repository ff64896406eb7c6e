import CPagingKit
import PagingKit

/// What a back end made of one access or one load of registers.
struct VectorFound {
  /// Index into the declared outcomes.
  var outcome: UInt8 = 0
  var result = pgk_result_v1()
  /// The pending operation, if the access was listed; for a load, only its code and words.
  var listed: pgk_listed_v1?
  /// Of a finished access, as an observer saw it.
  var guestPhysical: UInt64?
  /// The call was refused, in the back end's words.
  var refusal: String?

  init() {}

  init(load: pgk_register_outcome_v1) {
    outcome = load.outcome
    guard load.outcome != UInt8(PGK_OUTCOME_FINISHED) else { return }
    var listed = pgk_listed_v1()
    listed.outcome = load.outcome
    listed.code = load.code
    listed.word_count = load.word_count
    listed.words = load.words
    self.listed = listed
  }

  /// A raw word, if this outcome has it.
  private func word(_ index: Int) -> UInt64? { listed.flatMap(WordPart(word: index).value) }

  /// What was found for a quantity; nil if this outcome has no such thing. `gpaWord`: the raw word of that name.
  func value(of quantity: VectorCheck.Quantity, gpaWord: WordPart?) -> UInt64? {
    switch quantity {
    case .output: listed == nil ? result.output : nil
    case .entryReads: UInt64(listed?.entry_reads ?? result.entry_reads)
    case .faultAddress: listed?.fault_address
    case .code: listed.map { UInt64($0.code) }
    case .word(let part): listed.flatMap(part.value)
    case .guestPhysical:
      if let listed {
        gpaWord?.value(in: listed) ?? (UInt32(listed.flags) & PGK_LISTED_HAS_GUEST_PHYSICAL != 0 ? listed.guest_physical : nil)
      } else {
        guestPhysical
      }
    }
  }

  func has(_ outcome: VectorExpectation.Outcome, in architecture: Architecture) -> Bool {
    guard refusal == nil else { return false }
    return switch outcome {
    case .finished: self.outcome == UInt8(PGK_OUTCOME_FINISHED)
    case .declared(let index): Int(self.outcome) == index
    case .numbered(let number):
      Int(self.outcome) < architecture.outcomes.count && architecture.outcomes[Int(self.outcome)].number == number
        && architecture.outcomes[Int(self.outcome)].fault != 0
    }
  }

  /// All of it in one line.
  func text(in architecture: Architecture) -> String {
    if let refusal { return "a refusal: \(refusal)" }
    guard let listed else {
      let output = outcome == UInt8(PGK_OUTCOME_FINISHED) ? "" : " (\(architecture.outcomeName(outcome)))"
      return "finished\(output) at \(hex(result.output))"
    }
    var text = Self.name(of: Int(outcome), in: architecture) + ", address \(hex(listed.fault_address))"
    if UInt32(listed.flags) & PGK_LISTED_HAS_GUEST_PHYSICAL != 0 {
      text += ", guest-physical \(hex(listed.guest_physical))"
    }
    for index in 0..<Int(listed.word_count) where index < architecture.words.count {
      text += ", \(String(cString: architecture.words[index].name)) \(word(index).map(hex) ?? "-")"
    }
    return text
  }

  static func name(of outcome: Int, in architecture: Architecture) -> String {
    let name = architecture.outcomeName(UInt8(truncatingIfNeeded: outcome))
    guard outcome < architecture.outcomes.count, architecture.outcomes[outcome].number >= 0 else { return name }
    return "\(name) (\(architecture.outcomes[outcome].number))"
  }
}
