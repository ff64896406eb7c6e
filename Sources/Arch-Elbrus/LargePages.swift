// The place of large pages in the TLB: set 3 of the line that VA 28:21 selects, one page each. Kernel header tlb_regs_types.h.
import CPagingKit
import PagingKit

/// Which 2 MiB page each line holds. A page that comes in drives out the one before it.
struct LargePages {
  static let lineCount = 256
  static let shift: UInt64 = 21

  struct Slot {
    var page = UInt64.max
    var context = ContextTag(number: 0)
  }
  // SAFETY: one slot a line; the unit allocates and frees them.
  let slots: UnsafeMutablePointer<Slot>

  init() {
    slots = .allocate(capacity: Self.lineCount)
    slots.initialize(repeating: Slot(), count: Self.lineCount)
  }

  func deallocate() { slots.deallocate() }

  @inline(never) func fill(_ address: UInt64, _ context: ContextTag, _ caches: TranslationCaches) {
    let page = address >> Self.shift
    let slot = slots + Int(page & 0xff)
    let old = slot.pointee
    slot.pointee = Slot(page: page, context: context)
    guard old.page != .max, old.page != page || old.context != context else { return }
    for tlb in [caches.l1, caches.l1i, caches.l2] where !tlb.isAbsent {
      tlb.removePage(old.page << Self.shift, where: { $0 == old.context })
    }
  }

  /// The page of a line, if the TLB still has it.
  func page(line: Int, _ caches: TranslationCaches) -> Slot? {
    let slot = slots[line]
    var found: UInt64 = 0
    var sizeClass = 0
    let isKept = [caches.l1, caches.l2].contains {
      !$0.isAbsent && slot.page != .max
        && $0.find(slot.page << Self.shift, slot.context, slot.context, &found, &sizeClass) && sizeClass == 1
    }
    return isKept ? slot : nil
  }
}

extension ElbrusUnit {
  /// The tag of a line of set 3 as a diagnostic read gives it; zero where nothing is valid. Sets of 4 KiB pages are not
  /// told apart by the model.
  func readTag(_ address: UInt64) -> UInt64 {
    guard address & 7 == 0, address >> 3 & 3 == 3 else { return 0 }
    guard let slot = first.pointee.largePages.page(line: Int(address >> 21 & 0xff), state.engine.caches) else { return 0 }
    let identifiers = state.contexts.identifiers(of: slot.context)
    var tag = Entry(0)
    tag[Field("VA", 35, 7)] = slot.page << 2
    tag[Field("context", 47, 36)] = UInt64(identifiers.space)
    tag[Field("G", 50)] = identifiers.isGlobal ? 1 : 0
    tag[Field("used", 51)] = 1
    tag[Field("valid", 52)] = 1
    return tag.bits
  }
}
