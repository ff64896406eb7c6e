// What an access must end in, computed straight from the description of the memory unit. Shares nothing with the back end:
// bits are spelled out, and nothing is cached.

/// The judge's machine: memory, and registers as software wrote them.
struct Judge {
  var memory: [UInt64: UInt64] = [:]
  var iset = 6
  var registers: [String: UInt64] = [:]
  var isGuest = false
  // Policies.
  var upperBitsAreIllegal = false
  var leavesMarks = false
  var isPresentFirst = false
  var isWriteFirst = false

  struct Verdict: Equatable {
    var outcome: String
    /// Physical address if finished, otherwise the address that faulted.
    var address: UInt64
    var faultType: UInt64 = 0
    var guestPhysical: UInt64?
    var guestLevel: UInt64 = 0
    var isFinal = false
  }

  struct Access {
    var address: UInt64
    /// r, w or x.
    var kind: Character
    var isUser: Bool
    var byteCount: UInt64
    var isSpeculative = false
    var mas: UInt64 = 0
    var channel: UInt64 = 0
  }

  /// Table words read by the last access.
  private(set) var reads: UInt32 = 0
  private var marks: [(slot: UInt64, bits: UInt64)] = []

  init() {}

  private struct Refusal: Error {
    var outcome: String
    var faultType: UInt64 = 0
    var guestPhysical: UInt64?
    var guestLevel: UInt64 = 0
    var isFinal = false
  }

  private func word(_ address: UInt64) -> UInt64 { memory[address] ?? 0 }
  private func register(_ name: String) -> UInt64 { registers[name] ?? 0 }
  private var physicalWidth: UInt64 { iset < 6 ? (1 << 40) - 1 : (1 << 48) - 1 }

  mutating func judge(_ a: Access) -> Verdict {
    reads = 0
    marks = []
    do throws(Refusal) {
      let address = try physical(a)
      for mark in marks { memory[mark.slot] = word(mark.slot) | mark.bits }
      return Verdict(outcome: "finished", address: address)
    } catch {
      return Verdict(
        outcome: error.outcome, address: a.address, faultType: error.faultType, guestPhysical: error.guestPhysical,
        guestLevel: error.guestLevel, isFinal: error.isFinal)
    }
  }

  private mutating func physical(_ a: Access) throws(Refusal) -> UInt64 {
    let isData = a.kind != "x"
    let mod = a.mas % 8
    let isUntranslated = isData && (mod == 1 || mod == 6 && a.channel % 2 == 1)
    var isLock = false
    if a.kind == "r" && !a.isSpeculative && a.channel == 0 {
      if mod == 7 { isLock = true }
      if mod == 5 && a.byteCount == 16 && iset >= 5 { isLock = true }
    }
    let isStore = a.kind == "w" || isLock
    let control = register(isGuest ? "sh_mmu_cr" : "mmu_cr")
    if isUntranslated || control % 2 == 0 {
      let address = a.address & physicalWidth
      return try final(address, a, isStore: isStore, fetchesThroughGuest: false)
    }
    if a.address >> 48 != 0 && upperBitsAreIllegal { throw illegal(a) }
    let address = a.address & 0xffff_ffff_ffff
    let mode = register(isGuest ? "sh_core_mode" : "core_mode")
    var root = register("u_pptb")
    if mode & 4 != 0 {
      let base = register(isGuest ? "sh_os_vab" : "os_vab") & 0xf000_0000_0000
      if address >= base { root = register(isGuest ? "sh_os_pptb" : "os_pptb") }
    }
    root = root & physicalWidth & ~0xfff
    let isV6 = mode & 0x20 != 0
    return try walk(address, root, isV6, a, isStore: isStore)
  }

  /// The hypervisor's tables refuse in the place of the guest's: it leaves, whatever the reason.
  private var isShadowed: Bool { isGuest && register("virt_ctrl_mu") >> 37 & 1 == 1 }

  private func shadowed(_ a: Access, _ faultType: UInt64) -> Refusal {
    Refusal(outcome: a.kind == "x" ? "GPA_INSTR" : "SHADOW_DATA", faultType: faultType)
  }

  private func illegal(_ a: Access) -> Refusal {
    if a.isSpeculative && a.kind == "r" { return Refusal(outcome: "diagnostic") }
    if isShadowed { return shadowed(a, 0x100) }
    if a.kind == "x" { return Refusal(outcome: "instr_page_miss") }
    return Refusal(outcome: "illegal_page", faultType: 0x100)
  }

  private func miss(_ a: Access) -> Refusal {
    isShadowed ? shadowed(a, 0x400) : a.kind == "x" ? Refusal(outcome: "instr_page_miss") : Refusal(outcome: "page_miss", faultType: 0x400)
  }

