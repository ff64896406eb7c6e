// Access rights and error codes of the guest's, or the only, tables. SDM 3A, "Access Rights", "Protection Keys",
// "Page-Fault Exceptions", "Shadow-Stack Accesses".

/// What the entries of one translation say together.
struct CollectedRights {
  /// U/S is 1 in every entry.
  var isUserPage = true
  /// R/W is 1 in every entry.
  var isWritable = true
  /// R/W is 1 in every entry but the last.
  var isWritableAbove = true
  /// XD is 1 in an entry.
  var isExecuteDisabled = false
  var key: UInt64 = 0
  var isDirty = false

  /// Adds an entry of 32-bit, PAE, 4- or 5-level paging. Bit 63 counts only if it is not reserved.
  mutating func add(_ entry: UInt64, isLeaf: Bool, countsXD: Bool) {
    if entry >> 2 & 1 == 0 { isUserPage = false }
    if entry >> 1 & 1 == 0 {
      isWritable = false
      if !isLeaf { isWritableAbove = false }
    }
    if countsXD && entry >> 63 == 1 { isExecuteDisabled = true }
    if isLeaf {
      key = entry >> 59 & 15
      isDirty = entry >> 6 & 1 == 1
    }
  }
}

extension JudgedProcessor {
  /// Whether the protection key forbids a data access: PKRU for user pages, IA32_PKRS for supervisor pages.
  func keyForbids(_ rights: CollectedRights, _ access: JudgedAccess) -> Bool {
    guard case .long = paging, !access.isFetch else { return false }
    if rights.isUserPage {
      guard cr4 >> 22 & 1 == 1 else { return false }
      let accessDisable = pkru >> (2 * rights.key) & 1
      let writeDisable = pkru >> (2 * rights.key + 1) & 1
      if accessDisable == 1 { return true }
      return writeDisable == 1 && access.isWrite && (access.isUser || writeProtect)
    }
    guard cr4 >> 24 & 1 == 1 else { return false }
    let accessDisable = pkrs >> (2 * rights.key) & 1
    let writeDisable = pkrs >> (2 * rights.key + 1) & 1
    if accessDisable == 1 { return true }
    return writeDisable == 1 && access.isWrite && writeProtect
  }

  /// Whether the rights without keys allow the access.
  func allows(_ rights: CollectedRights, _ access: JudgedAccess) -> Bool {
    if access.isShadowStack {
      // A shadow-stack page: writable above, read-only and dirty in the last entry; of the access's own mode.
      let isShadowStackPage = rights.isWritableAbove && !rights.isWritable && rights.isDirty
      return isShadowStackPage && rights.isUserPage == access.isUser
    }
    if access.isUser {
      guard rights.isUserPage else { return false }
      switch access.kind {
      case .read: return true
      case .write, .modify: return rights.isWritable
      case .fetch: return !rights.isExecuteDisabled
      }
    }
    switch access.kind {
    case .fetch:
      if rights.isUserPage && smep { return false }
      return !rights.isExecuteDisabled
    case .read, .write, .modify:
      if rights.isUserPage && smap {
        if access.privilege == .implicit { return false }
        if !alignmentCheck { return false }
      }
      if access.kind == .read { return true }
      return rights.isWritable || !writeProtect
    }
  }

  /// Bits of the error code that the access itself gives.
  func baseCode(_ access: JudgedAccess) -> UInt64 {
    var code: UInt64 = 0
    if access.isWrite { code |= 1 << 1 }
    if access.isUser { code |= 1 << 2 }
    if access.isFetch && (smep || cr4 >> 5 & 1 == 1 && nxe) { code |= 1 << 4 }
    if access.isShadowStack { code |= 1 << 6 }
    return code
  }
}
