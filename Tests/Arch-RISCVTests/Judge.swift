// A second, slow reading of the manual: the privileged specification's algorithm as one straight line of steps, with no code
// of the back end in it. It decides what an access must do; the random tests ask both.
//
// Written from "Virtual Address Translation Process", "Two-Stage Address Translation", "Svnapot", "Svpbmt", "Svadu", "Pointer
// Masking Extensions" and "Shadow Stack Memory Protection".

/// A hart as the manual describes it: registers by name, extensions, and what it may choose.
struct JudgedHart {
  var registers: [String: UInt64] = [:]
  /// SXLEN.
  var xlen = 64
  var hasSvnapot = true
  var hasSvpbmt = true
  /// The second stage of the final address comes before the permission check of the first-stage leaf.
  var secondStageComesFirst = false
  /// Entries of the access itself are updated although it fails later.
  var updatesThenFaults = true

  func bit(_ register: String, _ position: Int) -> Bool { (registers[register] ?? 0) >> UInt64(position) & 1 == 1 }
  func bits(_ register: String, _ high: Int, _ low: Int) -> UInt64 {
    ((registers[register] ?? 0) << UInt64(63 - high)) >> UInt64(63 - high + low)
  }
}

/// What an access must come to.
enum Ruling: Equatable, CustomStringConvertible {
  case reaches(UInt64)
  case raises(cause: Int, address: UInt64, guestPhysical: UInt64?, pseudoinstruction: UInt64?)

  var description: String {
    func hex(_ value: UInt64?) -> String { value.map { "0x" + String($0, radix: 16) } ?? "-" }
    switch self {
    case .reaches(let pa): return "pa \(hex(pa))"
    case .raises(let cause, let address, let gpa, let tinst): return "cause \(cause) addr \(hex(address)) gpa \(hex(gpa)) tinst \(hex(tinst))"
    }
  }
}

/// An exception on its way out of the steps.
private struct Raised: Error {
  var cause: Int
  var guestPhysical: UInt64?
  var pseudoinstruction: UInt64?
}

/// One question: an access, and the memory it meets. Writes go into `written`, never into the memory itself.
final class Judge {
  enum Kind: Int { case load, store, amo, loadReserved, storeConditional, fetch }
  enum Nominal { case user, supervisor, machine }

  let hart: JudgedHart
  /// An aligned word of 4 or 8 bytes, or nil where there is no memory.
  let fetchWord: (UInt64, Int) -> UInt64?
  let hasMemory: (UInt64, UInt64) -> Bool
  private(set) var written: [UInt64: UInt64] = [:]
  /// Bits that will be set in entries once the access is known to succeed.
  private var postponed: [(address: UInt64, size: Int, bits: UInt64)] = []

  // The access.
  private var kind = Kind.load
  private var isHLVX = false
  private var isShadowStack = false
  private var isVirtual = false
  private var nominal = Nominal.user

  init(_ hart: JudgedHart, hasMemory: @escaping (UInt64, UInt64) -> Bool, fetchWord: @escaping (UInt64, Int) -> UInt64?) {
    self.hart = hart
    self.hasMemory = hasMemory
    self.fetchWord = fetchWord
  }

  // MARK: The access

  func rule(_ kind: Kind, as privilege: String, at address: UInt64, byteCount: UInt64) -> Ruling {
    self.kind = kind
    setEffectivePrivilege(privilege)
    var parts: [(UInt64, UInt64)] = [(address, byteCount)]
    let room = 4096 - address % 4096
    if byteCount > room { parts = [(address, room), (address &+ room, byteCount - room)] }
    var first: UInt64?
    for (part, count) in parts {
      let seen = transformed(part, privilege)
      do {
        let pa = try physicalAddress(of: seen, byteCount: count)
        if first == nil { first = pa }
      } catch let raised as Raised {
        return .raises(cause: raised.cause, address: seen, guestPhysical: raised.guestPhysical, pseudoinstruction: raised.pseudoinstruction)
      } catch { fatalError() }
    }
    return .reaches(first!)
  }

