// What a back end says of itself, in Swift. Export turns it into the C description once.
import CPagingKit

/// One of the manual's tables: an entry that maps, or one that points. The fields tile the entry.
public struct EntryLayout: Sendable {
  public enum Kind: UInt32, Sendable { case table = 1, leaf = 2 }
  public let name: String
  public let kind: Kind
  /// Levels at which it occurs.
  public let levels: [Int]
  public let fields: [Field]

  public init(_ name: String, _ kind: Kind, levels: [Int], _ fields: [Field]) {
    self.name = name
    self.kind = kind
    self.levels = levels
    self.fields = fields
  }
}

/// A page-table format as data.
public struct FormatDefinition: Sendable {
  public struct Level: Sendable {
    public let name: String
    public let mayBeLeaf: Bool
    public init(_ name: String, mayBeLeaf: Bool) {
      self.name = name
      self.mayBeLeaf = mayBeLeaf
    }
  }

  public let name: String
  public let title: String
  public let reference: String
  public let radix: Radix
  public let stage: UInt8
  public let outputBits: UInt8
  public let isSignExtended: Bool
  public let rootAlignmentShift: UInt8
  /// PGK_ATTRIBUTE_... that a leaf expresses.
  public let attributes: UInt32
  /// Level 0 first.
  public let levels: [Level]
  public let layouts: [EntryLayout]

  public init(
    name: String, title: String, reference: String, radix: Radix, stage: UInt8 = 1, outputBits: UInt8, isSignExtended: Bool,
    rootAlignmentShift: UInt8 = 12, attributes: UInt32, levels: [Level], layouts: [EntryLayout]
  ) {
    precondition(levels.count == radix.levelCount, "\(name): names for \(levels.count) levels of \(radix.levelCount)")
    self.name = name
    self.title = title
    self.reference = reference
    self.radix = radix
    self.stage = stage
    self.outputBits = outputBits
    self.isSignExtended = isSignExtended
    self.rootAlignmentShift = rootAlignmentShift
    self.attributes = attributes
    self.levels = levels
    self.layouts = layouts
  }
}

public struct RegimeDefinition: Sendable {
  public let name: String
  public let help: String
  /// Indices into the formats; nil for a bare stage.
  public let first: Int?
  public let second: Int?
  /// Privileges of programs and of the kernel, indices.
  public let user: Int
  public let supervisor: Int

  public init(_ name: String, _ help: String, first: Int?, second: Int? = nil, user: Int, supervisor: Int) {
    self.name = name
    self.help = help
    self.first = first
    self.second = second
    self.user = user
    self.supervisor = supervisor
  }
}

public struct RegisterDefinition: Sendable {
  public enum Kind: UInt32, Sendable { case control, qualifier, status, record }
  public let name: String
  public let width: UInt32
  public let writable: UInt64
  public let preset: UInt64
  public let kind: Kind
  public let help: String

  public init(_ name: String, width: UInt32 = 64, writable: UInt64 = .max, preset: UInt64 = 0, kind: Kind = .control, _ help: String) {
    self.name = name
    self.width = width
    self.writable = width == 64 ? writable : writable & ((1 << UInt64(width)) - 1)
    self.preset = preset
    self.kind = kind
    self.help = help
  }
}

public struct OutcomeDefinition: Sendable {
  public let name: String
  public let number: Int32
  public let isFault: Bool
  public let help: String

  public init(_ name: String, number: Int32 = -1, isFault: Bool = true, _ help: String) {
    self.name = name
    self.number = number
    self.isFault = isFault
    self.help = help
  }
}

/// A name and what it means.
public struct NamedMeaning: Sendable {
  public let name: String
  public let help: String
  public init(_ name: String, _ help: String) {
    self.name = name
    self.help = help
  }
}

/// A part of a raw word by name. One named NAME? says by being other than 0 that NAME is meant.
public struct WordFieldDefinition: Sendable {
  public let name: String
  public let word: Int
  public let high: UInt8
  public let low: UInt8

  public init(_ name: String, word: Int, _ high: UInt8 = 63, _ low: UInt8 = 0) {
    self.name = name
    self.word = word
    self.high = high
    self.low = low
  }
}

