// A unit seen from the host's side of the border.
public import CPagingKit

/// A call that a back end refused, with its code and its own words.
public struct UnitError: Error, CustomStringConvertible, Sendable {
  public let code: Int32
  public let message: String
  public var description: String { message }

  public init(code: Int32, message: String) {
    self.code = code
    self.message = message
  }
}

/// One memory unit: registers, TLBs, walk caches, walker and pending operations, behind the C border.
///
/// Used by one thread at a time. The map and the memory it names must outlive the unit.
public final class Unit {
  public let architecture: Architecture
  public let handle: OpaquePointer
  @usableFromInline let table: pgk_arch_v1

  /// Opens a unit over a map. Unknown option names, or values outside their range, are errors.
  public init(
    _ architecture: Architecture, map: PhysicalMapDescriptor, options: [(name: String, value: String)] = []
  ) throws(UnitError) {
    var error = pgk_error_v1()
    let table = architecture.table
    let handle = withCOptions(options) { list, count in
      table.pointee.open(table, nil, map.pointer, list, count, &error)
    }
    guard let handle else {
      throw UnitError(code: error.code, message: messageText(&error))
    }
    self.architecture = architecture
    self.table = table.pointee
    self.handle = handle
    self.map = map
  }

  /// Keeps the lent map alive as long as the unit.
  public private(set) var map: PhysicalMapDescriptor

  deinit { table.close(handle) }

  /// Why the last call was refused.
  public var lastMessage: String { table.message(handle).map { String(cString: $0) } ?? "" }

  func check(_ code: Int64) throws(UnitError) -> Int {
    if code < 0 { throw UnitError(code: Int32(truncatingIfNeeded: code), message: lastMessage) }
    return Int(code)
  }

  public func setMap(_ map: PhysicalMapDescriptor) throws(UnitError) {
    _ = try check(Int64(table.set_map(handle, map.pointer)))
    self.map = map
  }

  // MARK: Registers

  public func readRegister(_ index: Int) throws(UnitError) -> UInt64 {
    var value: UInt64 = 0
    _ = try check(Int64(table.read_register(handle, UInt32(index), &value)))
    return value
  }

  /// Loads several registers as one change of state. The outcome says whether the load itself faulted.
  public func writeRegisters(_ values: [(index: Int, value: UInt64)]) throws(UnitError) -> pgk_register_outcome_v1 {
    var outcome = pgk_register_outcome_v1()
    let list = values.map { pgk_register_value_v1(index: UInt32($0.index), reserved: 0, value: $0.value) }
    _ = try check(Int64(table.write_registers(handle, list, list.count, &outcome)))
    return outcome
  }

  /// The regime that the registers select now, or nil if they select none that is declared.
  public var regime: Int? {
    let index = table.regime(handle)
    return index < 0 ? nil : Int(index)
  }

  // MARK: Accesses

  /// Hands over a batch. Returns how many accesses were consumed; the rest has not started.
  @inlinable
  public func run(
    _ accesses: UnsafePointer<pgk_access_v1>, values: UnsafeMutablePointer<pgk_value_v1>?,
    results: UnsafeMutablePointer<pgk_result_v1>, count: Int
  ) throws(UnitError) -> Int {
    let consumed = table.run(handle, accesses, values, results, count)
    if consumed < 0 { throw UnitError(code: Int32(truncatingIfNeeded: consumed), message: lastMessage) }
    return Int(consumed)
  }

  /// How many operations are pending.
  public var pendingCount: Int { table.pending(handle, nil, 0) }

  /// The list of pending operations, in order.
  public func pending() -> [pgk_listed_v1] {
    let count = table.pending(handle, nil, 0)
    guard count > 0 else { return [] }
    return Array(unsafeUninitializedCapacity: count) { buffer, initialized in
      initialized = min(table.pending(handle, buffer.baseAddress, count), count)
    }
  }

