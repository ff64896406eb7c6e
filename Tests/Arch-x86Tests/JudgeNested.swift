// From guest-physical to physical addresses. AMD APM volume 2, "Nested Paging"; SDM 3C, "The Extended Page Table
// Mechanism (EPT)".

extension Judge {
  // MARK: AMD

  /// A nested walk, to the physical address. Whatever reaches a guest's table is a user write of its own.
  func nested(_ gpa: UInt64, write: Bool, fetch: Bool, isFinal: Bool) throws(Refused) -> UInt64 {
    if let lower {
      return try lower(gpa, isFinal ? .final : .table) { judge throws(Refused) in
        try judge.nested(gpa, write: write, fetch: fetch, isFinal: isFinal)
      }
    }
    var used: [UInt64] = []
    let hasXD = processor.hostEFER >> 11 & 1 == 1
    let smep = processor.hostCR4 >> 20 & 1 == 1
    let countsPAE = processor.hostCR4 >> 5 & 1 == 1

    func refusal(_ present: UInt64, _ reserved: UInt64) -> Refused {
      var info1 = present | 1 << 2 | reserved << 3
      if write { info1 |= 1 << 1 }
      if fetch && (smep || countsPAE && hasXD) { info1 |= 1 << 4 }
      info1 |= isFinal ? 1 << 32 : 1 << 33
      return Refused(ruling: .nestedFault(info1: info1, info2: gpa))
    }

    let table: UInt64
    let levels: UInt64
    let indexBits: UInt64
    let size: UInt64
    switch processor.hostPaging {
    case .none, .twoLevel: (table, levels, indexBits, size) = (processor.hostCR3 & 0xffff_f000, 2, 10, 4)
    case .pae: (table, levels, indexBits, size) = (processor.hostCR3 & 0xffff_ffe0, 3, 9, 8)
    case .long(let count): (table, levels, indexBits, size) = (processor.hostCR3 & 0xf_ffff_ffff_f000, count, 9, 8)
    }
    // What the tables cannot name is not mapped.
    let width = size == 4 || levels == 3 ? 32 : 12 + 9 * levels
    if gpa >> width != 0 { throw refusal(0, 0) }

    var base = table
    var level = levels - 1
    var isUser = true, isWritable = true, isNX = false
    while true {
      let shift = 12 + indexBits * level
      let slot = base + (gpa >> shift & ((1 << indexBits) - 1)) * size
      let entry = memory.entry(slot, size, below: used)
      if entry & 1 == 0 { throw refusal(0, 0) }
      var isPointer = false
      var isLeaf = level == 0
      switch processor.hostPaging {
      case .none, .twoLevel:
        if level == 1 && processor.hostCR4 >> 4 & 1 == 1 && entry >> 7 & 1 == 1 {
          isLeaf = true
          if processor.isReserved4MiB(entry) { throw refusal(1, 1) }
        }
      case .pae:
        isPointer = level == 2
        if isPointer {
          if processor.isReservedPointer(entry) { throw refusal(1, 1) }
        } else {
          if processor.isReservedPAE(entry, level: level, nxe: hasXD) { throw refusal(1, 1) }
          if level == 1 && entry >> 7 & 1 == 1 { isLeaf = true }
        }
      case .long:
        if processor.isReservedLong(entry, level: level, nxe: hasXD, reservesBit8: false) { throw refusal(1, 1) }
        if level <= 2 && level > 0 && entry >> 7 & 1 == 1 { isLeaf = true }
      }
      if !isPointer {
        if entry >> 2 & 1 == 0 { isUser = false }
        if entry >> 1 & 1 == 0 { isWritable = false }
        if size == 8 && hasXD && entry >> 63 == 1 { isNX = true }
        used.append(slot)
      }
      let address = size == 4 ? (isLeaf && level == 1 ? processor.address4MiB(entry) : entry & 0xffff_f000) : entry & 0xf_ffff_ffff_f000
      if isLeaf {
        if !isUser || write && !isWritable || fetch && isNX { throw refusal(1, 0) }
        for slot in used { memory.set(1 << 5, in: slot) }
        if write { memory.set(1 << 6, in: slot) }
        let offset = (UInt64(1) << shift) - 1
        return address & ~offset | gpa & offset
      }
      if processor.isEager && !isPointer { memory.set(1 << 5, in: slot) }
      base = address
      level -= 1
    }
  }

  // MARK: Intel

