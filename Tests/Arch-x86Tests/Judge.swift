// The walk of linear addresses. SDM 3A, "32-Bit Paging", "PAE Paging", "4-Level Paging and 5-Level Paging", "Accessed and
// Dirty Flags"; "Linear-Address Masking".

/// Judges one access after another over one memory.
final class Judge {
  let processor: JudgedProcessor
  let memory: JudgedMemory
  let hasAdvancedInformation: Bool
  /// The linear address being translated, without metadata.
  var linear: UInt64 = 0
  /// The last entry of the last translation that was complete, and log2 of the bytes that it maps.
  private(set) var leaf: (entry: UInt64, shift: UInt64) = (0, 0)

  /// What the second stage is asked for.
  enum LowerUse: Hashable { case table, flag, final }
  /// Who answers in the place of the second stage, which is handed over.
  var lower: ((_ gpa: UInt64, LowerUse, _ walk: (Judge) throws(Refused) -> UInt64) throws(Refused) -> UInt64)?

  init(_ processor: JudgedProcessor, _ memory: JudgedMemory, hasAdvancedInformation: Bool = false) {
    self.processor = processor
    self.memory = memory
    self.hasAdvancedInformation = hasAdvancedInformation
  }

  /// What an access of `byteCount` bytes does. The first byte is translated, then, if they go beyond its page, the first
  /// byte of the next.
  func rule(_ access: JudgedAccess, at address: UInt64, byteCount: UInt64) -> Ruling {
    let first = ruleOne(access, at: address)
    guard case .reaches = first else { return first }
    guard address & 0xfff + byteCount > 4096 else { return first }
    var next = (address | 0xfff) &+ 1
    if case .long = processor.paging {} else { next &= 0xffff_ffff }
    memory.forgetSlots()
    let second = ruleOne(access, at: next)
    guard case .reaches = second else { return second }
    return first
  }

  func ruleOne(_ access: JudgedAccess, at address: UInt64) -> Ruling {
    do throws(Refused) {
      let (pa, gpa) = try translate(access, address)
      return .reaches(pa: pa, gpa: gpa)
    } catch {
      return error.ruling
    }
  }

  // MARK: Addresses

  /// The linear address that a pointer means, or #GP if it is not canonical.
  private func canonical(_ access: JudgedAccess, _ pointer: UInt64, levels: UInt64) throws(Refused) -> UInt64 {
    var address = pointer
    // Data accesses only. Bit 63 tells user pointers from supervisor pointers.
    if !access.isFetch {
      let isSupervisorPointer = pointer >> 63 == 1
      var last: UInt64?
      if isSupervisorPointer {
        if processor.cr4 >> 28 & 1 == 1 { last = levels == 5 ? 56 : 47 }
      } else if processor.cr3 >> 61 & 1 == 1 {
        last = 56
      } else if processor.cr3 >> 62 & 1 == 1 {
        last = 47
      }
      if let last {
        var bit = last + 1
        while bit < 63 {
          address &= ~(1 << bit)
          address |= (pointer >> last & 1) << bit
          bit += 1
        }
      }
    }
    let top = Int64(bitPattern: address) >> Int64(levels == 5 ? 56 : 47)
    if top != 0 && top != -1 { throw Refused(ruling: .generalProtection) }
    return address
  }

  // MARK: The walk

  /// One entry that a translation uses.
  private struct Used {
    let address: UInt64
    let landing: UInt64
    let entry: UInt64
    var isLeaf: Bool
  }

  /// Finds where an entry of the guest's tables lies.
  private func landing(ofTable address: UInt64) throws(Refused) -> UInt64 {
    switch processor.below {
    case .nothing: address
    case .nestedPaging: try nested(address, write: true, fetch: false, isFinal: false)
    case .ept: try ept(address, .table)
    }
  }

