// A Swift back end behind the C table: the whole glue.
public import CPagingKit

/// What a library exports, made once and immutable: keep it in a global `let` and return `pointer` from the entry symbol.
public struct PluginExport: @unchecked Sendable {
  // SAFETY: immutable after init.
  public let pointer: UnsafePointer<pgk_plugin_v1>

  public init(vendor: String, _ models: [any UnitModel.Type]) {
    let archs = models.map { Optional(ExportedArchitecture.make($0)) }
    pointer = CArena.value(pgk_plugin_v1(
      size: UInt32(MemoryLayout<pgk_plugin_v1>.size), abi: PGK_ABI, vendor: CArena.string(vendor),
      licence: CArena.string("Apache-2.0"), archs: CArena.array(archs), arch_count: archs.count))
  }

  /// Null for a host of another version.
  public func entry(hostABI: UInt32) -> UnsafePointer<pgk_plugin_v1>? { hostABI == PGK_ABI ? pointer : nil }
}

/// A C table with the Swift type behind it.
struct ExportedArchitecture {
  var table: pgk_arch_v1
  let model: any UnitModel.Type

  static func make(_ model: any UnitModel.Type) -> UnsafePointer<pgk_arch_v1> {
    let place = CArena.value(ExportedArchitecture(table: architectureTable(model.definition.exported()), model: model))
    // SAFETY: the table is the first member, so the two pointers are the same.
    return UnsafeRawPointer(place).assumingMemoryBound(to: pgk_arch_v1.self)
  }

  static func model(of table: UnsafePointer<pgk_arch_v1>) -> any UnitModel.Type {
    UnsafeRawPointer(table).assumingMemoryBound(to: ExportedArchitecture.self).pointee.model
  }
}

private func architectureTable(_ description: UnsafePointer<pgk_description_v1>) -> pgk_arch_v1 {
  var t = pgk_arch_v1()
  t.size = UInt32(MemoryLayout<pgk_arch_v1>.size)
  t.abi = PGK_ABI
  t.description = description
  t.os = CArena.value(operatingSystemTable())
  setLife(&t)
  setRegisters(&t)
  setAccesses(&t)
  setObservation(&t)
  setEntries(&t)
  return t
}

private func setLife(_ t: inout pgk_arch_v1) {
  t.open = { table, _, map, options, count, error in
    guard let table else { return nil }
    do throws(OpenError) {
      let model = try openModel(ExportedArchitecture.model(of: table), map, options, count)
      return OpaquePointer(Unmanaged.passRetained(UnitBox(model)).toOpaque())
    } catch let failure {
      report(failure, to: error)
      return nil
    }
  }
  t.close = { unit in
    if let unit { Unmanaged<UnitBox>.fromOpaque(UnsafeRawPointer(unit)).release() }
  }
  t.message = { box($0).message }
  t.set_map = { unit, map in
    let box = box(unit)
    switch PhysicalMemory.make(map) {
    case .success(let memory):
      box.model.state.engine.memory = memory
      return PGK_OK
    case .failure(let error): return box.refuse(Refusal(PGK_E_ARGUMENT, error.message))
    }
  }
}

private func openModel(
  _ type: any UnitModel.Type, _ map: UnsafePointer<pgk_physical_map_v1>?, _ options: UnsafePointer<pgk_option_v1>?, _ count: Int
) throws(OpenError) -> any UnitModel {
  let memory: PhysicalMemory
  switch PhysicalMemory.make(map) {
  case .success(let made): memory = made
  case .failure(let error): throw error
  }
  var given: [(name: String, value: String)] = []
  for i in 0..<count {
    guard let option = options?[i], let name = option.name, let value = option.value else { throw OpenError("option \(i) has no name or no value") }
    given.append((String(cString: name), String(cString: value)))
  }
  return try type.init(options: OptionValues(type.definition.options, given: given), memory: memory)
}

private func report(_ failure: OpenError, to error: UnsafeMutablePointer<pgk_error_v1>?) {
  guard let error else { return }
  error.pointee.code = PGK_E_ARGUMENT
  withUnsafeMutableBytes(of: &error.pointee.message) { target in
    let bytes = failure.message.utf8.prefix(target.count - 1)
    target.copyBytes(from: bytes)
    target[bytes.count] = 0
  }
}

private func setRegisters(_ t: inout pgk_arch_v1) {
  t.read_register = { unit, index, value in
    let box = box(unit)
    return box.status { () throws(Refusal) in
      let count = type(of: box.model).definition.registers.count
      guard index < count, let value else { throw Refusal(PGK_E_ARGUMENT, "register \(index) of \(count)") }
      value.pointee = box.model.readRegister(Int(index))
    }
  }
  t.write_registers = { unit, values, count, outcome in
    let box = box(unit)
    return box.status { () throws(Refusal) in
      let list = try registerValues(values, count, of: type(of: box.model).definition.registers)
      outcome?.pointee = pgk_register_outcome_v1()
      if case .faulted(let fault) = try box.model.writeRegisters(list) { outcome?.pointee = fault }
    }
  }
  t.regime = { unit in box(unit).model.regimeIndex.map { Int32($0) } ?? PGK_E_UNSUPPORTED }
}

/// Checks index, width and known bits of each value.
private func registerValues(
  _ values: UnsafePointer<pgk_register_value_v1>?, _ count: Int, of registers: [RegisterDefinition]
) throws(Refusal) -> [(index: Int, value: UInt64)] {
  guard count == 0 || values != nil else { throw Refusal(PGK_E_ARGUMENT, "no values") }
  var list: [(index: Int, value: UInt64)] = []
  for i in 0..<count {
    let value = values![i]
    guard value.index < registers.count else { throw Refusal(PGK_E_ARGUMENT, "register \(value.index) of \(registers.count)") }
    let register = registers[Int(value.index)]
    let unknown = value.value & ~register.writable
    guard unknown == 0 else {
      throw Refusal(
        PGK_E_UNKNOWN_BIT,
        "\(register.name) = 0x\(String(value.value, radix: 16)): the model does not know bit \(unknown.trailingZeroBitCount); known are 0x\(String(register.writable, radix: 16))")
    }
    list.append((Int(value.index), value.value))
  }
  return list
}

