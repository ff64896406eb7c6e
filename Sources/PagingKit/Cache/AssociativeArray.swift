// Sets by ways of tags with a word each: what TLBs and walk caches are made of.

/// A tag and what it stands for. A tag of 0 is an empty place.
@frozen public struct CachedWord: Sendable {
  public var tag: UInt64
  public var payload: UInt64
  @inlinable @inline(__always) public init(tag: UInt64, payload: UInt64) {
    self.tag = tag
    self.payload = payload
  }
}

/// The shape of an array, and where its words are.
@frozen @usableFromInline struct AssociativeShape {
  /// A set is a block: a word of state for replacement, then the tags, then the payloads.
  @usableFromInline let blocks: UnsafeMutablePointer<UInt64>
  @usableFromInline let ways: Int
  /// Words of a block.
  @usableFromInline let stride: Int
  /// sets - 1, if `isMasked`: the number of sets is a power of two.
  @usableFromInline let setMask: UInt64
  @usableFromInline let isMasked: Bool
  @usableFromInline let order: Order
  /// Where a listed order names the way that makes room.
  @usableFromInline let victimShift: UInt8
  @usableFromInline let replacement: Replacement
  @usableFromInline let sets: Int

  /// How replacement keeps its state.
  @frozen @usableFromInline enum Order: UInt8, Sendable {
    /// LRU of up to 16 ways: the state names the ways in order of use, four bits each, the most recent lowest.
    case listed
    /// LRU of more ways, or of none: the places themselves are in order of use.
    case placed
    /// The state is the replacement's own.
    case other
  }

  init(sets: Int, ways: Int, _ replacement: Replacement) {
    self.sets = sets
    self.ways = ways
    self.replacement = replacement
    stride = 1 + 2 * ways
    setMask = UInt64(sets - 1)
    isMasked = sets & (sets - 1) == 0
    order = replacement != .lru ? .other : (1...16).contains(ways) ? .listed : .placed
    victimShift = order == .listed ? UInt8(4 * (ways - 1)) : 0
    blocks = .allocate(capacity: sets * stride)
    blocks.initialize(repeating: 0, count: sets * stride)
  }
}

/// Sets by ways; any number of sets, not only powers of two.
///
/// One pointer, copied freely; the owner deallocates it once.
@frozen public struct AssociativeArray: @unchecked Sendable {
  // SAFETY: shape and blocks belong to one unit, which is used by one thread at a time.
  @usableFromInline let shape: UnsafeMutablePointer<AssociativeShape>

  @inlinable @inline(__always) public var sets: Int { shape.pointee.sets }
  @inlinable @inline(__always) public var ways: Int { shape.pointee.ways }
  public var replacement: Replacement { shape.pointee.replacement }
  @inlinable @inline(__always) var order: AssociativeShape.Order { shape.pointee.order }

  /// `ways` 0 is an absent cache. At most 2^24 places.
  public init(sets: Int, ways: Int, replacement: Replacement = .lru, seed: UInt64 = 1) {
    shape = .allocate(capacity: 1)
    shape.initialize(to: AssociativeShape(sets: max(1, sets), ways: ways, replacement))
    for set in 0..<self.sets {
      block(set).pointee = replacement == .random ? (seed &+ UInt64(set)) &* 0x9e37_79b9_7f4a_7c15 | 1 : initialState
    }
  }

  public func deallocate() {
    shape.pointee.blocks.deallocate()
    shape.deallocate()
  }

  private var initialState: UInt64 { order == .listed ? 0xfedc_ba98_7654_3210 : 0 }

  @inlinable @inline(__always) public var isAbsent: Bool { ways == 0 }

  @inlinable @inline(__always) func set(of key: UInt64) -> Int {
    shape.pointee.isMasked
      ? Int(truncatingIfNeeded: key & shape.pointee.setMask) : Int(truncatingIfNeeded: key % UInt64(truncatingIfNeeded: sets))
  }

  @inlinable @inline(__always) func block(_ set: Int) -> UnsafeMutablePointer<UInt64> {
    shape.pointee.blocks + set &* shape.pointee.stride
  }
  @inlinable @inline(__always) func block(of key: UInt64) -> UnsafeMutablePointer<UInt64> { block(set(of: key)) }

  // MARK: Looking up

  /// The payload of the tag, made most recent. `key` chooses the set; an absent cache holds nothing.
  @inlinable @inline(__always)
  public func find(key: UInt64, tag: UInt64, _ payload: inout UInt64) -> Bool { find(in: block(of: key), tag, &payload) }

  /// The most recent word first: right where hits are the rule.
  @inlinable @inline(__always)
  func find(in block: UnsafeMutablePointer<UInt64>, _ tag: UInt64, _ payload: inout UInt64) -> Bool {
    isRecent(block, tag, &payload) || findAnywhere(in: block, tag, &payload)
  }

