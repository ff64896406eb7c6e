// Who may use a page: the rights that entries gave, against privilege, SUM and MXR.
import CPagingKit
import PagingKit

/// Step 5 of "Virtual Address Translation Process", for both stages.
struct RightsJudge: Sendable {
  /// Bit n: accesses of privilege n are made as by user mode.
  var userPrivileges: UInt32 = 0
  /// SUM of the status register that applies.
  var supervisorMayUseUserPages = false
  /// MXR for the first stage: of mstatus, and of vsstatus if V=1.
  var executableIsReadableFirst = false
  /// MXR for the second stage: of mstatus only.
  var executableIsReadableSecond = false
  /// xenvcfg.SSE: shadow-stack pages exist. A cached one must not outlive it.
  var hasShadowStack = false

  @inline(__always)
  private static func isAmong(_ privileges: UInt32, _ access: pgk_access_v1) -> Bool {
    (privileges &>> UInt32(truncatingIfNeeded: access.privilege)) & 1 != 0
  }

  @inline(__always)
  func first(_ rights: Rights, _ access: pgk_access_v1) -> FaultReason {
    if Self.isAmong(userPrivileges, access) {
      guard rights.has(.user) else { return .privilege }
    } else if rights.has(.user) {
      guard supervisorMayUseUserPages, !access.isFetch else { return .userPage }
    }
    let isShadowStackPage = rights.rawValue & 0b111 == Rights.write.rawValue
    if isShadowStackPage || Self.isAmong(Privilege.shadowStack, access) {
      return shadowStack(rights, access, isShadowStackPage)
    }
    if access.isFetch { return rights.has(.execute) ? .none : .executeDenied }
    if access.isWrite { return rights.has(.write) ? .none : .writeDenied }
    if Self.isAmong(Privilege.hlvx, access) { return rights.has(.execute) ? .none : .executeDenied }
    if rights.has(.read) || executableIsReadableFirst && rights.has(.execute) { return .none }
    return .readDenied
  }

  /// "Shadow Stack Memory Protection": a mismatch of page and instruction is an access fault, but for a read-only page,
  /// which may be copied on write.
  @inline(never)
  private func shadowStack(_ rights: Rights, _ access: pgk_access_v1, _ isShadowStackPage: Bool) -> FaultReason {
    guard isShadowStackPage else {
      return rights.rawValue & 0b111 == Rights.read.rawValue ? .writeDenied : .pageKind
    }
    guard hasShadowStack else { return .misconfigured }
    if Self.isAmong(Privilege.shadowStack, access) { return .none }
    if access.isFetch || access.isWrite { return .pageKind }
    return Self.isAmong(Privilege.hlvx, access) ? .executeDenied : .none
  }

  /// The second stage for the access itself. It knows no shadow stacks, but their accesses need both rights; no entry of
  /// it has W without R.
  @inline(__always)
  func second(_ rights: Rights, _ access: pgk_access_v1) -> FaultReason {
    if access.isFetch { return rights.has(.secondExecute) ? .none : .executeDenied }
    if access.isWrite || Self.isAmong(Privilege.shadowStack, access) { return rights.has(.secondWrite) ? .none : .writeDenied }
    if Self.isAmong(Privilege.hlvx, access) { return rights.has(.secondExecute) ? .none : .executeDenied }
    if rights.has(.secondRead) || executableIsReadableSecond && rights.has(.secondExecute) { return .none }
    return .readDenied
  }
}

extension FaultReason {
  /// A shadow-stack page and an ordinary access, or the reverse. There are no other keys on RISC-V.
  static var pageKind: FaultReason { .key }
}
