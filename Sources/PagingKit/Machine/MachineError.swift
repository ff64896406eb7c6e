// Why a machine could not be built or could not go on. Faults of programs are results, never errors.
import CPagingKit

public enum MachineError: Error, CustomStringConvertible {
  case unknownRegime(String, architecture: String, valid: [String])
  /// The regime cannot be run by a machine with one stage of tables.
  case unsuitableRegime(String, why: String)
  case pageSize(MapError)
  case memory(String)
  /// No frame for a page or a table that an access needs.
  case outOfMemory(access: String, bytesFor: String)
  case map(MapError)
  case unit(UnitError)
  /// A service of the back end that it refuses or does not have.
  case service(String, String)
  /// An access of the kernel that did not finish.
  case kernelAccess(String, outcome: String)
  /// An operation that faults again and again although everything is as it should be.
  case noProgress(operation: String, attempts: Int)
  /// A listed operation that nothing in this machine answers.
  case unanswered(operation: String, why: String)
  /// The unit broke the rules of the border.
  case brokenRule(String)
  case noIdentifier(bits: Int)
  case areaConflict(String)

  public var description: String {
    switch self {
    case .unknownRegime(let name, let architecture, let valid):
      "\(architecture) has no regime \(name); it has \(valid.joined(separator: ", "))"
    case .unsuitableRegime(let name, let why): "regime \(name): \(why)"
    case .pageSize(let error): error.description
    case .memory(let text): text
    case .outOfMemory(let access, let purpose): "out of memory: no frame for \(purpose), needed by \(access)"
    case .map(let error): error.description
    case .unit(let error): error.description
    case .service(let name, let text): "operating-system service \(name): \(text)"
    case .kernelAccess(let name, let outcome): "an access of \(name) ended with \(outcome)"
    case .noProgress(let operation, let attempts): "no progress after \(attempts) attempts: \(operation)"
    case .unanswered(let operation, let why): "\(operation): \(why)"
    case .brokenRule(let text): "the back end breaks the border's rules: \(text)"
    case .noIdentifier(let bits): "all \(1 << bits) identifiers of address spaces are taken; destroy a space first"
    case .areaConflict(let text): text
    }
  }
}

/// Runs what refuses with a unit's words.
func asMachineError<Result: ~Copyable>(_ body: () throws(UnitError) -> Result) throws(MachineError) -> Result {
  do { return try body() } catch { throw .unit(error) }
}

/// Runs what refuses with a mapper's words.
func asMachineError<Result: ~Copyable>(_ body: () throws(MapError) -> Result) throws(MachineError) -> Result {
  do { return try body() } catch { throw .map(error) }
}

extension pgk_access_v1 {
  /// `write of 8 bytes at 0x1234`.
  var text: String {
    let names = ["read", "write", "modify", "load-locked", "store-conditional", "fetch", "special"]
    let name = Int(kind) < names.count ? names[Int(kind)] : "kind \(kind)"
    return kind == PGK_SPECIAL ? "special access \(hex(address))" : "\(name) of \(1 << Int(size_log2 & 7)) bytes at \(hex(address))"
  }
}

extension pgk_listed_v1 {
  static let classNames = [
    "collateral", "guestFault", "secondStage", "shadow", "registerRead", "registerWrite", "invalidation", "probe", "device",
  ]

  var className: String { Int(class_) < Self.classNames.count ? Self.classNames[Int(class_)] : "class \(class_)" }
}
