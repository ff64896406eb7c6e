import PagingKit
import Testing

/// A set-associative LRU cache as a list a set, most recent first.
private struct ListedSets {
  let ways: Int
  var sets: [[CachedWord]]

  mutating func find(_ set: Int, _ tag: UInt64) -> UInt64? {
    guard let way = sets[set].firstIndex(where: { $0.tag == tag }) else { return nil }
    let word = sets[set].remove(at: way)
    sets[set].insert(word, at: 0)
    return word.payload
  }

  mutating func insert(_ set: Int, _ word: CachedWord) {
    sets[set].insert(word, at: 0)
    if sets[set].count > ways { sets[set].removeLast() }
  }
}

@Suite struct `A set-associative array` {
  @Test(arguments: [0, 1, 2, 4, 12, 15, 16, 17, 64], [1, 3, 16])
  func `keeps what a list in order of use keeps`(_ ways: Int, _ sets: Int) {
    let seed = UInt64(ways * 100 + sets)
    var random = SplitMix64(seed: seed)
    var array = AssociativeArray(sets: sets, ways: ways)
    var model = ListedSets(ways: ways, sets: Array(repeating: [], count: sets))
    for step in 0..<6000 {
      let key = random.next(below: UInt64(sets * max(1, ways) * 2))
      let tag = 1 << 63 | key
      let set = Int(key % UInt64(sets))
      switch random.next(below: 200) {
      case 0..<190:
        var payload: UInt64 = 0
        let isThere = array.find(key: key, tag: tag, &payload)
        let expected = model.find(set, tag)
        #expect(isThere == (expected != nil) && (!isThere || payload == expected), "seed \(seed), step \(step)")
        if !isThere {
          let word = CachedWord(tag: tag, payload: random.next())
          array.insert(key: key, word)
          model.insert(set, word)
        }
      case 190..<198:
        let bit = random.next(below: 3)
        array.removeAll(key: key) { $0.payload >> bit & 1 == 1 }
        model.sets[set].removeAll { $0.payload >> bit & 1 == 1 }
      case 198:
        array.removeAll { $0.tag & 1 == 1 }
        for set in 0..<sets { model.sets[set].removeAll { $0.tag & 1 == 1 } }
      default:
        let words = array.snapshot()
        array.deallocate()
        array = AssociativeArray(sets: sets, ways: ways)
        #expect(array.accepts(words[...]))
        array.restore(words[...])
      }
    }
    var kept: [[UInt64]] = Array(repeating: [], count: sets)
    array.forEach { set, way, word in
      #expect(way == kept[set].count, "set \(set) is not numbered from the most recent way")
      kept[set].append(word.tag)
    }
    #expect(kept == model.sets.map { $0.map(\.tag) }, "seed \(seed)")
    array.deallocate()
  }

  @Test func `takes no words back whose order of use names a way twice or a way that is not there`() {
    let array = AssociativeArray(sets: 2, ways: 4)
    var words = array.snapshot()
    #expect(array.accepts(words[...]))
    words[9] = 0x0010
    #expect(!array.accepts(words[...]))
    words[9] = 0x4210
    #expect(!array.accepts(words[...]))
    #expect(!array.accepts(words.dropLast()))
    array.deallocate()
  }
}
