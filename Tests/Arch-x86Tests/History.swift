// What happened to a processor and its tables, so that an answer of today can be held against every day it may come from.
//
// A translation that a TLB or walk cache holds was true at some time; an invalidation says that those of before are gone.
import PagingKit

/// An invalidation, or what has the same effect.
enum Forgetting {
  /// One page of the current space and global pages; of the walk caches, all of the space (INVLPG).
  case page(UInt64, pcid: UInt64)
  /// The same by a page fault; of the walk caches only the way to the page.
  case fault(UInt64, pcid: UInt64)
  /// One page of a space, not global pages (INVPCID type 0).
  case pageOfSpace(UInt64, pcid: UInt64)
  /// A space, not its global pages (MOV to CR3, INVPCID type 1, SMEP).
  case space(UInt64)
  /// All spaces, not global pages (INVPCID type 3).
  case allSpaces
  /// Everything (CR4.PGE, INVPCID type 2).
  case all

  /// Whether a TLB entry for `address` that maps 2^shift bytes is gone.
  func reaches(_ address: UInt64, shift: UInt64, pcid: UInt64, isGlobal: Bool) -> Bool {
    switch self {
    case .page(let page, let own), .fault(let page, let own): page >> shift == address >> shift && (isGlobal || own == pcid)
    case .pageOfSpace(let page, let own): page >> shift == address >> shift && !isGlobal && own == pcid
    case .space(let own): !isGlobal && own == pcid
    case .allSpaces: !isGlobal
    case .all: true
    }
  }

  /// Whether the walk-cache entries that lead to `address` in a space are gone.
  func reachesWay(to address: UInt64, pcid: UInt64) -> Bool {
    switch self {
    case .page(_, let own), .space(let own): own == pcid
    case .fault(let page, let own), .pageOfSpace(let page, let own): page >> 12 == address >> 12 && own == pcid
    case .allSpaces, .all: true
    }
  }
}

/// The states of memory and CR3 in order, and the invalidations between them.
struct History {
  struct State {
    var pcid: UInt64
    var root: UInt64
  }
  private(set) var states: [State] = []
  /// What each word held, by the first state in which it did.
  private var versions: [UInt64: [(state: Int, value: UInt64)]] = [:]
  /// Invalidations with the state in which they happened: they reach what was cached in it and before.
  private(set) var forgettings: [(state: Int, what: Forgetting)] = []

  var now: Int { states.count - 1 }
  var slots: [UInt64] { Array(versions.keys) }

  init(pcid: UInt64, root: UInt64) { states = [State(pcid: pcid, root: root)] }

  /// A new state: other words, or another space.
  mutating func advance(pcid: UInt64, root: UInt64) { states.append(State(pcid: pcid, root: root)) }

  mutating func write(_ slot: UInt64, _ value: UInt64) {
    states.append(states[now])
    versions[slot, default: []].append((now, value))
  }

  /// After an invalidation a new state begins, so that what is cached later is not reached.
  mutating func forget(_ what: Forgetting) {
    forgettings.append((now, what))
    states.append(states[now])
  }

  func word(_ slot: UInt64, at state: Int) -> UInt64 { versions[slot]?.last { $0.state <= state }?.value ?? 0 }

  /// Every value that a word held from a state on.
  func words(_ slot: UInt64, since state: Int) -> [UInt64] {
    var values = [word(slot, at: state)]
    for version in versions[slot] ?? [] where version.state > state && !values.contains(version.value) { values.append(version.value) }
    return values
  }

  /// Every root that a space had from a state on.
  func roots(pcid: UInt64, since state: Int) -> [UInt64] {
    var roots: [UInt64] = []
    for one in states[state...] where one.pcid == pcid && !roots.contains(one.root) { roots.append(one.root) }
    return roots
  }

  /// Whether a TLB entry made in `state` is gone by now.
  func isForgotten(_ address: UInt64, shift: UInt64, pcid: UInt64, isGlobal: Bool, madeIn state: Int) -> Bool {
    forgettings.contains { $0.state >= state && $0.what.reaches(address, shift: shift, pcid: pcid, isGlobal: isGlobal) }
  }

  /// The first state from which something cached about the address may come, for a small page; `limit` looks back only
  /// from there.
  func start(limit: Int? = nil, where reaches: (Forgetting) -> Bool) -> Int {
    for (state, what) in forgettings.reversed() where state < limit ?? .max && reaches(what) { return state + 1 }
    return 0
  }
}
