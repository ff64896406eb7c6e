// The judge: a slow, straight-line reading of the manuals, against which the back end is tested. It shares no code with
// the back end. Nothing is cached, nothing is clever; each rule stands where the manual states it.
//
// Intel SDM volume 3A, "Paging"; volume 3C, "VMX Support for Address Translation"; AMD APM volume 2, "Nested Paging".

/// The state that decides a translation.
struct JudgedProcessor {
  /// One-stage, AMD nested paging, or EPT.
  enum Below { case nothing, nestedPaging, ept }
  var below = Below.nothing

  // The model.
  var maxPhysical: UInt64 = 46
  var isAMD = false
  /// Accessed flags are set on the way down, not at the end.
  var isEager = false
  var hasPage1GiB = true
  var hasEPTExecuteOnly = true
  var hasEPT2MiB = true
  var hasEPT1GiB = true

  // Registers.
  var cr0: UInt64 = 0x31, cr3: UInt64 = 0, cr4: UInt64 = 0, efer: UInt64 = 0, rflags: UInt64 = 2
  var pkru: UInt64 = 0, pkrs: UInt64 = 0
  /// PDPTE registers of PAE paging, as they were loaded.
  var pointers: [UInt64] = [0, 0, 0, 0]
  var hostCR3: UInt64 = 0, hostCR4: UInt64 = 0, hostEFER: UInt64 = 0
  var eptp: UInt64 = 0
  var hasModeBasedExecute = false

  /// How linear addresses are translated (SDM 3A, "Paging Modes and Control Bits").
  enum Paging { case none, twoLevel, pae, long(levels: UInt64) }

  static func paging(cr0: UInt64, cr4: UInt64, efer: UInt64) -> Paging {
    if cr0 >> 31 & 1 == 0 { return .none }
    if efer >> 8 & 1 == 1 { return .long(levels: cr4 >> 12 & 1 == 1 ? 5 : 4) }
    return cr4 >> 5 & 1 == 1 ? .pae : .twoLevel
  }

  var paging: Paging { Self.paging(cr0: cr0, cr4: cr4, efer: efer) }
  /// Nested tables are of a kind that the host's registers select; paging is always on.
  var hostPaging: Paging { Self.paging(cr0: 1 << 31, cr4: hostCR4, efer: hostEFER) }

  var writeProtect: Bool { cr0 >> 16 & 1 == 1 }
  var smep: Bool { cr4 >> 20 & 1 == 1 }
  var smap: Bool { cr4 >> 21 & 1 == 1 }
  var alignmentCheck: Bool { rflags >> 18 & 1 == 1 }
  var nxe: Bool { efer >> 11 & 1 == 1 }
}

/// One access to one linear address, as the manual sorts accesses ("Access Rights").
struct JudgedAccess {
  enum Kind: CaseIterable { case read, write, modify, fetch }
  enum Privilege: CaseIterable { case supervisor, user, implicit, userShadowStack, supervisorShadowStack }
  var kind: Kind
  var privilege: Privilege

  /// A read-modify-write is a write.
  var isWrite: Bool { kind == .write || kind == .modify }
  var isFetch: Bool { kind == .fetch }
  var isUser: Bool { privilege == .user || privilege == .userShadowStack }
  var isShadowStack: Bool { privilege == .userShadowStack || privilege == .supervisorShadowStack }
}

/// What the manual says an access does.
enum Ruling: Equatable {
  case reaches(pa: UInt64, gpa: UInt64)
  case generalProtection
  case pageFault(code: UInt64, address: UInt64)
  /// #VMEXIT(NPF) with EXITINFO1 and EXITINFO2.
  case nestedFault(info1: UInt64, info2: UInt64)
  /// `mask`: bits of the qualification that the manual defines here.
  case eptViolation(qualification: UInt64, mask: UInt64, gpa: UInt64, linear: UInt64)
  case eptMisconfiguration(gpa: UInt64)
}

extension Ruling: CustomStringConvertible {
  var description: String {
    switch self {
    case .reaches(let pa, let gpa): "reaches \(hex(pa)) by \(hex(gpa))"
    case .generalProtection: "#GP"
    case .pageFault(let code, let address): "#PF code \(hex(code)) at \(hex(address))"
    case .nestedFault(let info1, let info2): "#NPF \(hex(info1)), \(hex(info2))"
    case .eptViolation(let qualification, let mask, let gpa, let linear):
      "EPT violation \(hex(qualification)) mask \(hex(mask)) gpa \(hex(gpa)) linear \(hex(linear))"
    case .eptMisconfiguration(let gpa): "EPT misconfiguration \(hex(gpa))"
    }
  }
}

func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

/// A ruling that ends a walk.
struct Refused: Error { let ruling: Ruling }

/// Physical memory with what the walk changed in it. Where there is none, ones are read and nothing is written.
final class JudgedMemory {
  private let word: (UInt64) -> UInt64?
  /// Words of eight bytes that changed, by address.
  private(set) var changed: [UInt64: UInt64] = [:]
  private(set) var readCount = 0
  /// An entry serves twice: tables contain themselves or each other. Setting a flag may then change an entry that has been
  /// read already, and how often it is read again is open.
  private(set) var isTangled = false
  private var guestSlots: Set<UInt64> = []
  private var lowerSlots: Set<UInt64> = []

  /// `word` gives the eight bytes at an aligned address, or nil.
  init(word: @escaping (UInt64) -> UInt64?) { self.word = word }

  private func present(_ address: UInt64) -> UInt64? { changed[address & ~7] ?? word(address & ~7) }

  /// Reads an entry: of the first stage, or of the one below after the entries `above` of the same walk.
  func entry(_ address: UInt64, _ byteCount: UInt64, below above: [UInt64]? = nil) -> UInt64 {
    readCount += 1
    if let above {
      lowerSlots.insert(address)
      if above.contains(address) || guestSlots.contains(address) { isTangled = true }
    } else if !guestSlots.insert(address).inserted || lowerSlots.contains(address) {
      isTangled = true
    }
    let whole = present(address) ?? .max
    return byteCount == 8 ? whole : whole >> (address & 4 * 8) & 0xffff_ffff
  }

  func set(_ bits: UInt64, in address: UInt64) {
    guard let old = present(address) else { return }
    let new = old | bits << (address & 4 * 8)
    if new != old { changed[address & ~7] = new }
  }

  /// Before the next part of the same access.
  func forgetSlots() { (guestSlots, lowerSlots) = ([], []) }
}
