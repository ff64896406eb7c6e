// The list of pending operations: what an access becomes that the unit could not finish. The same for every back end.
import CPagingKit

extension UnitModel {
  /// Puts what failed into the list.
  func append(_ listed: pgk_listed_v1) {
    for part in parts(of: listed) { state.pending.append(PendingOperation(listed: part, answer: nil)) }
    state.engine.caches.counters.pointee.faults &+= 1
  }

  func listing(_ end: EngineEnd, _ access: pgk_access_v1, _ value: pgk_value_v1?) -> pgk_listed_v1 {
    var listed = pgk_listed_v1()
    listed.access = access
    if let value, access.flags & UInt8(PGK_HAS_VALUE) != 0 || access.isWrite {
      listed.value = value
      listed.flags |= UInt8(PGK_LISTED_HAS_VALUE)
    }
    listed.fault_address = end.faultAddress
    listed.slot = PGK_NO_ENTRY
    listed.entry_reads = end.reads
    if end.stop == .device {
      listed.class_ = UInt8(PGK_CLASS_DEVICE)
      listed.guest_physical = end.output
      listed.flags |= UInt8(PGK_LISTED_HAS_GUEST_PHYSICAL | PGK_LISTED_FINAL_ADDRESS)
    } else {
      let fault = state.engine.caches.fault.pointee
      listed.slot = fault.slot
      listed.stage = fault.stage
      listed.level = fault.level
      describe(fault, &listed)
    }
    return listed
  }

  /// An access behind the one that stopped its group: innocent, or with a fault of its own.
  func neighbour(_ access: pgk_access_v1, _ value: pgk_value_v1?) -> pgk_listed_v1 {
    if access.isSpecial, var listed = judgeSpecialNeighbour(access, value ?? pgk_value_v1()) {
      listed.access = access
      listed.value = value ?? pgk_value_v1()
      return listed
    }
    guard !access.isSpecial, let end = judgeNeighbour(access, value) else { return collateral(access, value) }
    return listing(end, access, value)
  }

  func collateral(_ access: pgk_access_v1, _ value: pgk_value_v1?) -> pgk_listed_v1 {
    var listed = pgk_listed_v1()
    listed.access = access
    listed.class_ = UInt8(PGK_CLASS_COLLATERAL)
    listed.fault_address = access.address
    listed.slot = PGK_NO_ENTRY
    if let value, access.flags & UInt8(PGK_HAS_VALUE) != 0 || access.isWrite || access.isSpecial {
      listed.value = value
      listed.flags |= UInt8(PGK_LISTED_HAS_VALUE)
    }
    describeInnocent(&listed)
    return listed
  }
}
