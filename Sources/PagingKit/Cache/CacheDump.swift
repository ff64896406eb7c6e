// The valid entries of a cache, for people.
import CPagingKit

extension UnitModel {
  /// Entries of a cache of `CacheDefinition.common`, set by set.
  func dump(cache index: Int) throws(Refusal) -> [pgk_cached_v1] {
    let caches = state.engine.caches
    switch index {
    case 0: return dump(caches.l1)
    case 1: return dump(caches.l1i)
    case 2: return dump(caches.l2)
    case 3: return dump(caches.nested)
    case 4: return dump(caches.prefix, stage: 1)
    case 5: return dump(caches.secondPrefix, stage: 2)
    case 6: return dumpEntries(caches.entries)
    default: throw Refusal(PGK_E_ARGUMENT, "cache \(index) of \(CacheDefinition.common.count)")
    }
  }

  private func cached(set: Int, way: Int, _ tag: PageTag) -> pgk_cached_v1 {
    var entry = pgk_cached_v1()
    entry.set = UInt32(set)
    entry.way = UInt32(way)
    let identifiers = state.contexts.identifiers(of: tag.context)
    entry.identifier = identifiers.space
    entry.machine_identifier = identifiers.machine
    if identifiers.isGlobal { entry.flags |= UInt8(PGK_CACHED_GLOBAL) }
    return entry
  }

  private func dump(_ tlb: TLB) -> [pgk_cached_v1] {
    var list: [pgk_cached_v1] = []
    tlb.array.forEach { set, way, word in
      let tag = PageTag(bits: word.tag)
      let translation = Translation(bits: word.payload)
      var entry = cached(set: set, way: way, tag)
      let shift = tlb.sizes.shift(ofClass: tag.sizeClass)
      entry.input = tag.pageNumber << shift
      entry.output = translation.page
      entry.page_shift = UInt8(shift)
      entry.rights = translation.rights.rawValue
      entry.level = translation.level
      if translation.isNegative { entry.flags |= UInt8(PGK_CACHED_NEGATIVE) }
      if translation.rights.has(.dirty) { entry.flags |= UInt8(PGK_CACHED_DIRTY) }
      list.append(entry)
    }
    return list
  }

  private func dump(_ prefixes: PrefixWalkCaches, stage: Int) -> [pgk_cached_v1] {
    var list: [pgk_cached_v1] = []
    let regime = regimeIndex.map { Self.definition.regimes[$0] }
    guard let format = stage == 1 ? regime?.first : regime?.second else { return [] }
    let radix = Self.definition.formats[format].radix
    for level in 1..<TranslationCaches.prefixLevels where level < radix.levelCount {
      prefixes[level].array.forEach { set, way, word in
        let tag = PageTag(bits: word.tag)
        var entry = cached(set: set, way: way, tag)
        entry.input = tag.pageNumber << radix.shift(level)
        entry.output = word.payload >> 8
        entry.page_shift = UInt8(radix.shift(level))
        entry.rights = UInt8(truncatingIfNeeded: word.payload)
        entry.level = UInt8(level)
        list.append(entry)
      }
    }
    return list
  }

  private func dumpEntries(_ entries: EntryWalkCache) -> [pgk_cached_v1] {
    var list: [pgk_cached_v1] = []
    entries.array.forEach { set, way, word in
      var entry = pgk_cached_v1()
      entry.set = UInt32(set)
      entry.way = UInt32(way)
      entry.input = word.tag & ~1
      entry.output = word.payload
      list.append(entry)
    }
    return list
  }
}
