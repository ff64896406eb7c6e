// What a regime answers for each kind, privilege and rights byte, kept as bits, so that a TLB hit is judged in one look.
public import CPagingKit

/// Bits of permission: for every privilege and kind, one bit for each of the 256 rights.
///
/// A row is filled the first time it is missed, by asking the regime; registers that change rights clear all rows. A
/// clear bit is no verdict: it sends the access to the walk, which finds the reason.
@frozen public struct Permissions: @unchecked Sendable {
  // SAFETY: as AssociativeArray.
  public static let privilegeCount = 16
  static let rowCount = privilegeCount * 8

  @usableFromInline let rows: UnsafeMutablePointer<UInt64>
  @usableFromInline let isFilled: UnsafeMutablePointer<Bool>

  public init() {
    rows = .allocate(capacity: Self.rowCount * 4)
    rows.initialize(repeating: 0, count: Self.rowCount * 4)
    isFilled = .allocate(capacity: Self.rowCount)
    isFilled.initialize(repeating: false, count: Self.rowCount)
  }

  public func deallocate() {
    rows.deallocate()
    isFilled.deallocate()
  }

  /// After a change of a register that `judge` looks at.
  public func clear() {
    for row in 0..<Self.rowCount where isFilled[row] {
      isFilled[row] = false
      for word in 0..<4 { rows[row * 4 + word] = 0 }
    }
  }

  @inlinable @inline(__always) static func row(_ access: pgk_access_v1) -> Int {
    Int(truncatingIfNeeded: access.privilege & 15) &* 8 &+ Int(truncatingIfNeeded: access.kind & 7)
  }

  @inlinable @inline(__always) public func permits(_ rights: Rights, _ access: pgk_access_v1) -> Bool {
    let word = rows[Self.row(access) &* 4 &+ Int(truncatingIfNeeded: rights.rawValue &>> 6)]
    return (word &>> UInt64(truncatingIfNeeded: rights.rawValue & 63)) & 1 != 0
  }

  @inlinable @inline(__always) public func hasRow(_ access: pgk_access_v1) -> Bool { isFilled[Self.row(access)] }

  /// Fills the access's row by what `judge` says of every rights byte, if the row is empty. Returns whether it did.
  @inline(never) @inlinable public func fill(_ access: pgk_access_v1, _ judge: (Rights) -> FaultReason) -> Bool {
    let row = Self.row(access)
    if isFilled[row] { return false }
    isFilled[row] = true
    for value in 0...UInt8.max {
      let rights = Rights(rawValue: value)
      // A store without the dirty right must walk.
      guard !access.isWrite || rights.has(.dirty), judge(rights) == .none else { continue }
      rows[row &* 4 &+ Int(value &>> 6)] |= 1 &<< UInt64(value & 63)
    }
    return true
  }
}