  private func translate(_ access: JudgedAccess, _ pointer: UInt64) throws(Refused) -> (pa: UInt64, gpa: UInt64) {
    var rights = CollectedRights()
    linear = pointer
    switch processor.paging {
    case .none:
      return try reach(pointer, access, rights)
    case .twoLevel, .pae: break
    case .long(let levels): linear = try canonical(access, pointer, levels: levels)
    }
    let (output, used) = try walk(access, &rights)
    let keyForbids = processor.keyForbids(rights, access)
    if keyForbids || !processor.allows(rights, access) {
      throw pageFault(1 | (keyForbids ? 1 << 5 : 0), access)
    }
    for one in used where one.isLeaf || !processor.isEager { try setFlags(one, isWrite: access.isWrite) }
    return try reach(output, access, rights)
  }

  /// The final address.
  private func reach(_ gpa: UInt64, _ access: JudgedAccess, _ rights: CollectedRights) throws(Refused) -> (UInt64, UInt64) {
    let physical: UInt64 =
      switch processor.below {
      case .nothing: gpa
      case .nestedPaging: try nested(gpa, write: access.isWrite, fetch: access.isFetch, isFinal: true)
      case .ept: try ept(gpa, .final(access, rights))
      }
    return (physical, gpa)
  }

  private func pageFault(_ bits: UInt64, _ access: JudgedAccess) -> Refused {
    Refused(ruling: .pageFault(code: processor.baseCode(access) | bits, address: linear))
  }

  /// Sets A, and D in the last entry for a write. Nothing is written if the flags are set already.
  private func setFlags(_ one: Used, isWrite: Bool) throws(Refused) {
    let flags: UInt64 = one.isLeaf && isWrite ? 0x60 : 0x20
    if one.entry & flags == flags { return }
    if processor.below == .ept && !eptHasFlags { _ = try ept(one.address, .flag) }
    memory.set(flags, in: one.landing)
  }

  private func walk(_ access: JudgedAccess, _ rights: inout CollectedRights) throws(Refused) -> (output: UInt64, used: [Used]) {
    switch processor.paging {
    case .none: return (linear, [])
    case .twoLevel: return try walkTwoLevel(access, &rights)
    case .pae: return try walkPAE(access, &rights)
    case .long(let levels): return try walkLong(access, levels: levels, &rights)
    }
  }

  private func descended(_ one: Used) throws(Refused) {
    if processor.isEager { try setFlags(one, isWrite: false) }
  }

  private func walkTwoLevel(_ access: JudgedAccess, _ rights: inout CollectedRights) throws(Refused) -> (UInt64, [Used]) {
    let directorySlot = processor.cr3 & 0xffff_f000 | (linear >> 22 & 0x3ff) << 2
    let directoryLanding = try landing(ofTable: directorySlot)
    let directory = memory.entry(directoryLanding, 4)
    if directory & 1 == 0 { throw pageFault(0, access) }
    var upper = Used(address: directorySlot, landing: directoryLanding, entry: directory, isLeaf: false)
    if processor.cr4 >> 4 & 1 == 1 && directory >> 7 & 1 == 1 {
      if processor.isReserved4MiB(directory) { throw pageFault(0b1001, access) }
      upper.isLeaf = true
      rights.add(directory, isLeaf: true, countsXD: false)
      leaf = (directory, 22)
      return (processor.address4MiB(directory) | linear & 0x3f_ffff, [upper])
    }
    rights.add(directory, isLeaf: false, countsXD: false)
    try descended(upper)
    let slot = directory & 0xffff_f000 | (linear >> 12 & 0x3ff) << 2
    let landing = try landing(ofTable: slot)
    let entry = memory.entry(landing, 4)
    if entry & 1 == 0 { throw pageFault(0, access) }
    rights.add(entry, isLeaf: true, countsXD: false)
    leaf = (entry, 12)
    return (entry & 0xffff_f000 | linear & 0xfff, [upper, Used(address: slot, landing: landing, entry: entry, isLeaf: true)])
  }

