// Which entry of a full set makes room.

/// Replacement within one set. `lru` keeps the set in order of use; the others keep places and a word of state a set.
@frozen public enum Replacement: UInt8, Sendable, CaseIterable {
  case lru
  /// Tree pseudo-LRU; exact for ways that are a power of two, otherwise the tree is cut at the last way.
  case treePLRU
  /// Second chance: a reference bit a way and a hand a set.
  case clock
  /// Seeded, the same on every run.
  case random

  /// Marks a way as used.
  @usableFromInline func touch(_ state: inout UInt64, way: Int, ways: Int) {
    switch self {
    case .lru, .random: break
    case .treePLRU: Self.pointAway(&state, from: way, ways: ways)
    case .clock: if way < 48 { state |= 1 << UInt64(way) }
    }
  }

  /// The way that makes room in a full set.
  @usableFromInline func victim(_ state: inout UInt64, ways: Int) -> Int {
    switch self {
    case .lru: return ways - 1
    case .treePLRU: return Self.followTree(state, ways: ways)
    case .clock: return Self.turnHand(&state, ways: ways)
    case .random:
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return Int(state % UInt64(ways))
    }
  }

  /// The tree's nodes are bits 1 to 63 of the state, node n having the children 2n and 2n + 1; a set bit points right.
  private static func pointAway(_ state: inout UInt64, from way: Int, ways: Int) {
    var node = 1
    var span = treeSpan(ways)
    var first = 0
    while span > 1 && node < 64 {
      span /= 2
      let isRight = way >= first + span
      state = isRight ? state & ~(1 << UInt64(node)) : state | 1 << UInt64(node)
      if isRight { first += span }
      node = 2 * node + (isRight ? 1 : 0)
    }
  }

  private static func followTree(_ state: UInt64, ways: Int) -> Int {
    var node = 1
    var span = treeSpan(ways)
    var first = 0
    while span > 1 && node < 64 {
      span /= 2
      let isRight = state & (1 << UInt64(node)) != 0 && first + span < ways
      if isRight { first += span }
      node = 2 * node + (isRight ? 1 : 0)
    }
    return min(first, ways - 1)
  }

  private static func treeSpan(_ ways: Int) -> Int {
    var span = 1
    while span < ways { span *= 2 }
    return span
  }

  /// The hand is in the upper 16 bits. More than 48 ways have no reference bit and are taken in turn.
  private static func turnHand(_ state: inout UInt64, ways: Int) -> Int {
    var hand = Int(state >> 48) % ways
    while hand < 48 && state & (1 << UInt64(hand)) != 0 {
      state &= ~(1 << UInt64(hand))
      hand = (hand + 1) % ways
    }
    let victim = hand
    state = state & 0xffff_ffff_ffff | UInt64((hand + 1) % ways) << 48
    return victim
  }
}