private func setAccesses(_ t: inout pgk_arch_v1) {
  t.run = { unit, accesses, values, results, count in
    let box = box(unit)
    if count == 0 { return 0 }
    guard let accesses, let results else { return Int64(box.refuse(Refusal(PGK_E_ARGUMENT, "run needs accesses and results"))) }
    return box.code { () throws(Refusal) in
      Int64(try box.model.run(Batch(accesses: accesses, values: values, results: results), count: count))
    }
  }
  t.pending = { unit, list, capacity in
    let pending = box(unit).model.state.pending
    if let list { for i in 0..<min(capacity, pending.count) { list[i] = pending[i].listed } }
    return pending.count
  }
  t.resume = { unit, verdicts, count, completions, capacity in
    let box = box(unit)
    return box.code { () throws(Refusal) in
      guard capacity >= box.model.state.pending.count, completions != nil else {
        throw Refusal(PGK_E_CAPACITY, "room for \(capacity) completions, needed \(box.model.state.pending.count)")
      }
      let ended = try box.model.resume(UnsafeBufferPointer(start: verdicts, count: verdicts == nil ? 0 : count))
      for (i, completion) in ended.enumerated() { completions![i] = completion }
      return Int64(ended.count)
    }
  }
  t.answer = { unit, verdicts, count in
    let box = box(unit)
    return box.status { () throws(Refusal) in
      try box.model.answer(UnsafeBufferPointer(start: verdicts, count: verdicts == nil ? 0 : count))
    }
  }
}

private func setObservation(_ t: inout pgk_arch_v1) {
  t.counters = { unit, values, capacity in
    let list = box(unit).model.state.engine.caches.counters.pointee.values
    if let values { for i in 0..<min(capacity, list.count) { values[i] = list[i] } }
    return list.count
  }
  t.reset = { unit, what in
    let box = box(unit)
    let state = box.model.state
    if what & PGK_RESET_CACHES != 0 { state.engine.caches.removeAll() }
    if what & PGK_RESET_COUNTERS != 0 { state.engine.caches.counters.pointee = Counters() }
    if what & PGK_RESET_REGISTERS != 0 {
      box.model.restoreRegisters(type(of: box.model).definition.registers.map(\.preset))
      state.engine.reservation.pointee = .max
    }
    if what & PGK_RESET_PENDING != 0 {
      (state.pending, state.reflected) = ([], [])
      box.model.didList()
    }
    return PGK_OK
  }
  t.dump = { unit, index, list, capacity in
    let box = box(unit)
    return box.code { () throws(Refusal) in
      let entries = try box.model.dump(cache: Int(index))
      if let list { for i in 0..<min(capacity, entries.count) { list[i] = entries[i] } }
      return Int64(entries.count)
    }
  }
  t.observe = { unit, observer in
    let box = box(unit)
    if let observer, observer.pointee.size != UInt32(MemoryLayout<pgk_observer_v1>.size) || observer.pointee.step == nil {
      return box.refuse(Refusal(PGK_E_ARGUMENT, "an observer of size \(observer.pointee.size), expected \(MemoryLayout<pgk_observer_v1>.size) and a function"))
    }
    box.model.state.observer = observer?.pointee
    return PGK_OK
  }
  t.save = { unit, what, bytes, capacity in
    let saved = box(unit).model.save(what)
    if let bytes {
      guard capacity >= saved.count else { return Int64(box(unit).refuse(Refusal(PGK_E_CAPACITY, "room for \(capacity) bytes, needed \(saved.count)"))) }
      for (i, byte) in saved.enumerated() { bytes[i] = byte }
    }
    return Int64(saved.count)
  }
  t.restore = { unit, bytes, count in
    let box = box(unit)
    return box.status { () throws(Refusal) in try box.model.restore(UnsafeBufferPointer(start: bytes, count: bytes == nil ? 0 : count)) }
  }
}

private func setEntries(_ t: inout pgk_arch_v1) {
  t.decode = { unit, format, level, entries, decoded, count in
    let box = box(unit)
    return box.status { () throws(Refusal) in
      try checkEntries(box.model, format, level, entries != nil && decoded != nil)
      for i in 0..<count { decoded![i] = box.model.decode(format: Int(format), level: Int(level), entries![i]) }
    }
  }
  t.encode = { unit, format, level, entries, bits, count in
    let box = box(unit)
    return box.status { () throws(Refusal) in
      try checkEntries(box.model, format, level, entries != nil && bits != nil)
      for i in 0..<count { bits![i] = try box.model.encode(format: Int(format), level: Int(level), &entries![i]) }
    }
  }
}

private func checkEntries(_ model: any UnitModel, _ format: UInt32, _ level: UInt32, _ hasArrays: Bool) throws(Refusal) {
  let formats = type(of: model).definition.formats
  guard hasArrays else { throw Refusal(PGK_E_ARGUMENT, "entries need two arrays") }
  guard format < formats.count else { throw Refusal(PGK_E_ARGUMENT, "format \(format) of \(formats.count)") }
  let levels = formats[Int(format)].levels.count
  guard level < levels else { throw Refusal(PGK_E_ARGUMENT, "level \(level) of \(levels) in \(formats[Int(format)].name)") }
}