  /// The table "Effect of MPRV", and HLV, HLVX and HSV by hstatus.SPVP.
  private func setEffectivePrivilege(_ privilege: String) {
    let dot = privilege.split(separator: ".")
    isHLVX = dot.count > 1 && dot[1] == "hlvx"
    isShadowStack = dot.count > 1 && dot[1] == "ss"
    if dot.count > 1 && dot[1].hasPrefix("h") {
      isVirtual = true
      nominal = hart.bit("hstatus", 8) ? .supervisor : .user
      return
    }
    isVirtual = dot[0].hasPrefix("V")
    nominal = dot[0].hasSuffix("U") ? .user : dot[0].hasSuffix("S") ? .supervisor : .machine
    let mpp = hart.bits("mstatus", 12, 11)
    if dot[0] == "M" && kind != .fetch && hart.bit("mstatus", 17) && mpp != 3 {
      nominal = mpp == 0 ? .user : .supervisor
      isVirtual = hart.bit("mstatus", 39)
    }
  }

  /// The ignore transformation, and the width of an address.
  private func transformed(_ address: UInt64, _ privilege: String) -> UInt64 {
    if hart.xlen == 32 { return address % (1 << 32) }
    if kind == .fetch || isHLVX || nominal == .machine { return address }
    let mxr = hart.bit("mstatus", 19) || isVirtual && hart.bit("vsstatus", 19)
    if mxr { return address }
    let pmm: UInt64
    switch (isVirtual, nominal) {
    case (false, .user): pmm = hart.bits("senvcfg", 33, 32)
    case (false, _): pmm = hart.bits("menvcfg", 33, 32)
    case (true, .user): pmm = privilege.hasPrefix("U.h") ? hart.bits("hstatus", 49, 48) : hart.bits("senvcfg", 33, 32)
    case (true, _): pmm = hart.bits("henvcfg", 33, 32)
    }
    let length = pmm == 2 ? 7 : pmm == 3 ? 16 : 0
    var result = address
    let isPhysical = hart.bits(isVirtual ? "vsatp" : "satp", 63, 60) == 0
    let sign = address >> UInt64(63 - length) & 1
    for position in (64 - length)..<64 {
      result &= ~(1 << UInt64(position))
      if !isPhysical && sign == 1 { result |= 1 << UInt64(position) }
    }
    return result
  }

  private var isStore: Bool { kind == .store || kind == .amo || kind == .storeConditional }

  private func raise(access: Bool = false, guestPage: Bool = false) -> Raised {
    let column = kind == .fetch ? 0 : isStore || isShadowStack ? 2 : 1
    if access { return Raised(cause: [1, 5, 7][column]) }
    return Raised(cause: guestPage ? [20, 21, 23][column] : [12, 13, 15][column])
  }

  private func physicalAddress(of address: UInt64, byteCount: UInt64) throws -> UInt64 {
    postponed = []
    let pa: UInt64
    if nominal == .machine {
      if isShadowStack { throw raise(access: true) }
      pa = address
    } else if !isVirtual {
      pa = try firstStage(address, atp: "satp", envcfg: "menvcfg", through: { $0 }, rewriting: { $0 }, final: { $0 })
    } else {
      pa = try twoStages(address)
    }
    if !hasMemory(pa, byteCount) { throw raise(access: true) }
    for update in postponed { set(update.bits, at: update.address, size: update.size) }
    return pa
  }

  // MARK: Two stages

  private func twoStages(_ address: UInt64) throws -> UInt64 {
    try firstStage(
      address, atp: "vsatp", envcfg: "henvcfg",
      through: { try self.secondStage($0, needs: .load, implicit: 0x00) },
      rewriting: { try self.secondStage($0, needs: .store, implicit: 0x20) },
      final: { try self.secondStage($0, needs: self.kind, implicit: nil) })
  }

