// Sets by ways of tags with a word each: what TLBs and walk caches are made of.

/// A tag and what it stands for, 16 bytes. A tag of 0 is an empty place.
@frozen public struct CachedWord: Sendable {
  public var tag: UInt64
  public var payload: UInt64
  @inlinable @inline(__always) public init(tag: UInt64, payload: UInt64) {
    self.tag = tag
    self.payload = payload
  }
}

/// The shape and the places of one array, where it stays until it is deallocated.
@frozen @usableFromInline struct AssociativeStorage {
  @usableFromInline var ways: Int
  @usableFromInline var words: UnsafeMutablePointer<CachedWord>
  /// sets - 1, if `isMasked`: the number of sets is a power of two.
  @usableFromInline var setMask: UInt64
  @usableFromInline var sets: Int
  @usableFromInline var isMasked: Bool
  @usableFromInline var isLRU: Bool
  @usableFromInline var replacement: Replacement
  /// One word a set, for replacement.
  @usableFromInline var state: UnsafeMutablePointer<UInt64>
}

/// Sets by ways; any number of sets, not only powers of two.
///
/// One pointer, copied freely; the owner deallocates it once. Filled places of a set come first. With LRU they are in
/// order of use.
@frozen public struct AssociativeArray: @unchecked Sendable {
  // SAFETY: the storage belongs to one unit, which is used by one thread at a time.
  @usableFromInline let storage: UnsafeMutablePointer<AssociativeStorage>

  @inlinable @inline(__always) public var sets: Int { storage.pointee.sets }
  @inlinable @inline(__always) public var ways: Int { storage.pointee.ways }
  public var replacement: Replacement { storage.pointee.replacement }
  @inlinable @inline(__always) var words: UnsafeMutablePointer<CachedWord> { storage.pointee.words }
  @inlinable @inline(__always) var state: UnsafeMutablePointer<UInt64> { storage.pointee.state }

  /// `ways` 0 is an absent cache. At most 2^24 places.
  public init(sets: Int, ways: Int, replacement: Replacement = .lru, seed: UInt64 = 1) {
    let sets = max(1, sets)
    let words = UnsafeMutablePointer<CachedWord>.allocate(capacity: max(1, sets * ways))
    words.initialize(repeating: CachedWord(tag: 0, payload: 0), count: max(1, sets * ways))
    let state = UnsafeMutablePointer<UInt64>.allocate(capacity: sets)
    state.initialize(repeating: 0, count: sets)
    if replacement == .random {
      for set in 0..<sets { state[set] = (seed &+ UInt64(set)) &* 0x9e37_79b9_7f4a_7c15 | 1 }
    }
    storage = .allocate(capacity: 1)
    storage.initialize(to: AssociativeStorage(
      ways: ways, words: words, setMask: UInt64(sets - 1), sets: sets, isMasked: sets & (sets - 1) == 0,
      isLRU: replacement == .lru, replacement: replacement, state: state))
  }

  public func deallocate() {
    storage.pointee.words.deallocate()
    storage.pointee.state.deallocate()
    storage.deallocate()
  }

  @inlinable @inline(__always) public var isAbsent: Bool { ways == 0 }

  @inlinable @inline(__always) func set(of key: UInt64) -> Int {
    storage.pointee.isMasked
      ? Int(truncatingIfNeeded: key & storage.pointee.setMask) : Int(truncatingIfNeeded: key % UInt64(truncatingIfNeeded: sets))
  }

  @inlinable @inline(__always) func place(of key: UInt64) -> UnsafeMutablePointer<CachedWord> { words + set(of: key) &* ways }

  /// The payload of the tag, or of its alternative (the same with the identifier of all spaces), made most recent.
  ///
  /// `key` chooses the set. An absent cache holds nothing.
  @inlinable @inline(__always)
  public func find(key: UInt64, tag: UInt64, alternative: UInt64, _ payload: inout UInt64) -> Bool {
    if isAbsent { return false }
    let first = place(of: key)
    if first.pointee.tag == tag && storage.pointee.isLRU {
      payload = first.pointee.payload
      return true
    }
    let way = tag == alternative ? search(first, tag) : search(first, tag, alternative)
    if way < 0 { return false }
    payload = use(first, way, key)
    return true
  }

  /// The way that holds the tag, or -1. Four at a time, since most sets have a multiple of four ways.
  @inlinable @inline(__always)
  func search(_ first: UnsafeMutablePointer<CachedWord>, _ tag: UInt64) -> Int {
    let ways = ways
    var way = 0
    while way &+ 4 <= ways {
      if first[way].tag == tag { return way }
      if first[way &+ 1].tag == tag { return way &+ 1 }
      if first[way &+ 2].tag == tag { return way &+ 2 }
      if first[way &+ 3].tag == tag { return way &+ 3 }
      way &+= 4
    }
    while way < ways {
      if first[way].tag == tag { return way }
      way &+= 1
    }
    return -1
  }

