// A unit in a state worth asking, and the access to ask about.
public import CPagingKit
public import PagingKit

public struct WalkSubject {
  public let unit: Unit
  public var access: pgk_access_v1
  /// Where tables and registers came from, a sentence each.
  public var origin: [String]
}

/// What to walk, as a user says it. Nil is what suits the architecture.
public struct WalkRequest {
  public var regime: String?
  public var settings: [Setting] = []
  public var registers: [(name: String, value: UInt64)] = []
  /// Physical address of the first-stage root.
  public var root: UInt64?
  public var images: [(file: String, base: UInt64)] = []
  public var words: [(address: UInt64, value: UInt64)] = []
  public var address: UInt64 = 0
  /// PGK_READ ...
  public var kind = UInt8(PGK_READ)
  public var sizeLog2: UInt8 = 3
  public var privilege: String?
  /// Of the page that a demonstration maps.
  public var pageShift: Int?

  public init() {}

  var hasMemory: Bool { !images.isEmpty || !words.isEmpty }
}

extension WalkSubject {
  /// Over the memory that the request names, or over tables made for the address.
  public init(_ request: WalkRequest, _ architecture: Architecture) throws {
    let regime = try request.regimeIndex(architecture)
    if request.hasMemory || request.root != nil {
      try self.init(given: request, architecture, regime)
    } else {
      try self.init(demonstrating: request, architecture, regime ?? 0)
    }
  }

  private init(given request: WalkRequest, _ architecture: Architecture, _ regime: Int?) throws {
    let memory = try GivenMemory(images: request.images, words: request.words)
    let options = try Configuration(architecture, settings: request.settings).options
    let unit = try Unit(architecture, map: memory.map, options: options)
    if let root = request.root { try UnitServices(unit: unit).enableTranslation(regime: regime ?? 0, root: root) }
    try request.loadRegisters(of: unit)
    if let regime, unit.regime != regime {
      let found = unit.regime.map { string(architecture.regimes[$0].name) } ?? "none"
      throw WalkError.otherRegime(wanted: string(architecture.regimes[regime].name), found: found)
    }
    self.init(unit: unit, access: try request.access(on: unit), origin: memory.origin)
  }

  private init(demonstrating request: WalkRequest, _ architecture: Architecture, _ regime: Int) throws {
    let options = try Configuration(architecture, settings: request.settings).options
    let tables = try DemonstrationTables.make(
      architecture, regime: regime, options: options, address: request.address, pageShift: request.pageShift)
    try request.loadRegisters(of: tables.unit)
    self.init(unit: tables.unit, access: try request.access(on: tables.unit), origin: tables.origin)
  }
}

extension WalkRequest {
  func regimeIndex(_ architecture: Architecture) throws(UnknownName) -> Int? {
    guard let regime else { return nil }
    guard let index = architecture.regimeIndex(named: regime) else {
      throw UnknownName(
        what: "regime of \(architecture.name)", name: regime, valid: architecture.regimes.map { string($0.name) })
    }
    return index
  }

  /// All at once, as one change of state.
  func loadRegisters(of unit: Unit) throws {
    guard !registers.isEmpty else { return }
    let architecture = unit.architecture
    let values = try registers.map { name, value in
      guard let index = architecture.registerIndex(named: name) else {
        throw UnknownName(
          what: "register of \(architecture.name)", name: name, valid: architecture.registers.map { string($0.name) })
      }
      return (index: index, value: value)
    }
    let outcome = try unit.writeRegisters(values)
    guard outcome.outcome == UInt8(PGK_OUTCOME_FINISHED) else {
      throw WalkError.registerFault(architecture.outcomeName(outcome.outcome))
    }
  }

  func access(on unit: Unit) throws(UnknownName) -> pgk_access_v1 {
    var access = pgk_access_v1()
    access.address = address
    access.kind = kind
    access.size_log2 = sizeLog2
    access.flags = UInt8(PGK_TRANSLATE_ONLY)
    access.privilege = try privilegeIndex(unit)
    return access
  }

  /// Programs, unless something else is asked for.
  private func privilegeIndex(_ unit: Unit) throws(UnknownName) -> UInt8 {
    guard let privilege else {
      // Registers may not tell two regimes apart that only a privilege does.
      let named = regime.flatMap { unit.architecture.regimeIndex(named: $0) }
      return unit.architecture.regimes[named ?? unit.regime ?? 0].user
    }
    return try Self.privilegeIndex(named: privilege, unit.architecture)
  }

  static func privilegeIndex(named privilege: String, _ architecture: Architecture) throws(UnknownName) -> UInt8 {
    guard let index = architecture.privilegeIndex(named: privilege) else {
      throw UnknownName(
        what: "privilege of \(architecture.name)", name: privilege, valid: architecture.privileges.map { string($0.name) })
    }
    return UInt8(index)
  }
}

extension WalkSubject {
  public mutating func setPrivilege(named name: String) throws(UnknownName) {
    access.privilege = try WalkRequest.privilegeIndex(named: name, unit.architecture)
  }

  /// Performs the access, so that caches know it, and forgets what came of it.
  public func warm() throws(UnitError) {
    var access = access
    var result = pgk_result_v1()
    _ = try unit.run(&access, values: nil, results: &result, count: 1)
    try unit.reset(PGK_RESET_PENDING)
  }
}

/// Kinds of ordinary accesses, for who does not see the border.
public enum AccessKind {
  public static let read = UInt8(PGK_READ)
  public static let write = UInt8(PGK_WRITE)
  public static let modify = UInt8(PGK_MODIFY)
  public static let fetch = UInt8(PGK_FETCH)
}

/// Why there is nothing to walk.
public enum WalkError: Error, CustomStringConvertible {
  case registerFault(String)
  case otherRegime(wanted: String, found: String)
  case cannotEnter(regime: String, reason: String)
  case memory(String)

  public var description: String {
    switch self {
    case .registerFault(let outcome): "the load of the registers itself faults: \(outcome)"
    case .otherRegime(let wanted, let found):
      "expected registers that select the regime \(wanted), found those of \(found); give a root with --root, or registers with --reg"
    case .cannotEnter(let regime, let reason): "the regime \(regime) cannot be entered: \(reason)"
    case .memory(let text): text
    }
  }
}
