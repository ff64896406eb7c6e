import CPagingKit
import PagingKit

/// Runs decoded cases and compares what comes out with what they expect.
///
/// Every access starts with cold caches and with the memory that the one before should have left: a wrong word is
/// reported once and then put right.
struct VectorCaseRun {
  private let names: VectorNames
  private let memory: any VectorMemory
  private let gpaWord: WordPart?
  private let observer = VectorObserver()
  /// Words that the case has named so far and what they shall hold.
  private var words: [VectorWord] = []
  private var places: [UInt64: Int] = [:]
  private(set) var accesses: UInt64 = 0
  private(set) var differences: UInt64 = 0
  /// The first differences in full.
  private(set) var shown: [VectorDifference] = []
  private let file: String
  private let mostShown: Int

  init(file: String, names: VectorNames, memory: any VectorMemory, mostShown: Int) {
    self.file = file
    self.names = names
    self.memory = memory
    self.mostShown = mostShown
    let gpa = names.meaning(names.number(of: VectorKey.gpa.rawValue)).word
    gpaWord = gpa >= 0 ? names.wordParts[gpa] : nil
  }

  mutating func run(_ vector: VectorCase, on unit: Unit) {
    setMemory(vector)
    defer { clearMemory(vector) }
    accesses += UInt64(vector.accesses.count)
    let load = loadRegisters(vector, on: unit)
    if load.refusal == nil, load.outcome == UInt8(PGK_OUTCOME_FINISHED), vector.load == nil {
      runAccesses(vector, on: unit)
    } else {
      let expectation = vector.load ?? VectorExpectation()
      guard judge(load, expectation, vector, access: nil) else { return }
      // The state was not entered, so each access can only meet the same.
      for index in vector.accesses.indices { _ = judge(load, vector.accesses[index].expectation, vector, access: index) }
    }
  }

  // MARK: Memory

  private mutating func setMemory(_ vector: VectorCase) {
    words.removeAll(keepingCapacity: true)
    places.removeAll(keepingCapacity: true)
    for word in vector.memory {
      memory.store(word.address, word.value)
      expect(word)
    }
  }

  private mutating func expect(_ word: VectorWord) {
    if let place = places[word.address] {
      words[place].value = word.value
    } else {
      places[word.address] = words.count
      words.append(word)
    }
  }

  private mutating func clearMemory(_ vector: VectorCase) {
    for word in words { memory.store(word.address, 0) }
    let strays = memory.takeStrays(near: words.map(\.address))
    guard !strays.isEmpty, countDifference() else { return }
    show(
      vector, access: nil,
      strays.map { ("memory \(hex($0.address)), which the case does not name", "0x0", hex($0.value)) })
  }

  // MARK: Running

  private func loadRegisters(_ vector: VectorCase, on unit: Unit) -> VectorFound {
    do {
      try unit.reset(PGK_RESET_CACHES | PGK_RESET_REGISTERS | PGK_RESET_PENDING | PGK_RESET_COUNTERS)
      return VectorFound(load: try write(vector.registers[...], unit))
    } catch { return refusal(error) }
  }

  private func write(
    _ registers: ArraySlice<pgk_register_value_v1>, _ unit: Unit
  ) throws(UnitError) -> pgk_register_outcome_v1 {
    var outcome = pgk_register_outcome_v1()
    guard !registers.isEmpty else { return outcome }
    let status = registers.withUnsafeBufferPointer {
      unit.architecture.table.pointee.write_registers(unit.handle, $0.baseAddress, $0.count, &outcome)
    }
    if status < 0 { throw UnitError(code: status, message: unit.lastMessage) }
    return outcome
  }

  private mutating func runAccesses(_ vector: VectorCase, on unit: Unit) {
    for index in vector.accesses.indices {
      let access = vector.accesses[index]
      let found: VectorFound
      do {
        // The load of registers left the caches cold.
        if index > 0 { try unit.reset(PGK_RESET_CACHES) }
        found = try perform(access, vector, on: unit)
      } catch { found = refusal(error) }
      for word in vector.memoryAfter[access.memoryAfter] { expect(word) }
      _ = judge(found, access.expectation, vector, access: index)
    }
  }

