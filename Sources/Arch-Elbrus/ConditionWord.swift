// The condition word of a record: what the operation was, and what became of it. Kernel header mmu_types.h.
import CPagingKit
import PagingKit

/// A word of named fields; the layout tiles it.
struct ConditionWord: Equatable, Sendable {
  static let rcv = Field("rcv", 63)
  static let dst_rcv = Field("dst_rcv", 62, 53)
  static let clw = Field("clw", 52)
  static let empt = Field("empt", 51)
  static let num_align = Field("num_align", 50)
  static let miss_lvl = Field("miss_lvl", 49, 48)
  static let fault_type = Field("fault_type", 47, 35)
  static let r1 = Field("r1", 34)
  static let chan = Field("chan", 33, 32)
  static let pm = Field("pm", 31)
  static let spec = Field("spec", 30)
  static let sru = Field("sru", 29)
  static let scal = Field("scal", 28)
  static let root = Field("root", 27)
  static let mas = Field("mas", 26, 20)
  static let s_f = Field("s_f", 19)
  static let mode_80 = Field("mode_80", 18)
  static let store = Field("store", 17)
  static let r0 = Field("r0", 16)
  static let fmtc = Field("fmtc", 15, 14)
  static let npsp = Field("npsp", 13)
  static let fmt = Field("fmt", 12, 10)
  static let vl = Field("vl", 9)
  static let vr = Field("vr", 8)
  static let address = Field("address", 7, 0)

  static let fields = [
    rcv, dst_rcv, clw, empt, num_align, miss_lvl, fault_type, r1, chan, pm, spec, sru, scal, root, mas, s_f, mode_80, store, r0,
    fmtc, npsp, fmt, vl, vr, address,
  ]

  var bits: UInt64 = 0

  subscript(_ field: Field) -> UInt64 {
    get { Entry(bits)[field] }
    set {
      var word = Entry(bits)
      word[field] = newValue
      bits = word.bits
    }
  }
}

extension ConditionWord {
  /// The operation part of the word for an access.
  init(_ access: pgk_access_v1, _ qualifier: AccessQualifier) {
    let isStore = access.isWrite && UInt32(access.kind) != PGK_MODIFY
    let isLock = UInt32(access.kind) == PGK_LOAD_LOCKED || UInt32(access.kind) == PGK_MODIFY
    self[Self.fmt] = qualifier.isHalf ? 5 : qualifier.isPacked && access.size_log2 == 4 ? 7 : UInt64(access.size_log2) + 1
    if let destination = qualifier.destination, !isStore {
      self[Self.address] = destination
      self[Self.vl] = 1
      self[Self.vr] = 1
    }
    self[Self.s_f] = qualifier.isSpillOrFill ? 1 : 0
    self[Self.sru] = qualifier.isChainStack ? 1 : 0
    self[Self.clw] = qualifier.isStackClearing ? 1 : 0
    self[Self.npsp] = 1
    self[Self.store] = isStore ? 1 : 0
    self[Self.mas] = isLock && qualifier.isPlain ? (qualifier.isHalf ? 5 : 7) : qualifier.mas
    self[Self.scal] = qualifier.isHardware ? 0 : 1
    self[Self.spec] = access.isSpeculative ? 1 : 0
    self[Self.pm] = qualifier.isHardware ? 1 : UInt64(access.privilege & 1)
    self[Self.chan] = isStore ? qualifier.channel | 1 : qualifier.channel
  }

  /// A register access, flush or probe.
  init(special access: pgk_access_v1, _ qualifier: AccessQualifier) {
    self[Self.fmt] = 4
    self[Self.npsp] = 1
    self[Self.scal] = 1
    self[Self.pm] = UInt64(access.privilege & 1)
    self[Self.mas] = access.address & 0x7f
    self[Self.store] = access.address >> 8 & 1
    self[Self.chan] = qualifier.channel | 1
    guard let destination = qualifier.destination, self[Self.store] == 0 else { return }
    self[Self.address] = destination
    self[Self.vl] = 1
    self[Self.vr] = 1
  }
}
