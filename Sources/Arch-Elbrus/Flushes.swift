// What flushes reach. Kernel header mmu_regs.h; mm/tlbflush.c.
import CPagingKit
import PagingKit

/// The data operand of a page flush: VA 47:0 and context 61:50; for walk caches the upper part of the address in 49:21
/// and above, and a level in 1:0.
struct FlushOperand {
  var bits: UInt64

  init(bits: UInt64) { self.bits = bits }

  init(page address: UInt64, context: UInt64) { bits = address & 0xffff_ffff_ffff | context << 50 }

  /// `level` as the operand counts: 1 for links found in a PMD, 2 in a PUD, 3 in a PGD, 0 for all of them.
  init(walkCaches address: UInt64, context: UInt64, level: UInt64) {
    bits = ((address & 0xffff_ffff_ffff) >> (12 + 9 * level)) << 21 | context << 50 | level
  }

  var address: UInt64 { bits & 0xffff_ffff_ffff }
  var context: UInt32 { UInt32(bits >> 50 & 0xfff) }
  var level: Int { Int(bits & 3) }
  /// Address bits from the level's shift up.
  var prefix: UInt64 { bits >> 21 & 0x1fff_ffff }
}

extension ElbrusUnit {
  func flushPage(kind: UInt64, _ operand: FlushOperand, machine: UInt32) -> SpecialEnd {
    switch kind {
    case FlushKind.instructionLineOfUser, FlushKind.instructionLineOfSystem: return .finished
    case FlushKind.page: flushPage(operand, machine)
    case FlushKind.walkCaches where model.iset >= 6: flushWalkCaches(operand, machine)
    default: return noFlush("page", kind)
    }
    state.engine.caches.counters.pointee.invalidations &+= 1
    return .finished
  }

  func noFlush(_ name: String, _ kind: UInt64) -> SpecialEnd {
    .refused(Refusal(PGK_E_ARGUMENT, "a \(name) flush of type \(kind) is none of this memory unit on ISET v\(model.iset)"))
  }

  /// Contexts of this machine that a flush with the context means: its own, and global entries, which ignore it.
  private func contexts(_ space: UInt32, _ machine: UInt32) -> (ContextTag) -> Bool {
    state.contexts { $0.stage == 1 && $0.machine == machine && ($0.isGlobal || $0.space == space) }
  }

  /// Last-level and negative records of the page. Walk caches keep what they have: they have a flush of their own, or,
  /// before v6, live in the TLB under the addresses of the window onto the tables.
  private func flushPage(_ operand: FlushOperand, _ machine: UInt32) {
    let isMeant = contexts(operand.context, machine)
    state.engine.caches.removePage(operand.address, where: isMeant)
    if model.iset < 6 { flushWindow(operand.address, isMeant) }
  }

  /// A page of the window holds the entries of one table: the link to that table goes. The window maps itself, so an
  /// address in it may stand for tables of a higher level as well.
  private func flushWindow(_ address: UInt64, _ isMeant: (ContextTag) -> Bool) {
    let window = values[RegisterIndex.userWindow]
    var input = address
    for level in 1...3 where input >> 39 == window >> 39 {
      input = (input & 0x7f_ffff_f000) << 9
      state.engine.caches.prefix[level].removePrefix(of: input, shift: FormatV3.radix.shift(level), where: isMeant)
      state.engine.caches.entries.removeAll()
    }
  }

  /// Intermediate links only.
  private func flushWalkCaches(_ operand: FlushOperand, _ machine: UInt32) {
    let caches = state.engine.caches
    if operand.level > 0 {
      let shift = FormatV6.radix.shift(operand.level)
      caches.prefix[operand.level].removePrefix(of: operand.prefix << shift, shift: shift, where: contexts(operand.context, machine))
    } else {
      flushLinks(to: operand, machine)
    }
    caches.entries.removeAll()
  }

  /// Level 0: every link on the way. The operand's address then runs into its context, and how hardware reads that is
  /// not published; here the bits below the context count, in every space of the machine.
  private func flushLinks(to operand: FlushOperand, _ machine: UInt32) {
    let isMeant = state.contexts { $0.stage == 1 && $0.machine == machine }
    let known: UInt64 = 1 << 41 - 1
    let address = operand.prefix << 12 & known
    for level in 1...3 {
      let shift = FormatV6.radix.shift(level)
      state.engine.caches.prefix[level].array.removeAll { word in
        let tag = PageTag(bits: word.tag)
        return (tag.pageNumber << shift & known) >> shift == address >> shift && isMeant(tag.context)
      }
    }
  }
}