  private func perform(_ access: VectorAccess, _ vector: VectorCase, on unit: Unit) throws(UnitError) -> VectorFound {
    let qualifiers = vector.qualifiers[access.qualifiers]
    _ = try write(qualifiers, unit)
    if access.needsGuestPhysical { try observer.watch(unit) }
    var access = access
    var found = VectorFound()
    let consumed = try unit.run(&access.access, values: nil, results: &found.result, count: 1)
    found.outcome = found.result.outcome
    if UInt32(found.outcome) == PGK_OUTCOME_LISTED { try takeListed(&found, unit) }
    if access.needsGuestPhysical {
      // Without any table, addresses are not translated.
      found.guestPhysical = observer.guestPhysical ?? found.result.output
      try unit.observe(nil)
    }
    if consumed != 1 { found.refusal = "run consumed \(consumed) of 1 access" }
    if !qualifiers.isEmpty { _ = try write(restored(qualifiers, vector)[...], unit) }
    return found
  }

  private func takeListed(_ found: inout VectorFound, _ unit: Unit) throws(UnitError) {
    var listed = pgk_listed_v1()
    let count = unit.architecture.table.pointee.pending(unit.handle, &listed, 1)
    try unit.reset(PGK_RESET_PENDING)
    if count == 1 {
      found.listed = listed
      found.outcome = listed.outcome
    } else {
      found.refusal = "the list holds \(count) operations instead of 1"
    }
  }

  /// What qualifiers hold between accesses: the case's value, or the preset.
  private func restored(
    _ qualifiers: ArraySlice<pgk_register_value_v1>, _ vector: VectorCase
  ) -> [pgk_register_value_v1] {
    qualifiers.map { qualifier in
      vector.registers.last { $0.index == qualifier.index }
        ?? pgk_register_value_v1(
          index: qualifier.index, reserved: 0, value: names.architecture.registers[Int(qualifier.index)].preset)
    }
  }

  private func refusal(_ error: UnitError) -> VectorFound {
    var found = VectorFound()
    found.refusal = error.message
    return found
  }

  // MARK: Judging

  /// True if everything is as expected; otherwise counts one difference and puts the memory right.
  private mutating func judge(
    _ found: VectorFound, _ expectation: VectorExpectation, _ vector: VectorCase, access: Int?
  ) -> Bool {
    let outcomeIsRight = found.has(expectation.outcome, in: names.architecture)
    let wrongChecks = outcomeIsRight ? vector.checks[expectation.checks].filter { !passes($0, found) } : []
    let wrongWords = words.filter { memory.load($0.address) != $0.value }
    if outcomeIsRight, wrongChecks.isEmpty, wrongWords.isEmpty { return true }
    if countDifference() {
      let outcome: [VectorDifference.Item] =
        outcomeIsRight ? [] : [("outcome", text(expectation, vector), found.text(in: names.architecture))]
      let memoryItems = wrongWords.map { ("memory \(hex($0.address))", hex($0.value), hex(memory.load($0.address))) }
      show(vector, access: access, outcome + wrongChecks.map { item($0, found) } + memoryItems)
    }
    for word in wrongWords { memory.store(word.address, word.value) }
    return false
  }

  private func passes(_ check: VectorCheck, _ found: VectorFound) -> Bool {
    guard let value = found.value(of: check.quantity, gpaWord: gpaWord) else { return false }
    return (value ^ check.expected) & check.mask == 0
  }

  private func item(_ check: VectorCheck, _ found: VectorFound) -> VectorDifference.Item {
    let bits = check.mask == .max ? "" : " in the bits \(hex(check.mask))"
    let value = found.value(of: check.quantity, gpaWord: gpaWord)
    return (
      names.text(check.name) + bits, hex(check.expected & check.mask), value.map { hex($0 & check.mask) } ?? "none"
    )
  }

  /// True if the difference shall also be shown: its text is made only then.
  private mutating func countDifference() -> Bool {
    differences += 1
    return shown.count < mostShown
  }

  private mutating func show(_ vector: VectorCase, access: Int?, _ items: [VectorDifference.Item]) {
    let accessText = access.map { text(vector.accesses[$0].access) } ?? ""
    shown.append(
      VectorDifference(
        file: file, line: vector.line, caseID: vector.id, access: access, accessText: accessText, items: items))
  }

  private func text(_ expectation: VectorExpectation, _ vector: VectorCase) -> String {
    let outcome = switch expectation.outcome {
    case .finished: "finished"
    case .declared(let index): VectorFound.name(of: index, in: names.architecture)
    case .numbered(let number): "fault \(number)"
    }
    return vector.checks[expectation.checks].reduce(outcome) { "\($0), \(names.text($1.name)) \(hex($1.expected))" }
  }

  private func text(_ access: pgk_access_v1) -> String {
    let kind = switch UInt32(access.kind) {
    case PGK_READ: "r"
    case PGK_WRITE: "w"
    default: "x"
    }
    let privilege = String(cString: names.architecture.privileges[Int(access.privilege)].name)
    return "\(kind) \(hex(access.address)) \(privilege), \(1 << access.size_log2) bytes"
  }
}