public struct CacheDefinition: Sendable {
  public enum Kind: UInt32, Sendable { case tlb, prefix, entry }
  public let name: String
  public let kind: Kind
  public let stage: UInt32
  public let help: String

  /// The caches of every unit, in the order in which the core dumps them.
  public static let common: [CacheDefinition] = [
    CacheDefinition(name: "tlb.l1", kind: .tlb, stage: 1, help: "first-level TLB"),
    CacheDefinition(name: "tlb.l1i", kind: .tlb, stage: 1, help: "first-level TLB for fetches"),
    CacheDefinition(name: "tlb.l2", kind: .tlb, stage: 1, help: "second-level TLB"),
    CacheDefinition(name: "tlb.nested", kind: .tlb, stage: 2, help: "nested TLB, from guest-physical to physical"),
    CacheDefinition(name: "pwc", kind: .prefix, stage: 1, help: "walk caches by address prefix"),
    CacheDefinition(name: "pwc2", kind: .prefix, stage: 2, help: "second-stage walk caches by address prefix"),
    CacheDefinition(name: "entrycache", kind: .entry, stage: 1, help: "walk cache by entry address"),
  ]
}

/// An exported encoder. `function` is a C function with the signature.
public struct EncoderDefinition: @unchecked Sendable {
  // SAFETY: the function pointer is code.
  public let name: String
  public let signature: String
  public let arguments: [String]
  public let help: String
  public let function: @convention(c) () -> Void

  /// `function` is written as a closure with `as @convention(c)` and the signature's types.
  public init<Function>(_ name: String, _ signature: String, _ arguments: [String], _ help: String, function: Function) {
    self.name = name
    self.signature = signature
    self.arguments = arguments
    self.help = help
    // SAFETY: the caller gives a C function; the host casts it back to the signature before it calls it.
    self.function = unsafeBitCast(function, to: (@convention(c) () -> Void).self)
  }
}

/// Everything a back end declares.
public struct ArchitectureDefinition: Sendable {
  public var name: String
  public var title: String
  public var version: String
  public var reference: String
  public var formats: [FormatDefinition]
  public var regimes: [RegimeDefinition]
  public var registers: [RegisterDefinition]
  /// Its own options; `Option.common` comes behind them.
  public var options: [Option]
  public var privileges: [NamedMeaning]
  public var outcomes: [OutcomeDefinition]
  public var words: [NamedMeaning]
  public var wordFields: [WordFieldDefinition]
  /// name: the rule in words; help: section title.
  public var rules: [NamedMeaning]
  public var encoders: [EncoderDefinition]
  public var verdicts: [UInt32]
  public var identifierBits: UInt32
  /// Names of registers.
  public var contextKey: [String]

  public init(
    name: String, title: String, version: String, reference: String, formats: [FormatDefinition], regimes: [RegimeDefinition],
    registers: [RegisterDefinition], options: [Option], privileges: [NamedMeaning], outcomes: [OutcomeDefinition],
    words: [NamedMeaning], wordFields: [WordFieldDefinition] = [], rules: [NamedMeaning], encoders: [EncoderDefinition], verdicts: [UInt32], identifierBits: UInt32,
    contextKey: [String]
  ) {
    self.name = name
    self.title = title
    self.version = version
    self.reference = reference
    self.formats = formats
    self.regimes = regimes
    self.registers = registers
    self.options = options + Option.common
    self.privileges = privileges
    self.outcomes = [OutcomeDefinition("finished", isFault: false, "the access is done")] + outcomes
    self.words = words
    self.wordFields = wordFields
    self.rules = rules
    self.encoders = encoders
    self.verdicts = verdicts
    self.identifierBits = identifierBits
    self.contextKey = contextKey
  }

  /// Verdicts that a machine with precise faults has.
  public static let preciseVerdicts: [UInt32] = [
    PGK_VERDICT_LEAVE, PGK_VERDICT_REPLAY, PGK_VERDICT_COMPLETE, PGK_VERDICT_REPLACE, PGK_VERDICT_DROP, PGK_VERDICT_REFLECT,
  ]
}