  /// "Guest Physical Address Translation". `implicit` is the low byte of the pseudoinstruction for a table access.
  private func secondStage(_ gpa: UInt64, needs: Kind, implicit: UInt64?) throws -> UInt64 {
    let explicit = implicit == nil
    func refuse() -> Raised {
      var raised = raise(guestPage: true)
      raised.guestPhysical = gpa / 4 * 4
      raised.pseudoinstruction = implicit.map { (hart.xlen == 32 ? 0x2000 : 0x3000) + $0 } ?? 0
      return raised
    }
    guard let scheme = Scheme.selected(by: hart.registers["hgatp"] ?? 0, xlen: hart.xlen) else { return gpa }
    // The incoming address is two bits wider, and so is the root's index.
    if gpa >> UInt64(scheme.addressBits + 2) != 0 { throw refuse() }
    var table = scheme.root
    for level in stride(from: scheme.levels - 1, through: 0, by: -1) {
      var index = gpa >> UInt64(12 + level * scheme.indexBits)
      index %= 1 << UInt64(scheme.indexBits + (level == scheme.levels - 1 ? 2 : 0))
      let place = table + index * UInt64(scheme.entrySize)
      guard let word = word(place, scheme.entrySize) else { throw raise(access: true) }
      let pte = PTE(word, scheme)
      guard isWellFormed(pte, scheme, pbmt: hart.bit("menvcfg", 62), shadowStacks: false) else { throw refuse() }
      if pte.isPointer {
        guard level > 0, !pte.hasAnyPointerReserved else { throw refuse() }
        table = pte.ppn << 12
        continue
      }
      guard let base = leafBase(pte, level, scheme) else { throw refuse() }
      guard pte.u else { throw refuse() }
      // Permission, as in U-mode. MXR at HS level for explicit loads only.
      let allowed: Bool
      switch needs {
      case .fetch: allowed = pte.x
      case .store, .amo, .storeConditional: allowed = pte.w
      case .load, .loadReserved:
        if explicit && isHLVX {
          allowed = pte.x
        } else if explicit && isShadowStack {
          allowed = pte.r && pte.w
        } else {
          allowed = pte.r || explicit && hart.bit("mstatus", 19) && pte.x
        }
      }
      if !allowed { throw refuse() }
      let writes = needs == .store || needs == .amo || needs == .storeConditional
      let missing = (pte.a ? 0 : 0x40) | (writes && !pte.d ? 0x80 : 0) as UInt64
      if missing != 0 {
        guard hart.bit("menvcfg", 61) else { throw refuse() }
        let isTableRead = implicit == 0
        if hart.updatesThenFaults || isTableRead {
          set(missing, at: place, size: scheme.entrySize)
        } else {
          postponed.append((place, scheme.entrySize, missing))
        }
      }
      return base | gpa % (1 << pageBits(pte, level, scheme))
    }
    throw refuse()
  }

  // MARK: One stage

  /// Steps 1 to 10. `through` turns an entry's address into a physical one to read it, `rewriting` to update it, `final`
  /// the address that comes out.
  private func firstStage(
    _ va: UInt64, atp: String, envcfg: String, through: (UInt64) throws -> UInt64, rewriting: (UInt64) throws -> UInt64,
    final: (UInt64) throws -> UInt64
  ) throws -> UInt64 {
    guard let scheme = Scheme.selected(by: hart.registers[atp] ?? 0, xlen: hart.xlen) else {
      if isShadowStack { throw raise(access: true) }
      return try final(va)
    }
    if hart.xlen == 64 {
      let upper = va >> UInt64(scheme.addressBits - 1)
      if upper != 0 && upper != UInt64.max >> UInt64(scheme.addressBits - 1) { throw raise() }
    }
    let hasStacks = hart.bit("menvcfg", 3) && (!isVirtual || hart.bit("henvcfg", 3))
    let hasPBMT = hart.bit("menvcfg", 62) && (!isVirtual || hart.bit("henvcfg", 62))
    var a = scheme.root
    var i = scheme.levels - 1
    while true {
      // Step 2.
      let vpn = (va >> UInt64(12 + i * scheme.indexBits)) % (1 << UInt64(scheme.indexBits))
      let place = a + vpn * UInt64(scheme.entrySize)
      let physical = try through(place)
      guard let word = word(physical, scheme.entrySize) else { throw raise(access: true) }
      let pte = PTE(word, scheme)
      // Step 3.
      guard isWellFormed(pte, scheme, pbmt: hasPBMT, shadowStacks: hasStacks) else { throw raise() }
      // Step 4.
      if pte.isPointer {
        if pte.hasAnyPointerReserved { throw raise() }
        i -= 1
        if i < 0 { throw raise() }
        a = pte.ppn << 12
        continue
      }
      guard let base = leafBase(pte, i, scheme) else { throw raise() }
      let output = base | va % (1 << pageBits(pte, i, scheme))
      var early: UInt64?
      if hart.secondStageComesFirst { early = try final(output) }
      // Step 5.
      try checkPermission(pte)
      // Step 7.
      let missing = (pte.a ? 0 : 0x40) | (isStore && !pte.d ? 0x80 : 0) as UInt64
      if missing != 0 {
        guard hart.bit("menvcfg", 61), !isVirtual || hart.bit("henvcfg", 61) else { throw raise() }
        let target = try rewriting(place)
        if hart.updatesThenFaults {
          set(missing, at: target, size: scheme.entrySize)
        } else {
          postponed.append((target, scheme.entrySize, missing))
        }
      }
      return try early ?? final(output)
    }
  }