  private func walkPAE(_ access: JudgedAccess, _ rights: inout CollectedRights) throws(Refused) -> (UInt64, [Used]) {
    let number = linear >> 30 & 3
    var pointer = processor.pointers[Int(number)]
    if processor.below == .nestedPaging {
      // Under nested paging they are read when they are needed, and a bad one faults there.
      let slot = processor.cr3 & 0xffff_ffe0 | number << 3
      let landing = try landing(ofTable: slot)
      pointer = memory.entry(landing, 8)
      if pointer & 1 == 1 && processor.isReservedPointer(pointer) { throw pageFault(0b1001, access) }
    }
    if pointer & 1 == 0 { throw pageFault(0, access) }
    var table = pointer & 0xf_ffff_ffff_f000
    var used: [Used] = []
    for level in [1, 0] as [UInt64] {
      let shift = 12 + 9 * level
      let slot = table | (linear >> shift & 511) << 3
      let landing = try landing(ofTable: slot)
      let entry = memory.entry(landing, 8)
      if entry & 1 == 0 { throw pageFault(0, access) }
      if processor.isReservedPAE(entry, level: level, nxe: processor.nxe) { throw pageFault(0b1001, access) }
      let isLeaf = level == 0 || entry >> 7 & 1 == 1
      rights.add(entry, isLeaf: isLeaf, countsXD: true)
      used.append(Used(address: slot, landing: landing, entry: entry, isLeaf: isLeaf))
      if isLeaf {
        leaf = (entry, shift)
        let offset = (UInt64(1) << shift) - 1
        return (entry & 0xf_ffff_ffff_f000 & ~offset | linear & offset, used)
      }
      try descended(used[used.count - 1])
      table = entry & 0xf_ffff_ffff_f000
    }
    preconditionFailure("a page table entry is a leaf")
  }

  private func walkLong(_ access: JudgedAccess, levels: UInt64, _ rights: inout CollectedRights) throws(Refused) -> (UInt64, [Used]) {
    var table = processor.cr3 & 0xf_ffff_ffff_f000
    var used: [Used] = []
    var level = levels - 1
    while true {
      let shift = 12 + 9 * level
      let slot = table | (linear >> shift & 511) << 3
      let landing = try landing(ofTable: slot)
      let entry = memory.entry(landing, 8)
      if entry & 1 == 0 { throw pageFault(0, access) }
      let reservesBit8 = processor.isAMD && processor.below != .nestedPaging
      if processor.isReservedLong(entry, level: level, nxe: processor.nxe, reservesBit8: reservesBit8) {
        throw pageFault(0b1001, access)
      }
      let isLeaf = level == 0 || level <= 2 && entry >> 7 & 1 == 1
      rights.add(entry, isLeaf: isLeaf, countsXD: true)
      used.append(Used(address: slot, landing: landing, entry: entry, isLeaf: isLeaf))
      if isLeaf {
        leaf = (entry, shift)
        let offset = (UInt64(1) << shift) - 1
        return (entry & 0xf_ffff_ffff_f000 & ~offset | linear & offset, used)
      }
      try descended(used[used.count - 1])
      table = entry & 0xf_ffff_ffff_f000
      level -= 1
    }
  }

  // MARK: Loading pointers

  /// The four PDPTEs that a load of CR3 takes, or nil if it raises #GP(0) ("PDPTE Registers").
  static func pointers(_ processor: JudgedProcessor, _ memory: JudgedMemory) -> [UInt64]? {
    var pointers: [UInt64] = []
    for number in 0..<4 as Range<UInt64> {
      let pointer = memory.entry(processor.cr3 & 0xffff_ffe0 | number << 3, 8)
      if pointer & 1 == 1 && processor.isReservedPointer(pointer) { return nil }
      pointers.append(pointer)
    }
    return pointers
  }
}