  /// The way that holds the tag or its alternative, or -1.
  @inline(never) @inlinable
  func search(_ first: UnsafeMutablePointer<CachedWord>, _ tag: UInt64, _ alternative: UInt64) -> Int {
    for way in 0..<ways where first[way].tag == tag || first[way].tag == alternative { return way }
    return -1
  }

  /// Marks a way as used and returns its payload.
  @inline(never) @usableFromInline
  func use(_ first: UnsafeMutablePointer<CachedWord>, _ way: Int, _ key: UInt64) -> UInt64 {
    let word = first[way]
    if storage.pointee.isLRU {
      moveToFront(first, way, word)
    } else {
      replacement.touch(&state[set(of: key)], way: way, ways: ways)
    }
    return word.payload
  }

  @inlinable @inline(__always)
  func moveToFront(_ first: UnsafeMutablePointer<CachedWord>, _ way: Int, _ word: CachedWord) {
    (first + 1).update(from: first, count: way)
    first.pointee = word
  }

  /// Puts a word in, as most recent. A word with the same tag must not be there.
  @inlinable @inline(__always) public func insert(key: UInt64, _ word: CachedWord) {
    if ways == 0 { return }
    if storage.pointee.isLRU {
      moveToFront(place(of: key), ways &- 1, word)
    } else {
      insertInPlace(set(of: key), word)
    }
  }

  @inline(never) @usableFromInline func insertInPlace(_ set: Int, _ word: CachedWord) {
    let first = words + set * ways
    let way = (0..<ways).first { first[$0].tag == 0 } ?? replacement.victim(&state[set], ways: ways)
    first[way] = word
    replacement.touch(&state[set], way: way, ways: ways)
  }

  /// Replaces the payload of a tag that is there. Returns whether it was.
  public func update(key: UInt64, _ word: CachedWord) -> Bool {
    let first = words + set(of: key) * ways
    for way in 0..<ways where first[way].tag == word.tag {
      first[way].payload = word.payload
      return true
    }
    return false
  }

  /// Drops every word for which the condition holds. Cost: all places.
  public func removeAll(where condition: (CachedWord) -> Bool) {
    for set in 0..<sets { removeAll(inSet: set, where: condition) }
  }

  /// The same within the set that `key` chooses.
  public func removeAll(key: UInt64, where condition: (CachedWord) -> Bool) {
    if ways > 0 { removeAll(inSet: set(of: key), where: condition) }
  }

  private func removeAll(inSet set: Int, where condition: (CachedWord) -> Bool) {
    let first = words + set * ways
    if replacement != .lru {
      for way in 0..<ways where first[way].tag != 0 && condition(first[way]) { first[way] = CachedWord(tag: 0, payload: 0) }
      return
    }
    var kept = 0
    for way in 0..<ways where first[way].tag != 0 && !condition(first[way]) {
      first[kept] = first[way]
      kept += 1
    }
    for way in kept..<ways { first[way] = CachedWord(tag: 0, payload: 0) }
  }

  public func removeAll() {
    words.update(repeating: CachedWord(tag: 0, payload: 0), count: max(1, sets * ways))
    if replacement == .treePLRU || replacement == .clock { state.update(repeating: 0, count: sets) }
  }

  /// Calls the body for each filled place, set by set.
  public func forEach(_ body: (_ set: Int, _ way: Int, CachedWord) -> Void) {
    for set in 0..<sets {
      for way in 0..<ways where words[set * ways + way].tag != 0 { body(set, way, words[set * ways + way]) }
    }
  }

  // MARK: State

  /// Everything as words, for saving.
  public func snapshot() -> [UInt64] {
    var list: [UInt64] = []
    list.reserveCapacity(sets * ways * 2 + sets)
    for i in 0..<(sets * ways) { list += [words[i].tag, words[i].payload] }
    for i in 0..<sets { list.append(state[i]) }
    return list
  }

  /// Puts a snapshot of the same geometry back.
  public func restore(_ list: ArraySlice<UInt64>) {
    precondition(list.count == sets * ways * 2 + sets, "a snapshot of another geometry")
    var i = list.startIndex
    for place in 0..<(sets * ways) {
      words[place] = CachedWord(tag: list[i], payload: list[i + 1])
      i += 2
    }
    for set in 0..<sets { state[set] = list[i + set] }
  }
}