  /// Answers the list; verdict i answers item i. Returns the operations that came to an end.
  public func resume(_ verdicts: [pgk_verdict_v1]) throws(UnitError) -> [pgk_completion_v1] {
    let capacity = max(1, table.pending(handle, nil, 0))
    var completions = [pgk_completion_v1](repeating: pgk_completion_v1(), count: capacity)
    let count = try check(table.resume(handle, verdicts, verdicts.count, &completions, capacity))
    return Array(completions.prefix(count))
  }

  /// Writes answers into the list, which resume then leaves.
  public func answer(_ verdicts: [pgk_verdict_v1]) throws(UnitError) {
    guard let answer = table.answer else {
      throw UnitError(code: PGK_E_UNSUPPORTED, message: "\(architecture.name): a list is answered by resume alone")
    }
    _ = try check(Int64(answer(handle, verdicts, verdicts.count)))
  }

  // MARK: Observation

  public func counters() -> [UInt64] {
    let count = architecture.counters.count
    return Array(unsafeUninitializedCapacity: count) { buffer, initialized in
      initialized = min(table.counters(handle, buffer.baseAddress, count), count)
    }
  }

  /// `what`: PGK_RESET_... ORed.
  public func reset(_ what: UInt32) throws(UnitError) { _ = try check(Int64(table.reset(handle, what))) }

  public func dump(cache index: Int) throws(UnitError) -> [pgk_cached_v1] {
    let count = try check(table.dump(handle, UInt32(index), nil, 0))
    var entries = [pgk_cached_v1](repeating: pgk_cached_v1(), count: count)
    let written = try check(table.dump(handle, UInt32(index), &entries, count))
    return Array(entries.prefix(written))
  }

  /// Sets or clears the observer; its context must live until it is cleared.
  public func observe(_ observer: pgk_observer_v1?) throws(UnitError) {
    if var observer {
      _ = try check(Int64(table.observe(handle, &observer)))
    } else {
      _ = try check(Int64(table.observe(handle, nil)))
    }
  }

  // MARK: State

  /// Opaque bytes: registers and pending list, and the caches with PGK_SAVE_CACHES.
  public func save(_ what: UInt32 = 0) throws(UnitError) -> [UInt8] {
    let count = try check(table.save(handle, what, nil, 0))
    var bytes = [UInt8](repeating: 0, count: count)
    _ = try check(table.save(handle, what, &bytes, count))
    return bytes
  }

  public func restore(_ bytes: [UInt8]) throws(UnitError) {
    _ = try check(Int64(table.restore(handle, bytes, bytes.count)))
  }

  // MARK: Entries

  public func decode(format: Int, level: Int, _ entry: UInt64) throws(UnitError) -> pgk_entry_v1 {
    var entry = entry
    var decoded = pgk_entry_v1()
    _ = try check(Int64(table.decode(handle, UInt32(format), UInt32(level), &entry, &decoded, 1)))
    return decoded
  }

  /// The entry, and the attributes that the format could not express as asked.
  public func encode(format: Int, level: Int, _ entry: pgk_entry_v1) throws(UnitError) -> (bits: UInt64, unexpressed: UInt32) {
    var entry = entry
    var bits: UInt64 = 0
    _ = try check(Int64(table.encode(handle, UInt32(format), UInt32(level), &entry, &bits, 1)))
    return (bits, entry.unexpressed)
  }
}

/// The text of an error that came over the border.
func messageText(_ error: inout pgk_error_v1) -> String {
  withUnsafeBytes(of: &error.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
}

/// Lends name/value pairs as C strings for the length of the call.
func withCOptions<Result>(
  _ options: [(name: String, value: String)], _ body: (UnsafePointer<pgk_option_v1>?, Int) -> Result
) -> Result {
  var text: [CChar] = []
  var offsets: [(Int, Int)] = []
  for option in options {
    let name = text.count
    text.append(contentsOf: option.name.utf8CString)
    offsets.append((name, text.count))
    text.append(contentsOf: option.value.utf8CString)
  }
  return text.withUnsafeBufferPointer { text in
    let list = offsets.map { pgk_option_v1(name: text.baseAddress! + $0.0, value: text.baseAddress! + $0.1) }
    return list.withUnsafeBufferPointer { body($0.baseAddress, $0.count) }
  }
}
