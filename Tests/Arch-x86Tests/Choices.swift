// Every answer that follows from words of which each held one of several values, as walk caches may remember them.
import PagingKit

/// Every way to choose, one choice after another. What is open later may depend on what was chosen before.
final class Choice {
  private var picks: [(index: Int, count: Int)] = []
  private var position = 0

  func begin() { position = 0 }

  /// One of so many.
  func pick(_ count: Int) -> Int {
    if position == picks.count { picks.append((0, count)) }
    defer { position += 1 }
    return picks[position].index
  }

  /// The next combination; false when all have been.
  func advance() -> Bool {
    picks.removeLast(picks.count - position)
    while let last = picks.last {
      if last.index + 1 < last.count {
        picks[picks.count - 1].index += 1
        return true
      }
      picks.removeLast()
    }
    return false
  }
}

/// Words that each held one of several values; a walk sees the same one if it reads a word again.
final class ChosenWords {
  private let choice: Choice
  private let values: (UInt64) -> [UInt64]
  private var chosen: [UInt64: UInt64] = [:]

  init(_ choice: Choice, _ values: @escaping (UInt64) -> [UInt64]) {
    self.choice = choice
    self.values = values
  }

  func begin() { chosen = [:] }

  func word(_ slot: UInt64) -> UInt64 {
    if let value = chosen[slot] { return value }
    let values = values(slot)
    let value = values[choice.pick(values.count)]
    chosen[slot] = value
    return value
  }
}

/// A second stage that may answer with whatever follows from entries as they were. Each answer is found once.
final class OldSecondStage {
  private let choice: Choice
  private let processor: JudgedProcessor
  private let values: (UInt64) -> [UInt64]
  private var answers: [Question: [Result<UInt64, Refused>]] = [:]

  private struct Question: Hashable {
    let gpa: UInt64
    let use: Judge.LowerUse
  }

  init(_ choice: Choice, _ processor: JudgedProcessor, _ values: @escaping (UInt64) -> [UInt64]) {
    self.choice = choice
    self.processor = processor
    self.values = values
  }

  func translate(_ gpa: UInt64, _ use: Judge.LowerUse, _ walk: (Judge) throws(Refused) -> UInt64) throws(Refused) -> UInt64 {
    let question = Question(gpa: gpa, use: use)
    let known = answers[question] ?? every(walk)
    answers[question] = known
    return try known[choice.pick(known.count)].get()
  }

  /// Every answer that the words allow.
  private func every(_ walk: (Judge) throws(Refused) -> UInt64) -> [Result<UInt64, Refused>] {
    let choice = Choice()
    let words = ChosenWords(choice, values)
    var found: [Result<UInt64, Refused>] = []
    repeat {
      choice.begin()
      words.begin()
      let judge = Judge(processor, JudgedMemory(word: { words.word($0) }))
      let answer = Result { () throws(Refused) in try walk(judge) }
      if !found.contains(where: { Self.isSame($0, answer) }) { found.append(answer) }
    } while choice.advance()
    return found
  }

  private static func isSame(_ one: Result<UInt64, Refused>, _ other: Result<UInt64, Refused>) -> Bool {
    switch (one, other) {
    case (.success(let a), .success(let b)): a == b
    case (.failure(let a), .failure(let b)): a.ruling == b.ruling
    default: false
    }
  }
}