  /// All words alike: right where misses are the rule, since no look waits for another.
  @inlinable @inline(__always)
  func findAnywhere(in block: UnsafeMutablePointer<UInt64>, _ tag: UInt64, _ payload: inout UInt64) -> Bool {
    let way = search(block + 1, tag)
    if way < 0 { return false }
    payload = block[1 &+ ways &+ way]
    use(block, way)
    return true
  }

  /// The same for the tag or its alternative (the same with the identifier of all spaces).
  @inlinable @inline(__always)
  public func find(key: UInt64, tag: UInt64, alternative: UInt64, _ payload: inout UInt64) -> Bool {
    tag == alternative ? find(key: key, tag: tag, &payload) : findBoth(key: key, tag: tag, alternative: alternative, &payload)
  }

  /// The same where misses are the rule.
  @inlinable @inline(__always)
  func findAnywhere(key: UInt64, tag: UInt64, alternative: UInt64, _ payload: inout UInt64) -> Bool {
    tag == alternative
      ? findAnywhere(in: block(of: key), tag, &payload) : findBoth(key: key, tag: tag, alternative: alternative, &payload)
  }

  @inline(never) @usableFromInline
  func findBoth(key: UInt64, tag: UInt64, alternative: UInt64, _ payload: inout UInt64) -> Bool {
    let block = block(of: key)
    for way in 0..<ways where block[1 &+ way] == tag || block[1 &+ way] == alternative {
      payload = block[1 &+ ways &+ way]
      use(block, way)
      return true
    }
    return false
  }

  /// Whether the most recent word is the wanted one, so that nothing changes.
  @inlinable @inline(__always)
  func isRecent(_ block: UnsafeMutablePointer<UInt64>, _ tag: UInt64, _ payload: inout UInt64) -> Bool {
    let way = Int(truncatingIfNeeded: block.pointee & 15)
    guard order == .listed, block[1 &+ way] == tag else { return false }
    payload = block[1 &+ ways &+ way]
    return true
  }

  /// The way that holds the tag, or -1. Four at a time, since most sets have a multiple of four ways.
  @inlinable @inline(__always)
  func search(_ tags: UnsafeMutablePointer<UInt64>, _ tag: UInt64) -> Int {
    let ways = ways
    var way = 0
    while way &+ 4 <= ways {
      if tags[way] == tag { return way }
      if tags[way &+ 1] == tag { return way &+ 1 }
      if tags[way &+ 2] == tag { return way &+ 2 }
      if tags[way &+ 3] == tag { return way &+ 3 }
      way &+= 4
    }
    while way < ways {
      if tags[way] == tag { return way }
      way &+= 1
    }
    return -1
  }

  /// Marks a way as used.
  @inlinable @inline(__always) func use(_ block: UnsafeMutablePointer<UInt64>, _ way: Int) {
    if order == .listed {
      block.pointee = Self.moved(block.pointee, toFront: UInt64(truncatingIfNeeded: way))
    } else {
      useOtherwise(block, way)
    }
  }

  /// The order of use once the way has been used.
  @inlinable @inline(__always) static func moved(_ state: UInt64, toFront way: UInt64) -> UInt64 {
    // The lowest nibble of `difference` that is 0 is the way's place; borrows reach only those above it.
    let difference = state ^ way &* 0x1111_1111_1111_1111
    let zeros = (difference &- 0x1111_1111_1111_1111) & ~difference & 0x8888_8888_8888_8888
    let upTo = zeros ^ (zeros &- 1)
    return state & ~upTo | (state &<< 4) & upTo & ~15 | way
  }

  @inline(never) @usableFromInline func useOtherwise(_ block: UnsafeMutablePointer<UInt64>, _ way: Int) {
    guard order == .placed else { return shape.pointee.replacement.touch(&block.pointee, way: way, ways: ways) }
    let word = CachedWord(tag: block[1 + way], payload: block[1 + ways + way])
    putFirst(block, word, outOf: way)
  }

  /// The places before `way` move up by one, over it, and the word becomes the first.
  private func putFirst(_ block: UnsafeMutablePointer<UInt64>, _ word: CachedWord, outOf way: Int) {
    let tags = block + 1
    let payloads = tags + ways
    (tags + 1).update(from: tags, count: way)
    (payloads + 1).update(from: payloads, count: way)
    tags.pointee = word.tag
    payloads.pointee = word.payload
  }

  // MARK: Putting in

  /// Puts a word in, as most recent. A word with the same tag must not be there. An absent cache takes nothing.
  @inlinable @inline(__always) public func insert(key: UInt64, _ word: CachedWord) {
    insert(in: block(of: key), tag: word.tag, payload: word.payload)
  }

