// What a mapping allows, in the neutral terms of the border.
public import CPagingKit

/// Rights and properties of a mapped page, before a format's encode makes bits of them.
public struct PageAttributes: Equatable, Hashable, Sendable {
  public struct Flags: OptionSet, Hashable, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static let read = Flags(rawValue: PGK_ATTRIBUTE_READ)
    public static let write = Flags(rawValue: PGK_ATTRIBUTE_WRITE)
    public static let execute = Flags(rawValue: PGK_ATTRIBUTE_EXECUTE)
    public static let user = Flags(rawValue: PGK_ATTRIBUTE_USER)
    public static let global = Flags(rawValue: PGK_ATTRIBUTE_GLOBAL)
    public static let accessed = Flags(rawValue: PGK_ATTRIBUTE_ACCESSED)
    public static let dirty = Flags(rawValue: PGK_ATTRIBUTE_DIRTY)

    /// What hardware writes itself as pages are used.
    public static let marks: Flags = [.accessed, .dirty]
    public static let rights: Flags = [.read, .write, .execute, .user]
  }

  public var flags: Flags
  /// PGK_MEMORY_...
  public var memoryType: UInt8
  public var key: UInt8

  public init(_ flags: Flags, memoryType: UInt8 = UInt8(PGK_MEMORY_NORMAL), key: UInt8 = 0) {
    self.flags = flags
    self.memoryType = memoryType
    self.key = key
  }

  public init(_ entry: pgk_entry_v1) {
    self.init(Flags(rawValue: entry.attributes), memoryType: entry.memory_type, key: entry.key)
  }

  /// Readable, writable, executable by programs.
  public static let program = PageAttributes([.read, .write, .execute, .user])

  /// The same page with other rights; what hardware has marked stays marked.
  func keepingMarks(of old: PageAttributes) -> PageAttributes {
    var result = self
    result.flags.formUnion(old.flags.intersection(.marks))
    return result
  }
}

extension PageAttributes.Flags: CustomStringConvertible {
  /// One letter for each flag, as `rwxu-ad`.
  public var description: String {
    let letters: [(Self, Character)] = [
      (.read, "r"), (.write, "w"), (.execute, "x"), (.user, "u"), (.global, "g"), (.accessed, "a"), (.dirty, "d"),
    ]
    return String(letters.map { contains($0.0) ? $0.1 : "-" })
  }
}
