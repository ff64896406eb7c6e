// Entry probe and address probe: a TLB look-up, and a walk if it misses, without a fault. Kernel headers
// mmu-regs-types-v3.h, mmu-regs-types-v6.h.
import CPagingKit
import PagingKit

/// Error bits of a probe's result. One is set, and no other of them.
enum ProbeError {
  static let outsideBounds: UInt64 = 1 << 63
  static let illegal: UInt64 = 1 << 62
  static let miss: UInt64 = 1 << 61
  static let mask: UInt64 = outsideBounds | illegal | miss
}

extension ElbrusUnit {
  /// Translation as a word of attributes, or an error.
  func probeEntry(_ address: UInt64) -> UInt64 {
    let found = probe(address)
    guard found.reason == .none else { return error(found) }
    let isV3 = selection == .v3 || selection == .guestV3
    return isV3 ? entryV3(found) : entryV6(found)
  }

  /// Physical address of the byte, or an error.
  func probeAddress(_ address: UInt64) -> UInt64 {
    let found = probe(address)
    return found.reason == .none ? found.output & model.physicalMask : error(found)
  }

  private func probe(_ address: UInt64) -> WalkResult {
    var access = pgk_access_v1()
    access.address = address & 0xffff_ffff_ffff
    access.kind = UInt8(PGK_READ)
    access.privilege = Privilege.kernel
    access.flags = UInt8(PGK_TRANSLATE_ONLY)
    switch selection {
    case .v6: return probe(access, nativeV6)
    case .v3: return probe(access, nativeV3)
    case .physical: return probe(access, physical)
    case .guestV6: return probe(access, guestV6)
    case .guestV3: return probe(access, guestV3)
    case .untranslatedGuest: return probe(access, untranslatedGuest)
    }
  }

  private func probe<R: Regime>(_ access: pgk_access_v1, _ regime: R) -> WalkResult {
    var result = WalkResult()
    var access = access
    let reason = withUnsafeMutablePointer(to: &result) {
      state.engine.translate(regime, access.address, &access, NoObserver(), ResultWithAttributes($0))
    }
    result.reason = reason
    return result
  }

  private func error(_ found: WalkResult) -> UInt64 {
    switch found.reason {
    case .invalid, .nonCanonical: return ProbeError.illegal
    case .notPresent:
      let isV3 = selection == .v3 || selection == .guestV3
      return ProbeError.miss | (isV3 ? UInt64(found.level & 3) << 59 : 0)
    default: return ProbeError.outsideBounds
    }
  }

  private func entryV3(_ found: WalkResult) -> UInt64 {
    let cached = CachedAttributes(bits: found.attributes)
    var word = Entry(found.output & FormatV3.frameMask)
    word[FormatV3.W] = found.rights.has(.write) ? 1 : 0
    word[Field("NON_EX", 2)] = found.rights.has(.execute) ? 0 : 1
    word[FormatV3.PWT] = cached.type & 1
    word[FormatV3.CD1] = cached.type >> 1 & 1
    word[FormatV3.CD2] = cached.type >> 2
    word[FormatV3.D] = cached.isDirty ? 1 : 0
    word[FormatV3.G] = cached.isGlobal ? 1 : 0
    word[FormatV3.NWA] = cached.forbidsAddresses ? 1 : 0
    word[Field("VVA", 40)] = 1
    word[FormatV3.PV] = found.rights.has(.user) ? 0 : 1
    word[FormatV3.INT_PR] = cached.isIntegerProtected ? 1 : 0
    return word.bits
  }

  private func entryV6(_ found: WalkResult) -> UInt64 {
    let cached = CachedAttributes(bits: found.attributes)
    let isWritable: UInt64 = found.rights.has(.write) ? 1 : 0
    var word = Entry(found.output & FormatV6.frameMask)
    word[Field("W", 1)] = isWritable
    word[Field("PV", 2)] = found.rights.has(.user) ? 0 : 1
    word[Field("VVA", 3)] = 1
    word[Field("INT_PR", 4)] = cached.isIntegerProtected ? 1 : 0
    word[Field("G", 5)] = cached.isGlobal ? 1 : 0
    word[Field("D", 6)] = cached.isDirty ? 1 : 0
    word[Field("NWA", 7)] = cached.forbidsAddresses ? 1 : 0
    word[Field("MT for exceptions", 10, 8)] = cached.type
    word[Field("MT for memory", 50, 48)] = cached.type
    word[Field("W as integer", 51)] = isWritable
    return word.bits
  }
}