  private mutating func walk(
    _ address: UInt64, _ root: UInt64, _ isV6: Bool, _ a: Access, isStore: Bool
  ) throws(Refusal) -> UInt64 {
    let validBit: UInt64 = isV6 ? 8 : 0x100_0000_0000
    let privilegedBit: UInt64 = isV6 ? 4 : 0x200_0000_0000
    let noFetchBit: UInt64 = isV6 ? 0x8000_0000_0000_0000 : 0x800_0000_0000
    let frame: UInt64 = isV6 ? 0x0000_ffff_ffff_f000 : 0x0000_00ff_ffff_f000
    var table = root
    var visited: [(guest: UInt64, slot: UInt64, level: UInt64, entry: UInt64)] = []
    for level in [4, 3, 2, 1] as [UInt64] {
      let shift = 12 + 9 * (level - 1)
      let guestSlot = table + ((address >> shift) & 511) * 8
      let slot = try hostSlot(guestSlot, level, a)
      reads += 1
      let entry = word(slot)
      if isPresentFirst && entry & 1 == 0 { throw miss(a) }
      if entry & validBit == 0 { throw illegal(a) }
      if entry & 1 == 0 { throw miss(a) }
      visited.append((guestSlot, slot, level, entry))
      let isPage = level == 1 || entry & 0x80 != 0 && (level == 2 || level == 3 && iset >= 5)
      if !isPage {
        table = entry & frame
        continue
      }
      let isPrivileged = entry & privilegedBit != 0 && a.isUser
      let isReadOnly = entry & 2 == 0 && isStore
      let isNotExecuted = entry & noFetchBit != 0 && a.kind == "x"
      if isShadowed && (isReadOnly || isPrivileged || isNotExecuted) {
        throw shadowed(a, isReadOnly && (isWriteFirst || !isPrivileged) ? 0x200 : isPrivileged ? 0x80 : 0x40)
      }
      if isReadOnly && (isWriteFirst || !isPrivileged) { throw Refusal(outcome: "nwrite_page", faultType: 0x200) }
      if isPrivileged {
        throw a.kind == "x" ? Refusal(outcome: "instr_page_prot") : Refusal(outcome: "priv_page", faultType: 0x80)
      }
      if isNotExecuted { throw Refusal(outcome: "instr_page_prot") }
      let size: UInt64 = 1 << shift
      let output = (entry & frame & ~(size - 1)) + address % size
      let final = try final(output, a, isStore: isStore, fetchesThroughGuest: true)
      if !leavesMarks { try mark(visited, a, isStore: isStore) }
      return final
    }
    fatalError("level 1 is always a page")
  }

  /// A in every entry read, D in the leaf of a store. In a guest that is a store of its own into the GP tables.
  private mutating func mark(
    _ visited: [(guest: UInt64, slot: UInt64, level: UInt64, entry: UInt64)], _ a: Access, isStore: Bool
  ) throws(Refusal) {
    for (i, step) in visited.enumerated() {
      let isLeaf = i == visited.count - 1
      let bits: UInt64 = isLeaf && isStore ? 0x60 : 0x20
      guard step.entry & bits != bits else { continue }
      if hasGuestTables {
        // The same words once more, for writing: they are not counted again.
        let counted = reads
        defer { reads = counted }
        _ = try guestPhysical(step.guest, isWrite: true, isFetch: false, a, level: step.level, isFinal: false)
      }
      marks.append((step.slot, bits))
    }
  }

  // MARK: Second stage

  private var hasGuestTables: Bool { isGuest && register("virt_ctrl_mu") >> 36 & 1 == 1 && register("virt_ctrl_mu") >> 37 & 1 == 0 }

  private mutating func hostSlot(_ slot: UInt64, _ level: UInt64, _ a: Access) throws(Refusal) -> UInt64 {
    hasGuestTables ? try guestPhysical(slot, isWrite: false, isFetch: false, a, level: level, isFinal: false) : slot
  }

  private mutating func final(
    _ output: UInt64, _ a: Access, isStore: Bool, fetchesThroughGuest: Bool
  ) throws(Refusal) -> UInt64 {
    // Physical addresses of a guest go through the GP tables in shadow mode too.
    let isTranslated = isGuest && register("virt_ctrl_mu") >> 36 & 1 == 1 && (hasGuestTables || !fetchesThroughGuest)
    guard isTranslated else { return output }
    return try guestPhysical(output, isWrite: isStore, isFetch: a.kind == "x", a, level: 0, isFinal: true)
  }

  private mutating func guestPhysical(
    _ address: UInt64, isWrite: Bool, isFetch: Bool, _ a: Access, level: UInt64, isFinal: Bool
  ) throws(Refusal) -> UInt64 {
    func refused(_ faultType: UInt64) -> Refusal {
      let isInputOutput = a.kind != "x" && a.mas % 8 == 6 && a.channel % 2 == 1
      let name = a.kind == "x" ? "GPA_INSTR" : isInputOutput ? "MAS_IOADDR" : "GPA_DATA"
      return Refusal(outcome: name, faultType: faultType, guestPhysical: address, guestLevel: level, isFinal: isFinal)
    }
    var table = register("gp_pptb") & 0xffff_ffff_f000
    var visited: [UInt64] = []
    for height in [4, 3, 2, 1] as [UInt64] {
      let shift = 12 + 9 * (height - 1)
      let slot = table + ((address >> shift) & 511) * 8
      reads += 1
      let entry = word(slot)
      if entry & 1 == 0 { throw refused(0x400) }
      visited.append(slot)
      if height > 1 && !(entry & 0x80 != 0 && height < 4) {
        table = entry & 0xffff_ffff_f000
        continue
      }
      if isWrite && entry & 2 == 0 { throw refused(0x200) }
      if isFetch && entry >> 63 == 1 { throw refused(0x40) }
      if !leavesMarks {
        for (i, slot) in visited.enumerated() { marks.append((slot, i == visited.count - 1 && isWrite ? 0x60 : 0x20)) }
      }
      let size: UInt64 = 1 << shift
      return (entry & 0xffff_ffff_f000 & ~(size - 1)) + address % size
    }
    fatalError("height 1 is always a page")
  }
}
