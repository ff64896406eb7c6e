// What happened to a guest, its host and their tables. As History, for translations in two stages.
import PagingKit

/// Where an access of a guest begins: its VPID or ASID, its PCID and root, and the root of the second stage.
struct GuestPlace: Equatable {
  var machine: UInt64
  var pcid: UInt64
  var root: UInt64
  var second: UInt64
}

/// Something cached about a linear address: a combined translation, or the guest's entries on the way to it.
struct CachedForGuest {
  var address: UInt64
  /// Log2 of the bytes of the guest's page.
  var shift: UInt64 = 12
  var place: GuestPlace
  var isGlobal = false

  func isOn(_ page: UInt64) -> Bool { address >> shift == page >> shift }
  func isOf(_ machine: UInt64) -> Bool { place.machine == machine }
  func isOf(_ machine: UInt64, _ pcid: UInt64) -> Bool { isOf(machine) && place.pcid == pcid }
}

/// What an invalidation takes.
struct GuestForgetting {
  typealias Reach = (CachedForGuest) -> Bool
  /// Combined translations.
  var translation: Reach = { _ in false }
  /// What walk caches hold of the guest's entries.
  var way: Reach = { _ in false }
  /// What is cached about guest-physical addresses.
  var guestPhysical: (GuestPlace) -> Bool = { _ in false }

  /// INVLPG: a page of a PCID, global or not, and of the walk caches everything.
  static func page(_ page: UInt64, _ own: GuestPlace) -> Self {
    Self(
      translation: { $0.isOn(page) && $0.isOf(own.machine) && ($0.isGlobal || $0.place.pcid == own.pcid) },
      way: { $0.isOf(own.machine, own.pcid) })
  }

  /// A page fault: of the walk caches the way to the page alone.
  static func fault(_ page: UInt64, _ own: GuestPlace) -> Self {
    var result = Self.page(page, own)
    result.way = { $0.isOn(page) && $0.isOf(own.machine, own.pcid) }
    return result
  }

  /// INVPCID type 0.
  static func pageOfSpace(_ page: UInt64, _ pcid: UInt64, of machine: UInt64) -> Self {
    Self(
      translation: { $0.isOn(page) && !$0.isGlobal && $0.isOf(machine, pcid) }, way: { $0.isOn(page) && $0.isOf(machine, pcid) })
  }

  /// An EPT violation of the final address: the translation of the address through the same EPT pointer.
  static func violation(_ page: UInt64, _ own: GuestPlace) -> Self {
    Self(translation: {
      $0.address >> 12 == page >> 12 && $0.isOf(own.machine) && $0.place.second == own.second && ($0.isGlobal || $0.place.pcid == own.pcid)
    })
  }

  /// MOV to CR3, INVPCID type 1, SMEP.
  static func space(_ pcid: UInt64, of machine: UInt64) -> Self {
    Self(translation: { !$0.isGlobal && $0.isOf(machine, pcid) }, way: { $0.isOf(machine, pcid) })
  }

  /// A whole machine, with its global pages or without: CR4.PGE, INVPCID types 2 and 3, INVVPID types 1 and 3.
  static func machine(_ machine: UInt64, withGlobal: Bool) -> Self {
    Self(translation: { $0.isOf(machine) && (withGlobal || !$0.isGlobal) }, way: { $0.isOf(machine) })
  }

  /// INVVPID type 0 and INVLPGA: a page of every PCID of a machine.
  static func page(_ page: UInt64, of machine: UInt64) -> Self {
    Self(translation: { $0.isOn(page) && $0.isOf(machine) }, way: { $0.isOn(page) && $0.isOf(machine) })
  }

  /// INVVPID type 2.
  static var everyMachine: Self { Self(translation: { !$0.isOf(0) }, way: { !$0.isOf(0) }) }

  /// INVEPT: what went through an EPT pointer, or through any.
  static func pointer(_ second: UInt64?) -> Self {
    let isMeant = { (place: GuestPlace) in second == nil || place.second == second }
    return Self(translation: { isMeant($0.place) }, way: { isMeant($0.place) }, guestPhysical: isMeant)
  }

  /// TLB_CONTROL 1, and 3 or 7 for an ASID.
  static func control(_ control: UInt64, _ asid: UInt64) -> Self {
    let isMeant = { (place: GuestPlace) in control == 1 || place.machine == asid }
    return Self(
      translation: { isMeant($0.place) && (control != 7 || !$0.isGlobal) }, way: { isMeant($0.place) }, guestPhysical: isMeant)
  }
}

/// The states of memory and place in order, and the invalidations between them.
struct GuestHistory {
  private(set) var states: [GuestPlace]
  private var versions: [UInt64: [(state: Int, value: UInt64)]] = [:]
  private var forgettings: [(state: Int, what: GuestForgetting)] = []

  init(_ place: GuestPlace) { states = [place] }

  var now: Int { states.count - 1 }
  var place: GuestPlace { states[now] }
  var slots: [UInt64] { Array(versions.keys) }

  mutating func advance(_ place: GuestPlace) { states.append(place) }

  mutating func write(_ slot: UInt64, _ value: UInt64) {
    states.append(place)
    versions[slot, default: []].append((now, value))
  }

  mutating func forget(_ what: GuestForgetting) {
    forgettings.append((now, what))
    states.append(place)
  }

  func word(_ slot: UInt64, at state: Int) -> UInt64 { versions[slot]?.last { $0.state <= state }?.value ?? 0 }

  /// Every value that a word held from a state on.
  func words(_ slot: UInt64, since state: Int) -> [UInt64] {
    var values = [word(slot, at: state)]
    for version in versions[slot] ?? [] where version.state > state && !values.contains(version.value) { values.append(version.value) }
    return values
  }

  /// Every root that a space of a machine had from a state on.
  func roots(_ place: GuestPlace, since state: Int) -> [UInt64] {
    var roots: [UInt64] = []
    for one in states[state...] where one.machine == place.machine && one.pcid == place.pcid && !roots.contains(one.root) { roots.append(one.root) }
    return roots
  }

  func isForgotten(madeIn state: Int, where reaches: (GuestForgetting) -> Bool) -> Bool {
    forgettings.contains { $0.state >= state && reaches($0.what) }
  }

  /// The first state from which something cached may come; `limit` looks back only from there.
  func start(limit: Int = .max, where reaches: (GuestForgetting) -> Bool) -> Int {
    for (state, what) in forgettings.reversed() where state < limit && reaches(what) { return state + 1 }
    return 0
  }
}
