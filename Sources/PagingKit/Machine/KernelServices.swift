// What a kernel must do on this architecture, asked of the back end as accesses.
import CPagingKit

/// Accesses with their values, as a service wrote them.
struct KernelAccesses {
  var accesses: [pgk_access_v1] = []
  var values: [pgk_value_v1] = []
  var count: Int { accesses.count }
}

/// The services of one unit. They only translate wishes into accesses; the processor performs them.
final class KernelServices {
  typealias Accesses = UnsafeMutablePointer<pgk_access_v1>?
  typealias Values = UnsafeMutablePointer<pgk_value_v1>?

  private let unit: Unit
  private let table: pgk_os_v1
  private var accesses = [pgk_access_v1](repeating: pgk_access_v1(), count: 64)
  private var values = [pgk_value_v1](repeating: pgk_value_v1(), count: 64)
  /// More accesses than this for one service is a back end gone wrong.
  private static let mostAccesses = 1 << 20

  init(_ unit: Unit) {
    self.unit = unit
    table = unit.table.os.pointee
  }

  func enableTranslation(regime: Int, root: Address<GuestPhysical>, identifier: UInt32) throws(MachineError) -> KernelAccesses {
    try required("enable_translation", table.enable_translation) {
      $0(unit.handle, UInt32(regime), root.bits, identifier, $1, $2, $3)
    }
  }

  func switchSpace(_ space: AddressSpace) throws(MachineError) -> KernelAccesses {
    try required("switch_space", table.switch_space) { $0(unit.handle, space.root.bits, space.identifier, $1, $2, $3) }
  }

  func invalidate(
    scope: UInt32, address: UInt64 = 0, byteCount: UInt64 = 0, identifier: UInt32
  ) throws(MachineError) -> KernelAccesses {
    try required("invalidate", table.invalidate) { $0(unit.handle, scope, address, byteCount, identifier, $1, $2, $3) }
  }

  func trapEntry() throws(MachineError) -> KernelAccesses {
    try optional("trap_entry", table.trap_entry) { $0(unit.handle, $1, $2, $3) }
  }

  func trapReturn() throws(MachineError) -> KernelAccesses {
    try optional("trap_return", table.trap_return) { $0(unit.handle, $1, $2, $3) }
  }

  func acknowledge() throws(MachineError) -> KernelAccesses {
    try optional("acknowledge", table.acknowledge) { $0(unit.handle, $1, $2, $3) }
  }

  /// The accesses that perform an operation again; without such a service, the access itself.
  func reexecute(_ operation: pgk_listed_v1) throws(MachineError) -> KernelAccesses {
    guard let service = table.reexecute else {
      return KernelAccesses(accesses: [operation.access], values: [operation.value])
    }
    var operation = operation
    return try collect("reexecute") { service(unit.handle, &operation, $0, $1, $2) }
  }

  /// Whether the unit keeps a record of its own; otherwise its list says all there is.
  var hasRecord: Bool { table.read_faults != nil && table.decode_faults != nil }

  /// The whole list of accesses that fetch the record, given those so far with their values; the same list again when
  /// the record is complete.
  func readFaults(known: KernelAccesses) throws(MachineError) -> KernelAccesses {
    guard let service = table.read_faults else { return known }
    let answer = try collect("read_faults") { accesses, values, capacity in
      for i in 0..<min(known.count, capacity) {
        accesses![i] = known.accesses[i]
        values![i] = known.values[i]
      }
      return service(self.unit.handle, accesses, values, known.count, capacity)
    }
    return KernelAccesses(accesses: known.accesses + answer.accesses, values: known.values + answer.values)
  }

  func decodeFaults(_ answers: KernelAccesses) throws(MachineError) -> [pgk_listed_v1] {
    guard let service = table.decode_faults else { return [] }
    var capacity = 16
    while true {
      var list = [pgk_listed_v1](repeating: pgk_listed_v1(), count: capacity)
      let count = service(unit.handle, answers.accesses, answers.values, answers.count, &list, capacity)
      if count >= 0, count <= capacity { return Array(list.prefix(Int(count))) }
      capacity = try grown("decode_faults", capacity, code: count)
    }
  }

  // MARK: Calling

  private func required<Service>(
    _ name: String, _ service: Service?, _ call: (Service, Accesses, Values, Int) -> Int64
  ) throws(MachineError) -> KernelAccesses {
    guard let service else { throw .service(name, "the back end does not have it") }
    return try collect(name) { call(service, $0, $1, $2) }
  }

  private func optional<Service>(
    _ name: String, _ service: Service?, _ call: (Service, Accesses, Values, Int) -> Int64
  ) throws(MachineError) -> KernelAccesses {
    guard let service else { return KernelAccesses() }
    return try collect(name) { call(service, $0, $1, $2) }
  }

  private func collect(_ name: String, _ call: (Accesses, Values, Int) -> Int64) throws(MachineError) -> KernelAccesses {
    while true {
      let capacity = accesses.count
      let count = accesses.withUnsafeMutableBufferPointer { accesses in
        values.withUnsafeMutableBufferPointer { values in call(accesses.baseAddress, values.baseAddress, capacity) }
      }
      if count == 0 { return KernelAccesses() }
      if count > 0, count <= capacity {
        return KernelAccesses(accesses: Array(accesses.prefix(Int(count))), values: Array(values.prefix(Int(count))))
      }
      let larger = try grown(name, capacity, code: count)
      accesses = .init(repeating: pgk_access_v1(), count: larger)
      values = .init(repeating: pgk_value_v1(), count: larger)
    }
  }

  /// Room for the next try, if room is what was missing.
  private func grown(_ name: String, _ capacity: Int, code: Int64) throws(MachineError) -> Int {
    guard code > 0 || code == Int64(PGK_E_CAPACITY) else { throw .service(name, unit.lastMessage) }
    guard capacity < Self.mostAccesses else { throw .service(name, "it wants more than \(capacity) accesses") }
    return capacity * 4
  }
}
