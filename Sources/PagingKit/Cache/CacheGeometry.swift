// Sets and ways of every cache of a unit, from its options.

/// The shape of one cache. 0 ways is an absent cache.
public struct CacheShape: Equatable, Sendable {
  public var sets: Int
  public var ways: Int
  public init(sets: Int, ways: Int) {
    self.sets = sets
    self.ways = ways
  }
}

/// Sets and ways of all caches by name, and how they replace.
public struct CacheGeometry: Sendable {
  /// Every cache that the core knows, with the shape when nothing is said: the geometry of the bench's floor.
  public static let presets: [(name: String, help: String, shape: CacheShape)] = [
    ("tlb.l1", "first-level TLB", CacheShape(sets: 16, ways: 4)),
    ("tlb.l1i", "first-level TLB for fetches; 0 ways: tlb.l1 serves them", CacheShape(sets: 1, ways: 0)),
    ("tlb.l2", "second-level TLB", CacheShape(sets: 128, ways: 12)),
    ("tlb.nested", "nested TLB, from guest-physical to physical", CacheShape(sets: 1, ways: 0)),
    ("pwc.level1", "walk cache by address prefix, entries read at level 1", CacheShape(sets: 8, ways: 4)),
    ("pwc.level2", "walk cache by address prefix, entries read at level 2", CacheShape(sets: 1, ways: 4)),
    ("pwc.level3", "walk cache by address prefix, entries read at level 3", CacheShape(sets: 1, ways: 2)),
    ("pwc.level4", "walk cache by address prefix, entries read at level 4", CacheShape(sets: 1, ways: 0)),
    ("pwc2.level1", "second-stage walk cache, entries read at level 1", CacheShape(sets: 1, ways: 0)),
    ("pwc2.level2", "second-stage walk cache, entries read at level 2", CacheShape(sets: 1, ways: 0)),
    ("pwc2.level3", "second-stage walk cache, entries read at level 3", CacheShape(sets: 1, ways: 0)),
    ("pwc2.level4", "second-stage walk cache, entries read at level 4", CacheShape(sets: 1, ways: 0)),
    ("entrycache", "walk cache by entry address", CacheShape(sets: 1, ways: 0)),
  ]

  public static let replacementNames = ["lru", "plru", "clock", "random"]
  public static let maximumSets: Int64 = 1 << 16
  public static let maximumWays: Int64 = 4096

  private var shapes: [String: CacheShape]
  public var replacement: Replacement = .lru
  public var seed: UInt64 = 1

  public init() { shapes = Dictionary(uniqueKeysWithValues: Self.presets.map { ($0.name, $0.shape) }) }

  public init(_ options: OptionValues) {
    self.init()
    for preset in Self.presets {
      shapes[preset.name] = CacheShape(
        sets: Int(options.integer(preset.name + ".sets")), ways: Int(options.integer(preset.name + ".ways")))
    }
    replacement = Replacement(rawValue: UInt8(Self.replacementNames.firstIndex(of: options.choice("tlb.replacement")) ?? 0)) ?? .lru
    seed = UInt64(options.integer("tlb.seed"))
  }

  public subscript(name: String) -> CacheShape { shapes[name] ?? CacheShape(sets: 1, ways: 0) }
}