  @inlinable @inline(__always) func insert(in block: UnsafeMutablePointer<UInt64>, tag: UInt64, payload: UInt64) {
    guard order == .listed else { return insertOtherwise(block, CachedWord(tag: tag, payload: payload)) }
    // Nibbles beyond the number of ways say nothing: the lowest one that names a way counts.
    let state = block.pointee
    let way = (state &>> UInt64(truncatingIfNeeded: shape.pointee.victimShift)) & 15
    block.pointee = state &<< 4 | way
    let place = block + Int(truncatingIfNeeded: way) + 1
    place.pointee = tag
    place[ways] = payload
  }

  @inline(never) @usableFromInline func insertOtherwise(_ block: UnsafeMutablePointer<UInt64>, _ word: CachedWord) {
    if isAbsent { return }
    if order == .placed { return putFirst(block, word, outOf: ways - 1) }
    let way = (0..<ways).first { block[1 + $0] == 0 } ?? shape.pointee.replacement.victim(&block.pointee, ways: ways)
    block[1 + way] = word.tag
    block[1 + ways + way] = word.payload
    shape.pointee.replacement.touch(&block.pointee, way: way, ways: ways)
  }

  // MARK: Dropping

  /// Drops every word for which the condition holds. Cost: all places.
  public func removeAll(where condition: (CachedWord) -> Bool) {
    for set in 0..<sets { removeAll(inSet: set, where: condition) }
  }

  /// The same within the set that `key` chooses.
  public func removeAll(key: UInt64, where condition: (CachedWord) -> Bool) {
    if ways > 0 { removeAll(inSet: set(of: key), where: condition) }
  }

  private func removeAll(inSet set: Int, where condition: (CachedWord) -> Bool) {
    let block = block(set)
    var kept = 0
    var isChanged = false
    for way in 0..<ways where block[1 + way] != 0 {
      let word = word(block, way)
      if condition(word) {
        put(CachedWord(tag: 0, payload: 0), block, way)
        isChanged = true
      } else if order == .placed {
        put(CachedWord(tag: 0, payload: 0), block, way)
        put(word, block, kept)
        kept += 1
      }
    }
    if isChanged && order == .listed { listFilledFirst(block) }
  }

  private func word(_ block: UnsafeMutablePointer<UInt64>, _ way: Int) -> CachedWord {
    CachedWord(tag: block[1 + way], payload: block[1 + ways + way])
  }

  private func put(_ word: CachedWord, _ block: UnsafeMutablePointer<UInt64>, _ way: Int) {
    block[1 + way] = word.tag
    block[1 + ways + way] = word.payload
  }

  /// The way at a place in the order of use.
  private func way(_ block: UnsafeMutablePointer<UInt64>, at place: Int) -> Int { Int(block.pointee >> UInt64(4 * place) & 15) }

  /// Empty ways go behind the filled ones: they make room first.
  private func listFilledFirst(_ block: UnsafeMutablePointer<UInt64>) {
    var filled: (ways: UInt64, bits: UInt64) = (0, 0)
    var empty: (ways: UInt64, bits: UInt64) = (0, 0)
    for place in 0..<ways {
      let way = way(block, at: place)
      if block[1 + way] != 0 {
        filled = (filled.ways | UInt64(way) << filled.bits, filled.bits + 4)
      } else {
        empty = (empty.ways | UInt64(way) << empty.bits, empty.bits + 4)
      }
    }
    block.pointee = filled.ways | empty.ways << filled.bits
  }

  public func removeAll() {
    for set in 0..<sets {
      let block = block(set)
      for way in 0..<ways { put(CachedWord(tag: 0, payload: 0), block, way) }
      if replacement != .random { block.pointee = initialState }
    }
  }

  // MARK: All words

  /// Calls the body for each filled place, set by set. With LRU, ways are numbered from the most recent one.
  public func forEach(_ body: (_ set: Int, _ way: Int, CachedWord) -> Void) {
    for set in 0..<sets {
      let block = block(set)
      for place in 0..<ways {
        let word = word(block, order == .listed ? way(block, at: place) : place)
        if word.tag != 0 { body(set, place, word) }
      }
    }
  }

  /// Everything as words, for saving: set by set its state, its tags and its payloads.
  public func snapshot() -> [UInt64] { Array(UnsafeBufferPointer(start: block(0), count: sets * shape.pointee.stride)) }

  /// Whether the words can be put back: as many as there are, and a state that names every way.
  public func accepts(_ list: ArraySlice<UInt64>) -> Bool {
    let stride = shape.pointee.stride
    guard list.count == sets * stride else { return false }
    if order != .listed || ways == 0 { return true }
    return (0..<sets).allSatisfy { set in
      let state = list[list.startIndex + set * stride]
      let named = (0..<ways).map { Int(state >> UInt64(4 * $0) & 15) }
      return Set(named).count == ways && named.allSatisfy { $0 < ways }
    }
  }

  /// Puts a snapshot back that this array accepts.
  public func restore(_ list: ArraySlice<UInt64>) {
    precondition(accepts(list), "a snapshot of another geometry")
    for (i, word) in list.enumerated() { block(0)[i] = word }
  }
}