  /// What an access to a guest-physical address is for.
  enum EPTUse {
    /// Reading an entry of a guest's table.
    case table
    /// Setting a flag in it, with accessed and dirty flags for EPT off: an access of its own.
    case flag
    /// The access itself. The guest's rights are reported with advanced information.
    case final(JudgedAccess, CollectedRights)
  }

  var eptHasFlags: Bool { processor.eptp >> 6 & 1 == 1 }

  /// An EPT walk, to the physical address.
  func ept(_ gpa: UInt64, _ use: EPTUse) throws(Refused) -> UInt64 {
    if let lower {
      let linear = linear
      let kind: LowerUse = switch use {
      case .table: .table
      case .flag: .flag
      case .final: .final
      }
      return try lower(gpa, kind) { judge throws(Refused) in
        judge.linear = linear
        return try judge.ept(gpa, use)
      }
    }
    // With accessed and dirty flags for EPT, accesses to a guest's tables are writes.
    var read = false, write = false, fetch = false, isUserFetch = false
    var isModify = false
    switch use {
    case .table:
      read = true
      write = eptHasFlags
    case .flag:
      write = true
      isModify = true
    case .final(let access, let rights):
      read = access.kind == .read
      write = access.isWrite
      fetch = access.isFetch
      isModify = access.kind == .modify
      isUserFetch = rights.isUserPage
    }

    let levels = processor.eptp >> 3 & 7 + 1
    if gpa >> (12 + 9 * levels) != 0 { throw violation(gpa, read: read, write: write, fetch: fetch, isModify: isModify, rights: 0, use) }
    var base = processor.eptp & 0xf_ffff_ffff_f000
    var level = levels - 1
    var rights: UInt64 = 0x407
    var used: [UInt64] = []
    while true {
      let shift = 12 + 9 * level
      let slot = base + (gpa >> shift & 511) * 8
      let entry = memory.entry(slot, 8, below: used)
      let isPresent = entry & 7 != 0 || processor.hasModeBasedExecute && entry >> 10 & 1 == 1
      if !isPresent { throw violation(gpa, read: read, write: write, fetch: fetch, isModify: isModify, rights: 0, use) }
      if processor.isMisconfigured(ept: entry, level: level) { throw Refused(ruling: .eptMisconfiguration(gpa: gpa)) }
      rights &= entry
      used.append(slot)
      let isLeaf = level == 0 || level <= 2 && entry >> 7 & 1 == 1
      if isLeaf {
        let executeBit: UInt64 = processor.hasModeBasedExecute && isUserFetch ? 1 << 10 : 1 << 2
        if read && rights & 1 == 0 || write && rights & 2 == 0 || fetch && rights & executeBit == 0 {
          throw violation(gpa, read: read, write: write, fetch: fetch, isModify: isModify, rights: rights, use)
        }
        if eptHasFlags {
          for slot in used { memory.set(1 << 8, in: slot) }
          if write { memory.set(1 << 9, in: slot) }
        }
        let offset = (UInt64(1) << shift) - 1
        return entry & 0xf_ffff_ffff_f000 & ~offset | gpa & offset
      }
      if processor.isEager && eptHasFlags { memory.set(1 << 8, in: slot) }
      base = entry & 0xf_ffff_ffff_f000
      level -= 1
    }
  }

  /// Table "Exit Qualification for EPT Violations".
  private func violation(
    _ gpa: UInt64, read: Bool, write: Bool, fetch: Bool, isModify: Bool, rights: UInt64, _ use: EPTUse
  ) -> Refused {
    var qualification: UInt64 = 0
    var mask: UInt64 = 0xffff_ffff_ffff_ffff & ~(1 << 6 | 0b111 << 9)
    if read { qualification |= 1 }
    if write { qualification |= 1 << 1 }
    if fetch { qualification |= 1 << 2 }
    // Whether a read-modify-write is reported as a read too depends on the processor.
    if isModify { mask &= ~1 }
    qualification |= (rights & 7) << 3
    if processor.hasModeBasedExecute {
      mask |= 1 << 6
      qualification |= (rights >> 10 & 1) << 6
    }
    qualification |= 1 << 7
    if case .final(_, let guest) = use {
      qualification |= 1 << 8
      if hasAdvancedInformation {
        mask |= 0b111 << 9
        if guest.isUserPage { qualification |= 1 << 9 }
        if guest.isWritable { qualification |= 1 << 10 }
        if guest.isExecuteDisabled { qualification |= 1 << 11 }
      }
    }
    return Refused(ruling: .eptViolation(qualification: qualification & mask, mask: mask, gpa: gpa, linear: linear))
  }
}
