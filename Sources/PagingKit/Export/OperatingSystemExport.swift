// The services of an operating system behind the C table.
import CPagingKit

func operatingSystemTable() -> pgk_os_v1 {
  var os = pgk_os_v1()
  os.size = UInt32(MemoryLayout<pgk_os_v1>.size)
  os.abi = PGK_ABI
  os.enable_translation = { unit, regime, root, identifier, accesses, values, capacity in
    requests(unit, accesses, values, capacity) { model throws(Refusal) in
      let count = type(of: model).definition.regimes.count
      guard regime < count else { throw Refusal(PGK_E_ARGUMENT, "regime \(regime) of \(count)") }
      return try model.enableTranslation(regime: Int(regime), root: root, identifier: identifier)
    }
  }
  os.switch_space = { unit, root, identifier, accesses, values, capacity in
    requests(unit, accesses, values, capacity) { model throws(Refusal) in try model.switchSpace(root: root, identifier: identifier) }
  }
  os.invalidate = { unit, scope, address, byteCount, identifier, accesses, values, capacity in
    requests(unit, accesses, values, capacity) { model throws(Refusal) in
      guard scope & ~PGK_SCOPE_TABLES <= PGK_SCOPE_ALL else { throw Refusal(PGK_E_ARGUMENT, "scope \(scope) is none") }
      return try model.invalidate(scope: scope, address: address, byteCount: byteCount, identifier: identifier)
    }
  }
  os.trap_entry = { unit, accesses, values, capacity in
    requests(unit, accesses, values, capacity) { model throws(Refusal) in try model.trapEntry() }
  }
  os.trap_return = { unit, accesses, values, capacity in
    requests(unit, accesses, values, capacity) { model throws(Refusal) in try model.trapReturn() }
  }
  os.read_faults = { unit, accesses, values, known, capacity in
    let answers = answers(accesses, values, known)
    return requests(unit, accesses, values, capacity) { model throws(Refusal) in try model.readFaults(known: answers) }
  }
  os.decode_faults = { unit, accesses, values, count, list, capacity in
    let box = box(unit)
    let answers = answers(accesses, values, count)
    return box.code { () throws(Refusal) in
      let decoded = try box.model.decodeFaults(answers)
      guard decoded.count <= capacity, list != nil else { throw Refusal(PGK_E_CAPACITY, "room for \(capacity) operations, needed \(decoded.count)") }
      for (i, listed) in decoded.enumerated() { list![i] = listed }
      return Int64(decoded.count)
    }
  }
  os.reexecute = { unit, listed, accesses, values, capacity in
    requests(unit, accesses, values, capacity) { model throws(Refusal) in
      guard let listed else { throw Refusal(PGK_E_ARGUMENT, "no operation to perform again") }
      return try model.reexecute(listed.pointee)
    }
  }
  os.acknowledge = { unit, accesses, values, capacity in
    requests(unit, accesses, values, capacity) { model throws(Refusal) in try model.acknowledge() }
  }
  os.enable_second_stage = { unit, regime, root, identifier, values, capacity in
    let box = box(unit)
    return box.code { () throws(Refusal) in
      let count = type(of: box.model).definition.regimes.count
      guard regime < count else { throw Refusal(PGK_E_ARGUMENT, "regime \(regime) of \(count)") }
      let list = try box.model.enableSecondStage(regime: Int(regime), root: root, machineIdentifier: identifier)
      guard list.count <= capacity, values != nil else {
        throw Refusal(PGK_E_CAPACITY, "room for \(capacity) register values, needed \(list.count)")
      }
      for (i, item) in list.enumerated() {
        values![i] = pgk_register_value_v1(index: UInt32(item.index), reserved: 0, value: item.value)
      }
      return Int64(list.count)
    }
  }
  return os
}

private func answers(
  _ accesses: UnsafePointer<pgk_access_v1>?, _ values: UnsafePointer<pgk_value_v1>?, _ count: Int
) -> [Request] {
  guard let accesses, let values else { return [] }
  return (0..<count).map { Request(accesses[$0], values[$0]) }
}

private func requests(
  _ unit: OpaquePointer?, _ accesses: UnsafeMutablePointer<pgk_access_v1>?, _ values: UnsafeMutablePointer<pgk_value_v1>?,
  _ capacity: Int, _ body: (any UnitModel) throws(Refusal) -> [Request]
) -> Int64 {
  let box = box(unit)
  return box.code { () throws(Refusal) in
    let list = try body(box.model)
    guard list.count <= capacity, accesses != nil, values != nil || list.isEmpty else {
      throw Refusal(PGK_E_CAPACITY, "room for \(capacity) accesses, needed \(list.count)")
    }
    for (i, request) in list.enumerated() {
      accesses![i] = request.access
      values![i] = request.value
    }
    return Int64(list.count)
  }
}
