// Which right an access needs, and which refusal comes first when several would do.
import CPagingKit
import PagingKit

/// Rights of the leaf against an access.
///
/// Hardware priority is not published: VALID before P is what kernels rely on, the rest is a policy.
struct Judgement: Sendable {
  /// W is looked at before PV.
  var isWriteFirst = false
  /// A store that the hypervisor has taken in goes on without W.
  var ignoresWrite: Bool {
    get { storeNeeds == .read }
    set { storeNeeds = newValue ? .read : [.read, .write] }
  }
  private var storeNeeds: Rights = [.read, .write]

  init(isWriteFirst: Bool = false) { self.isWriteFirst = isWriteFirst }

  /// A store, or a load with store semantics.
  @inline(__always) static func isStore(_ access: pgk_access_v1) -> Bool {
    (0b0001_1110 &>> access.kind) & 1 != 0
  }

  @inline(__always) func refusal(_ rights: Rights, _ access: pgk_access_v1) -> FaultReason {
    let isStore = Self.isStore(access)
    var needed: Rights = access.isFetch ? .execute : isStore ? storeNeeds : .read
    if access.privilege == Privilege.user { needed.formUnion(.user) }
    return rights.has(needed) ? .none : reason(rights, access, isStore: isStore)
  }

  @inline(never) private func reason(_ rights: Rights, _ access: pgk_access_v1, isStore: Bool) -> FaultReason {
    let lacksPrivilege = access.privilege == Privilege.user && !rights.has(.user)
    let lacksWrite = isStore && !rights.has(storeNeeds)
    if lacksWrite && (isWriteFirst || !lacksPrivilege) { return .writeDenied }
    if lacksPrivilege { return .privilege }
    return access.isFetch ? .executeDenied : .readDenied
  }

  /// The same for rights from a TLB: a lock load too needs a walk for a D that is not set.
  @inline(__always) func cachedRefusal(_ rights: Rights, _ access: pgk_access_v1) -> FaultReason {
    if UInt32(access.kind) == PGK_LOAD_LOCKED && !rights.has(.dirty) { return .dirtyClear }
    return refusal(rights, access)
  }
}

enum Privilege {
  @inline(__always) static var user: UInt8 { 0 }
  @inline(__always) static var kernel: UInt8 { 1 }

  static let names: [NamedMeaning] = [
    .init("user", "pm = 0"), .init("kernel", "pm = 1: privileged mode, and hardware spill and fill"),
  ]
}
