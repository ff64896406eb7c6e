// The unit's own record of reflected operations: read and decoded as an operating system does, and performed again.
import CPagingKit
import PagingKit

extension UnitServices {
  /// The operations of the record as it is now; none if the unit keeps no record.
  func records() throws(UnitError) -> [pgk_listed_v1] {
    let os = unit.architecture.table.pointee.os.pointee
    guard let read = os.read_faults, let decode = os.decode_faults else { return [] }
    let capacity = 256
    var accesses = [pgk_access_v1](repeating: pgk_access_v1(), count: capacity)
    var values = [pgk_value_v1](repeating: pgk_value_v1(), count: capacity)
    var known: (accesses: [pgk_access_v1], values: [pgk_value_v1]) = ([], [])
    while true {
      for (i, access) in known.accesses.enumerated() { (accesses[i], values[i]) = (access, known.values[i]) }
      let count = try check(read(unit.handle, &accesses, &values, known.accesses.count, capacity))
      if count == 0 { break }
      for i in 0..<count {
        var result = pgk_result_v1()
        let consumed = try unit.run([accesses[i]], values: &values[i], results: &result, count: 1)
        guard consumed == 1, result.outcome == UInt8(PGK_OUTCOME_FINISHED) else {
          throw UnitError(code: PGK_E_STATE, message: "access \(i + 1) of read_faults did not finish")
        }
      }
      known.accesses += accesses.prefix(count)
      known.values += values.prefix(count)
      guard known.accesses.count < capacity else {
        throw UnitError(code: PGK_E_CAPACITY, message: "read_faults asks for more than \(capacity) accesses")
      }
    }
    var list = [pgk_listed_v1](repeating: pgk_listed_v1(), count: capacity)
    let count = try check(decode(unit.handle, known.accesses, known.values, known.accesses.count, &list, capacity))
    return Array(list.prefix(count))
  }

  /// The accesses that perform an operation again; without such a service, the access itself.
  func reexecute(_ listed: pgk_listed_v1) throws(UnitError) -> (accesses: [pgk_access_v1], values: [pgk_value_v1]) {
    guard let service = unit.architecture.table.pointee.os.pointee.reexecute else { return ([listed.access], [listed.value]) }
    var accesses = [pgk_access_v1](repeating: pgk_access_v1(), count: 16)
    var values = [pgk_value_v1](repeating: pgk_value_v1(), count: 16)
    var listed = listed
    let count = try check(service(unit.handle, &listed, &accesses, &values, 16))
    return (Array(accesses.prefix(count)), Array(values.prefix(count)))
  }

  private func check(_ code: Int64) throws(UnitError) -> Int {
    if code < 0 { throw UnitError(code: Int32(truncatingIfNeeded: code), message: unit.lastMessage) }
    return Int(code)
  }
}
