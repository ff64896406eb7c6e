import CPagingKit

/// What an access, or a load of registers, shall come to.
struct VectorExpectation {
  enum Outcome {
    case finished
    /// As the manual numbers it.
    case numbered(Int32)
    /// Index into the declared outcomes.
    case declared(Int)
  }

  var outcome = Outcome.finished
  /// The checks of this expectation in the case's list.
  var checks = 0..<0
}

/// One quantity of an outcome.
struct VectorCheck {
  enum Quantity {
    case output, guestPhysical, faultAddress, entryReads, code
    /// A raw word of the listed operation, or a part of one.
    case word(WordPart)
  }

  var quantity: Quantity
  var expected: UInt64
  /// Bits that are compared.
  var mask: UInt64 = .max
  /// Number of the name that the file gives it.
  var name: Int
}

struct VectorWord {
  var address: UInt64
  var value: UInt64
}

struct VectorAccess {
  var access = pgk_access_v1()
  var qualifiers = 0..<0
  var expectation = VectorExpectation()
  var memoryAfter = 0..<0
  var needsGuestPhysical = false
}

/// One case of a file, decoded in full before anything runs. Its storage is used again for the next.
struct VectorCase {
  var line: UInt64 = 0
  var id = ""
  var registers: [pgk_register_value_v1] = []
  var memory: [VectorWord] = []
  var load: VectorExpectation?
  var accesses: [VectorAccess] = []
  /// Parts of accesses, which refer to them by range.
  var qualifiers: [pgk_register_value_v1] = []
  var memoryAfter: [VectorWord] = []
  var checks: [VectorCheck] = []

  mutating func clear(line: UInt64) {
    self.line = line
    id = ""
    load = nil
    registers.removeAll(keepingCapacity: true)
    memory.removeAll(keepingCapacity: true)
    accesses.removeAll(keepingCapacity: true)
    qualifiers.removeAll(keepingCapacity: true)
    memoryAfter.removeAll(keepingCapacity: true)
    checks.removeAll(keepingCapacity: true)
  }
}
