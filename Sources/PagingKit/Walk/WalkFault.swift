// Why a translation failed, in terms that manuals share. Back ends map it to their own exceptions.

/// The reason of a failed translation.
@frozen public enum FaultReason: UInt8, Sendable {
  case none
  /// Bits above the input width are not as the architecture wants them.
  case nonCanonical
  case notPresent
  /// Marked invalid, not merely absent; cached, and refused without a trap to speculative accesses.
  case invalid
  case reserved
  case misaligned
  /// A combination of bits that the format forbids (EPT misconfiguration, write without read).
  case misconfigured
  case readDenied
  case writeDenied
  case executeDenied
  /// A user access to a supervisor page.
  case privilege
  /// A supervisor access to a user page, where control bits forbid it.
  case userPage
  case key
  case accessedClear
  case dirtyClear
  /// No memory at the address of an entry.
  case entryHole
  /// No memory at the translated address.
  case outputHole
  /// An update of an entry lost against others too often.
  case contention
  /// The address is wider than the next stage or the bus accepts.
  case tooWide
}

/// Everything a back end needs to describe a failed translation.
@frozen public struct WalkFault: Sendable {
  public var reason: FaultReason = .none
  /// 1 or 2; 0 before any stage.
  public var stage: UInt8 = 0
  public var level: UInt8 = 0
  /// What the second stage was asked for.
  public var purpose: Purpose = .final
  /// Rights collected until then.
  public var rights: Rights = .all
  /// The entry that decided, and where it lies; the slot is PGK_NO_ENTRY if none was read.
  public var slot: UInt64 = .max
  public var entry: UInt64 = 0
  /// The guest-physical address that the second stage could not translate, or the last one known.
  public var guestPhysical: UInt64 = 0
  public var hasGuestPhysical = false
  /// Rights of the first stage, when the second refused the final address.
  public var firstRights: Rights = .all
  /// What the format keeps of the leaf besides rights.
  public var attributes: UInt8 = 0
  /// The level of the first stage whose entry the second could not reach; `noLevel` while it is not known.
  public var firstLevel: UInt8 = noLevel

  @inlinable public static var noLevel: UInt8 { 0xff }

  @inlinable public init() {}
  @inlinable public init(_ reason: FaultReason, stage: UInt8 = 1) {
    self.reason = reason
    self.stage = stage
  }
}

/// Why the second stage is asked for an address.
@frozen public enum Purpose: UInt8, Sendable {
  /// To read an entry of the first stage.
  case tableRead
  /// To set accessed or dirty flags in an entry of the first stage.
  case tableUpdate
  /// For the access itself.
  case final
}
