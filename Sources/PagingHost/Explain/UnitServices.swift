// What an operating system does to a unit, as calls: the back end says which accesses that takes, and they are run.
import CPagingKit
import PagingKit

/// A service that the back end refuses, does not have, or whose accesses did not finish.
public struct ServiceError: Error, CustomStringConvertible, Sendable {
  public let service: String
  public let reason: String
  public var description: String { "\(service): \(reason)" }
}

struct UnitServices {
  let unit: Unit
  private var table: pgk_arch_v1 { unit.architecture.table.pointee }
  private var os: pgk_os_v1 { table.os.pointee }

  /// No service of any architecture takes more accesses at a time than this.
  private static let capacity = 4096

  func enableTranslation(regime: Int, root: UInt64, identifier: UInt32 = 0) throws(ServiceError) {
    guard let service = os.enable_translation else { throw missing("enable_translation") }
    try perform("enable_translation") { service(unit.handle, UInt32(regime), root, identifier, $0, $1, $2) }
  }

  /// Loads what turns the second stage of a regime on.
  func enableSecondStage(regime: Int, root: UInt64, machineIdentifier: UInt32 = 1) throws(ServiceError) {
    guard let service = os.enable_second_stage else { throw missing("enable_second_stage") }
    var values = [pgk_register_value_v1](repeating: pgk_register_value_v1(), count: 64)
    let count = service(unit.handle, UInt32(regime), root, machineIdentifier, &values, values.count)
    guard count >= 0 else { throw ServiceError(service: "enable_second_stage", reason: unit.lastMessage) }
    let list = values.prefix(Int(count)).map { (index: Int($0.index), value: $0.value) }
    let outcome: pgk_register_outcome_v1
    do { outcome = try unit.writeRegisters(list) } catch {
      throw ServiceError(service: "enable_second_stage", reason: error.message)
    }
    guard outcome.outcome == UInt8(PGK_OUTCOME_FINISHED) else {
      throw ServiceError(service: "enable_second_stage", reason: unit.architecture.outcomeName(outcome.outcome))
    }
  }

  private func missing(_ service: String) -> ServiceError {
    ServiceError(service: service, reason: "\(unit.architecture.name) does not have this service")
  }

  private func perform(
    _ service: String,
    _ body: (UnsafeMutablePointer<pgk_access_v1>, UnsafeMutablePointer<pgk_value_v1>, Int) -> Int64
  ) throws(ServiceError) {
    let accesses = UnsafeMutablePointer<pgk_access_v1>.allocate(capacity: Self.capacity)
    let values = UnsafeMutablePointer<pgk_value_v1>.allocate(capacity: Self.capacity)
    defer {
      accesses.deallocate()
      values.deallocate()
    }
    accesses.initialize(repeating: pgk_access_v1(), count: Self.capacity)
    values.initialize(repeating: pgk_value_v1(), count: Self.capacity)
    let count = body(accesses, values, Self.capacity)
    guard count >= 0 else { throw ServiceError(service: service, reason: unit.lastMessage) }
    for index in 0..<Int(count) {
      var result = pgk_result_v1()
      do { _ = try unit.run(accesses + index, values: values + index, results: &result, count: 1) } catch {
        throw ServiceError(service: service, reason: error.message)
      }
      guard result.outcome == UInt8(PGK_OUTCOME_FINISHED) else {
        throw ServiceError(service: service, reason: "access \(index + 1) of \(count) ended with \(outcome(result))")
      }
    }
  }

  /// The outcome of an access that may be listed; the list is thrown away.
  private func outcome(_ result: pgk_result_v1) -> String {
    let listed = unit.pending().first
    try? unit.reset(PGK_RESET_PENDING)
    return unit.architecture.outcomeName(listed?.outcome ?? result.outcome)
  }
}
