// Who may do what with collected rights. Intel SDM volume 3A, "Access Rights", "Protection Keys".
import CPagingKit
import PagingKit

/// Privileges in the order of the description.
enum Privilege {
  static let supervisor: UInt8 = 0
  static let user: UInt8 = 1
  /// Accesses that the processor makes for itself, to descriptor tables for example: RFLAGS.AC does not excuse them.
  static let implicitSupervisor: UInt8 = 2
  static let userShadowStack: UInt8 = 3
  static let supervisorShadowStack: UInt8 = 4

  static func isUser(_ privilege: UInt8) -> Bool { privilege == user || privilege == userShadowStack }
  static func isShadowStack(_ privilege: UInt8) -> Bool { privilege >= userShadowStack }
}

/// The control bits that judge rights.
@frozen @usableFromInline struct Judgement {
  @usableFromInline var writeProtect = false
  @usableFromInline var smep = false
  @usableFromInline var smap = false
  /// RFLAGS.AC: explicit supervisor accesses to user pages are excused from SMAP.
  @usableFromInline var alignmentCheck = false
  /// CR4.PKE with PKRU, CR4.PKS with IA32_PKRS.
  @usableFromInline var userKeys = false
  @usableFromInline var supervisorKeys = false
  @inline(__always) @usableFromInline var hasKeys: Bool { userKeys || supervisorKeys }
  @usableFromInline var pkru: UInt32 = 0
  @usableFromInline var pkrs: UInt32 = 0

  @usableFromInline init() {}

  /// `Attribute.shadowStack` in the attributes says that the page is a shadow-stack page.
  @inline(__always) @usableFromInline
  func judge(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason {
    if access.privilege >= 3 { return judgeShadowStack(rights, attributes: attributes, access) }
    if access.privilege == 1 {
      guard rights.has(.user) else { return .privilege }
      if access.isWrite && !rights.has(.write) { return .writeDenied }
      return access.isFetch && !rights.has(.execute) ? .executeDenied : .none
    }
    if access.isFetch {
      guard rights.has(.execute) else { return .executeDenied }
      return smep && rights.has(.user) ? .userPage : .none
    }
    if smap && rights.has(.user) && !(alignmentCheck && access.privilege == 0) { return .userPage }
    return access.isWrite && writeProtect && !rights.has(.write) ? .writeDenied : .none
  }

  /// Only shadow-stack pages of the same mode, by loads and stores alike ("Shadow-Stack Accesses").
  @usableFromInline func judgeShadowStack(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> FaultReason {
    let isUser = access.privilege == Privilege.userShadowStack
    guard !access.isFetch else { return .executeDenied }
    guard rights.has(.user) == isUser else { return isUser ? .privilege : .userPage }
    return attributes & Attribute.shadowStack != 0 ? .none : (access.isWrite ? .writeDenied : .readDenied)
  }

  /// Data accesses only; the mode of the page chooses the register, whatever the mode of the access.
  @inline(__always) @usableFromInline
  func keyForbids(_ rights: Rights, attributes: UInt8, _ access: pgk_access_v1) -> Bool {
    guard hasKeys, !access.isFetch else { return false }
    let isUserPage = rights.has(.user)
    guard isUserPage ? userKeys : supervisorKeys else { return false }
    let bits = (isUserPage ? pkru : pkrs) &>> UInt32(truncatingIfNeeded: (attributes & 15) &* 2)
    if bits & 1 != 0 { return true }
    return bits & 2 != 0 && access.isWrite && (writeProtect || isUserPage && (access.privilege == 1 || access.privilege == 3))
  }
}

/// What a TLB entry keeps besides rights: the key in bits 3:0, and this.
enum Attribute {
  @usableFromInline static let shadowStack: UInt8 = 16
}