  /// U, SUM, then R, W, X with MXR; and shadow-stack pages, whose misuse is an access fault.
  private func checkPermission(_ pte: PTE) throws {
    switch nominal {
    case .user: if !pte.u { throw raise() }
    default:
      let sum = hart.bit(isVirtual ? "vsstatus" : "mstatus", 18)
      if pte.u && (kind == .fetch || !sum) { throw raise() }
    }
    let isStackPage = !pte.r && pte.w && !pte.x
    if isShadowStack {
      if isStackPage { return }
      throw raise(access: !(pte.r && !pte.w && !pte.x))
    }
    if isStackPage {
      if kind == .fetch || isStore { throw raise(access: true) }
      if isHLVX { throw raise() }
      return
    }
    let mxr = hart.bit("mstatus", 19) || isVirtual && hart.bit("vsstatus", 19)
    let allowed: Bool
    if kind == .fetch { allowed = pte.x } else if isStore { allowed = pte.w } else if isHLVX { allowed = pte.x } else {
      allowed = pte.r || mxr && pte.x
    }
    if !allowed { throw raise() }
  }

  // MARK: Entries

  /// A scheme of "Supervisor Address Translation and Protection (satp) Register".
  struct Scheme {
    var levels: Int
    var indexBits: Int
    var entrySize: Int
    var addressBits: Int
    var root: UInt64

    static func selected(by value: UInt64, xlen: Int) -> Scheme? {
      if xlen == 32 {
        return value >> 31 == 0 ? nil : Scheme(levels: 2, indexBits: 10, entrySize: 4, addressBits: 32, root: value % (1 << 22) * 4096)
      }
      let levels = [8: 3, 9: 4, 10: 5][value >> 60]
      return levels.map { Scheme(levels: $0, indexBits: 9, entrySize: 8, addressBits: 12 + 9 * $0, root: value % (1 << 44) * 4096) }
    }
  }

  struct PTE {
    var word: UInt64
    var v, r, w, x, u, a, d: Bool
    var ppn: UInt64
    var reserved, pbmt: UInt64
    var n: Bool

    init(_ word: UInt64, _ scheme: Scheme) {
      self.word = word
      let flags = (0..<8).map { word >> UInt64($0) & 1 == 1 }
      (v, r, w, x, u, a, d) = (flags[0], flags[1], flags[2], flags[3], flags[4], flags[6], flags[7])
      if scheme.entrySize == 4 {
        ppn = word / 1024
        (reserved, pbmt, n) = (0, 0, false)
      } else {
        ppn = word / 1024 % (1 << 44)
        reserved = (word >> 54) % 128
        pbmt = (word >> 61) % 4
        n = word >> 63 == 1
      }
    }

    var isPointer: Bool { !r && !w && !x }
    var hasAnyPointerReserved: Bool { a || d || u || n || pbmt != 0 }
  }

  private func isWellFormed(_ pte: PTE, _ scheme: Scheme, pbmt: Bool, shadowStacks: Bool) -> Bool {
    if !pte.v { return false }
    if pte.w && !pte.r && !(shadowStacks && !pte.x) { return false }
    if pte.reserved != 0 || pte.pbmt == 3 { return false }
    if pte.pbmt != 0 && !(pbmt && hart.hasSvpbmt) { return false }
    return !pte.n || hart.hasSvnapot
  }

  /// Where the page of a leaf begins, or nil if it is misaligned or no such page.
  private func leafBase(_ pte: PTE, _ level: Int, _ scheme: Scheme) -> UInt64? {
    if pte.n {
      guard level == 0, pte.ppn % 16 == 8 else { return nil }
      return (pte.ppn - 8) << 12
    }
    if pte.ppn % (1 << UInt64(level * scheme.indexBits)) != 0 { return nil }
    return pte.ppn << 12
  }

  private func pageBits(_ pte: PTE, _ level: Int, _ scheme: Scheme) -> UInt64 { pte.n ? 16 : UInt64(12 + level * scheme.indexBits) }

  // MARK: Memory

  private func word(_ address: UInt64, _ size: Int) -> UInt64? { written[address] ?? fetchWord(address, size) }
  private func set(_ bits: UInt64, at address: UInt64, size: Int) { written[address] = word(address, size)! | bits }
}
