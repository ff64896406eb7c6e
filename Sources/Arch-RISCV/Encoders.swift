// The exported encoders: they check their arguments, write one special access, and perform nothing.
import CPagingKit
import PagingKit

private typealias Place = UnsafeMutableRawPointer?
private typealias FenceEncoder = @convention(c) (Place, UInt64, UInt64, Place, Place) -> Int32
private typealias ReadEncoder = @convention(c) (Place, UInt32, Place, Place) -> Int32
private typealias WriteEncoder = @convention(c) (Place, UInt32, UInt64, Place, Place) -> Int32

/// All bits set stand for x0: every address, or every identifier.
private let none = UInt64.max

extension Request {
  /// rs1 and rs2 as the instruction has them; nil is x0.
  static func fence(_ operation: Operation, address: UInt64?, identifier: UInt64?, mode: Privilege = .s) -> Request {
    let flags = (address == nil ? 0 : Operation.hasAddress) | (identifier == nil ? 0 : Operation.hasIdentifier)
    return Request(special: operation.rawValue | flags, low: address ?? 0, high: identifier ?? 0, privilege: UInt8(mode.rawValue))
  }

  static func read(_ csr: UInt64, mode: Privilege) -> Request {
    Request(special: Operation.csrRead.rawValue | csr << 16, privilege: UInt8(mode.rawValue))
  }

  static func write(_ csr: UInt64, _ value: UInt64, mode: Privilege) -> Request {
    Request(special: Operation.csrWrite.rawValue | csr << 16, low: value, privilege: UInt8(mode.rawValue))
  }
}

/// One of the two identifiers that fences name.
private enum FenceIdentifier {
  case asid, vmid

  var name: String { self == .asid ? "asid" : "vmid" }

  func last(is32: Bool) -> UInt64 {
    switch self {
    case .asid: is32 ? 0x1ff : 0xffff
    case .vmid: is32 ? 0x7f : 0x3fff
    }
  }
}

private func encodeFence(
  _ unit: Place, _ operation: Operation, _ address: UInt64, _ kind: FenceIdentifier, _ identifier: UInt64, _ access: Place, _ value: Place
) -> Int32 {
  let model = unitModel(unit, as: RISCVUnit.self)
  guard operation.isSupervisors || model.model.hasHypervisor else {
    return refuse(unit, Refusal(PGK_E_UNSUPPORTED, "it needs the H extension; open the unit with h=true"))
  }
  let last = kind.last(is32: model.setting.is32)
  guard identifier == none || identifier <= last else {
    return refuse(unit, Refusal(PGK_E_ARGUMENT, "\(kind.name) \(identifier): expected 0 to \(last), or 0xffffffffffffffff for x0"))
  }
  let request = Request.fence(operation, address: address == none ? nil : address, identifier: identifier == none ? nil : identifier)
  return deliver(request, access, value)
}

private func encodeGuestFence(
  _ unit: Place, _ operation: Operation, _ address: UInt64, _ identifier: UInt64, _ access: Place, _ value: Place
) -> Int32 {
  // rs1 holds the address shifted right by 2.
  encodeFence(unit, operation, address == none ? none : address >> 2, .vmid, identifier, access, value)
}

extension Operation {
  var isSupervisors: Bool { self == .sfenceVMA || self == .sinvalVMA }
}

/// M-mode's registers are used in M-mode, all others in S-mode, unless the caller changes the access's privilege.
private func encodeRegisterAccess(_ unit: Place, _ csr: UInt32, _ value: UInt64?, _ access: Place, _ place: Place) -> Int32 {
  let model = unitModel(unit, as: RISCVUnit.self).model
  guard let control = ControlRegister(UInt64(csr), model) else {
    let known = ControlRegister.numbers.keys.filter { ControlRegister($0, model) != nil }.sorted().map { "0x" + String($0, radix: 16) }
    return refuse(unit, Refusal(PGK_E_ARGUMENT, "CSR 0x\(String(csr, radix: 16)): this model knows \(known.joined(separator: ", "))"))
  }
  let mode: Privilege = control.level == 3 ? .m : .s
  let request = value.map { Request.write(UInt64(csr), $0, mode: mode) } ?? Request.read(UInt64(csr), mode: mode)
  return deliver(request, access, place)
}

extension RISCVUnit {
  static let encoders: [EncoderDefinition] = [
    fence("sfence_vma", "SFENCE.VMA: first-stage tables, of the guest if made from VS-mode", ["address", "asid"]) {
      encodeFence($0, .sfenceVMA, $1, .asid, $2, $3, $4)
    },
    fence("sinval_vma", "SINVAL.VMA: as SFENCE.VMA, which it may be split into", ["address", "asid"]) {
      encodeFence($0, .sinvalVMA, $1, .asid, $2, $3, $4)
    },
    fence("hfence_vvma", "HFENCE.VVMA: first-stage tables of the guest that hgatp names", ["address", "asid"]) {
      encodeFence($0, .hfenceVVMA, $1, .asid, $2, $3, $4)
    },
    fence("hinval_vvma", "HINVAL.VVMA: as HFENCE.VVMA", ["address", "asid"]) {
      encodeFence($0, .hinvalVVMA, $1, .asid, $2, $3, $4)
    },
    fence("hfence_gvma", "HFENCE.GVMA: second-stage tables", ["gpa", "vmid"]) { encodeGuestFence($0, .hfenceGVMA, $1, $2, $3, $4) },
    fence("hinval_gvma", "HINVAL.GVMA: as HFENCE.GVMA", ["gpa", "vmid"]) { encodeGuestFence($0, .hinvalGVMA, $1, $2, $3, $4) },
    EncoderDefinition(
      "csr_read", "i32(ptr,u32,ptr,ptr)", ["csr"], "CSRR: reads a control register by its number",
      function: { encodeRegisterAccess($0, $1, nil, $2, $3) } as ReadEncoder),
    EncoderDefinition(
      "csr_write", "i32(ptr,u32,u64,ptr,ptr)", ["csr", "value"], "CSRW: writes a control register by its number",
      function: { encodeRegisterAccess($0, $1, $2, $3, $4) } as WriteEncoder),
  ]

  private static func fence(_ name: String, _ help: String, _ arguments: [String], _ function: FenceEncoder) -> EncoderDefinition {
    EncoderDefinition(
      name, "i32(ptr,u64,u64,ptr,ptr)", arguments, help + "; 0xffffffffffffffff for x0, which means all", function: function)
  }
}
