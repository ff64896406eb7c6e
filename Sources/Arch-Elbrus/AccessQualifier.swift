// What an access is besides kind, size and privilege: MAS, channel, destination.
import CPagingKit
import PagingKit

/// What qualifies an access besides kind, size and privilege: 32 bits of its value, or, where it has none, the qualifier
/// registers.
struct AccessQualifier: Equatable, Sendable {
  /// MAS 6:0, channel 8:7, destination 16:9, has one 17, packed 18, spill or fill 19, chain stack 20, stack clearing 21,
  /// half of a pair 22, and 31 set in every one, so that none is 0.
  private(set) var bits: UInt32

  init(bits: UInt32) { self.bits = bits }

  init(mas: UInt64 = 0, channel: UInt64 = 0, destination: UInt64? = nil, isPacked: Bool = false) {
    bits = UInt32(truncatingIfNeeded: mas & 0x7f | (channel & 3) << 7 | ((destination ?? 0) & 0xff) << 9) | 1 << 31
    if destination != nil { bits |= 1 << 17 }
    if isPacked { bits |= 1 << 18 }
  }

  /// 7 bits, kernel header mas.h.
  var mas: UInt64 { UInt64(bits & 0x7f) }
  /// 0 to 3: ALC 0, 2, 3, 5. Stores and special operations are on 1 and 3.
  var channel: UInt64 { UInt64(bits >> 7 & 3) }
  /// Number in the register file; nil for none.
  var destination: UInt64? { bits & 1 << 17 == 0 ? nil : UInt64(bits >> 9 & 0xff) }
  /// One 16-byte operation; without it 16 bytes are a pair of 8.
  var isPacked: Bool { bits & 1 << 18 != 0 }
  /// Hardware spill or fill of the procedure stack, or with `isChainStack` of the chain stack.
  var isSpillOrFill: Bool { bits & 1 << 19 != 0 }
  var isChainStack: Bool { bits & 1 << 20 != 0 }
  /// Hardware clearing of the user stack.
  var isStackClearing: Bool { bits & 1 << 21 != 0 }
  /// Hardware of the processor is always privileged.
  var isHardware: Bool { bits >> 19 & 7 != 0 }

  /// One of a pair of 8 bytes, an operation of its own by now.
  var isHalf: Bool { bits & 1 << 22 != 0 }

  static let known: UInt32 = 0x807f_ffff

  func with(isHalf: Bool, isSpillOrFill: Bool, isChainStack: Bool, isStackClearing: Bool) -> AccessQualifier {
    let more: UInt32 = (isSpillOrFill ? 1 << 19 : 0) | (isChainStack ? 1 << 20 : 0) | (isStackClearing ? 1 << 21 : 0)
    return AccessQualifier(bits: bits | more | (isHalf ? 1 << 22 : 0))
  }

  /// The same operation on half of its 16 bytes: neighbouring channels, neighbouring destinations.
  func half(isLater: Bool, isStore: Bool) -> AccessQualifier {
    let channel: UInt64 = isStore ? (isLater ? 3 : 1) : self.channel & 2 | (isLater ? 1 : 0)
    let target = destination.map { ($0 + (isLater ? 1 : 0)) & 0xff }
    let plain = AccessQualifier(mas: mas, channel: channel, destination: target)
    return AccessQualifier(bits: plain.bits | bits & (7 << 19) | 1 << 22)
  }

  /// A load with MAS 7 on the channels that store is special, and any store with it.
  static func isSpecial(mas: UInt64, channel: UInt64, isStore: Bool, isSpeculative: Bool) -> Bool {
    mas & 7 == 7 && (isStore || !isSpeculative && channel & 1 == 1)
  }

  /// The same operation without what its MAS asks for: how a handler performs a lock again.
  var plain: AccessQualifier { AccessQualifier(bits: bits & ~0x7f) }

  var mode: UInt64 { mas & 7 }
  var isPlain: Bool { mas == 0 }

  /// A physical address, without translation or rights.
  var isPhysical: Bool { mode == 1 }
  /// An I/O address: physical too.
  var isInputOutput: Bool { mode == 6 && channel & 1 == 1 }

  /// A load that needs W and sets D: the wait lock, and from v5 on its 16-byte form. On channel 0, not speculative.
  func isLock(_ access: pgk_access_v1, iset: Int) -> Bool {
    guard UInt32(access.kind) == PGK_READ, !access.isSpeculative, channel == 0 else { return false }
    return mode == 7 || mode == 5 && iset >= 5 && (access.size_log2 == 4 || isHalf)
  }
}

extension ElbrusUnit {
  /// A value's own qualifier comes before the registers. Where the host names no destination, its tag stands for one.
  func qualifier(of access: pgk_access_v1, _ value: pgk_value_v1) -> AccessQualifier {
    if access.flags & UInt8(PGK_HAS_VALUE) != 0 && value.qualifier != 0 { return AccessQualifier(bits: value.qualifier) }
    return AccessQualifier(mas: qualifier.mas, channel: qualifier.channel, destination: UInt64(access.tag & 0xff))
  }
}
