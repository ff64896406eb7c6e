import CPagingKit
import PagingKit

/// Names that `paging-vectors/1` itself gives a meaning.
enum VectorKey: String, CaseIterable {
  // The header.
  case format, arch, kind, ram
  // A case.
  case id, regs, mem, accesses, load
  // An access.
  case va, op, priv, insn, size, spec, expect, memAfter = "mem_after"
  // An outcome.
  case pa, gpa, fault, intercept, diagnostic, addr, linear, code, reads, mask
  // Remarks, for people and filters.
  case mode, mut, by, quirks, tags, disputed, note, oracle, generator, seed, policies, manualOnly = "manual_only"

  var isRemark: Bool {
    switch self {
    case .mode, .mut, .by, .quirks, .tags, .disputed, .note, .oracle, .generator, .seed, .policies, .manualOnly: true
    default: false
    }
  }
}

/// What a name in a file stands for under one architecture; -1 is nothing.
struct NameMeaning {
  var key: VectorKey?
  var register = -1
  var option = -1
  var privilege = -1
  var word = -1
  var outcome = -1
  /// For KEY_SUFFIX: the key, and the number of the suffix. It counts where a policy has the suffix as its value.
  var variantOf: VectorKey?
  var suffix = -1
  /// For mask_FEATURE: the option FEATURE, or one of a group, GROUP.FEATURE.
  var maskOfOption: Int?
}

/// A raw word of a listed operation, or a part of it.
struct WordPart {
  var word: Int
  var high: UInt8 = 63
  var low: UInt8 = 0

  static func all(of architecture: Architecture) -> [WordPart] {
    architecture.words.indices.map { WordPart(word: $0) }
      + architecture.wordFields.map { WordPart(word: Int($0.word), high: $0.high, low: $0.low) }
  }

  var mask: UInt64 { (UInt64.max >> (63 - UInt64(high - low))) << UInt64(low) }

  /// Its value, if this operation has the word.
  func value(in listed: pgk_listed_v1) -> UInt64? {
    guard word < min(8, Int(listed.word_count)) else { return nil }
    let whole = withUnsafeBytes(of: listed.words) { $0.load(fromByteOffset: word * 8, as: UInt64.self) }
    return (whole & mask) >> UInt64(low)
  }

  func set(_ value: UInt64, in listed: inout pgk_listed_v1) {
    guard word < min(8, Int(listed.word_count)) else { return }
    withUnsafeMutableBytes(of: &listed.words) { bytes in
      let whole = bytes.load(fromByteOffset: word * 8, as: UInt64.self)
      bytes.storeBytes(of: whole & ~mask | value << UInt64(low) & mask, toByteOffset: word * 8, as: UInt64.self)
    }
  }
}

/// The names of one file with their meanings under the architecture that it is for.
final class VectorNames {
  /// Far more than any set has; a file beyond it is refused.
  static let most = 1 << 16

  let architecture: Architecture
  private var table = NameTable()
  private var meanings: [NameMeaning] = []
  private var scratch: [UInt8] = []
  /// The raw words of a listed operation, and their named parts behind them.
  let wordParts: [WordPart]
  private let registers, options, privileges, words, outcomes: [String: Int]
  /// Features that are there or not, by the last part of their names.
  private let features: [String: Int]

  init(_ architecture: Architecture) {
    self.architecture = architecture
    registers = Self.index(architecture.registers.map(\.name))
    options = Self.index(architecture.options.map(\.name))
    privileges = Self.index(architecture.privileges.map(\.name))
    wordParts = WordPart.all(of: architecture)
    words = Self.index(architecture.words.map(\.name) + architecture.wordFields.map(\.name))
    outcomes = Self.index(architecture.outcomes.map(\.name))
    var features: [String: Int] = [:]
    for (index, option) in architecture.options.enumerated() where option.type == PGK_TYPE_BOOLEAN {
      let name = String(cString: option.name)
      let last = String(name.split(separator: ".").last ?? "")
      if features[last] == nil || name == last { features[last] = index }
    }
    self.features = features
  }

  private static func index(_ names: [UnsafePointer<CChar>?]) -> [String: Int] {
    var result: [String: Int] = [:]
    for (index, name) in names.enumerated() { result[String(cString: name!)] = index }
    return result
  }

  var isFull: Bool { table.count > Self.most }

  func text(_ number: Int) -> String { table.names[number] }

  @inline(__always)
  func meaning(_ number: Int) -> NameMeaning { meanings[number] }

  func number(of value: JSONValue) -> Int {
    value.hasEscapes ? number(of: value.string) : known(table.number(of: value.bytes))
  }

  func number(of text: String) -> Int { known(table.number(of: text)) }

  /// The number of PARENT.CHILD.
  func number(of parent: Int, _ child: UnsafeRawBufferPointer) -> Int {
    scratch.removeAll(keepingCapacity: true)
    scratch.append(contentsOf: table.names[parent].utf8)
    scratch.append(UInt8(ascii: "."))
    scratch.append(contentsOf: child)
    return known(scratch.withUnsafeBytes { table.number(of: $0) })
  }

  @inline(__always)
  private func known(_ number: Int) -> Int {
    if number == meanings.count { learn(number) }
    return number
  }

  private func learn(_ number: Int) {
    let name = table.names[number]
    var meaning = NameMeaning()
    meaning.key = VectorKey(rawValue: name)
    meaning.register = registers[name] ?? -1
    meaning.option = options[name] ?? -1
    meaning.privilege = privileges[name] ?? -1
    meaning.word = words[name] ?? -1
    meaning.outcome = outcomes[name] ?? -1
    if name.hasPrefix("mask_") { meaning.maskOfOption = features[String(name.dropFirst(5))] }
    meanings.append(meaning)
    for key in [VectorKey.expect, .memAfter] where name.hasPrefix(key.rawValue + "_") {
      meanings[number].variantOf = key
      // A suffix is shorter than its name, so this ends.
      meanings[number].suffix = self.number(of: String(name.dropFirst(key.rawValue.utf8.count + 1)))
    }
  }
}
