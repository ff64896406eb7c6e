// Before v6 intermediate entries live in the ordinary TLB, under the addresses of the window onto the tables. A directory
// entry without VALID leaves a negative entry there. Kernel header machdep.h, "separate TLU cache".
import PagingKit

/// Directories that the TLB knows to be invalid.
struct NegativeLinks {
  /// Revisions before v6.
  var isKept = false
  /// VPTB: where the tables are seen.
  var window: UInt64 = 0
  /// One has been put into the TLB since it was empty.
  var mayBeThere = false

  /// Where the window shows the table below the entry that the address has at the level.
  func page(of address: UInt64, level: Int) -> UInt64 {
    var inner = address
    for _ in 0..<level { inner = window | (inner & 0xffff_ffff_f000) &>> 9 }
    return inner
  }

  @inline(never) mutating func keep(_ address: UInt64, level: Int, _ context: ContextTag, _ caches: TranslationCaches) {
    mayBeThere = true
    let page = page(of: address, level: level)
    let negative = Translation(output: 0, rights: [], attributes: 0, level: UInt64(level), isNegative: true)
    let isOwn = { (tag: ContextTag) in tag == context }
    for tlb in [caches.l1, caches.l2] where !tlb.isAbsent {
      tlb.removePage(page, where: isOwn)
      tlb.insert(page, sizeClass: 0, context, negative)
    }
  }

  /// The lowest level, at most `top`, whose entry is known to be invalid.
  @inline(never) func level(
    of address: UInt64, upTo top: Int, _ context: ContextTag, _ global: ContextTag, _ caches: TranslationCaches
  ) -> Int? {
    var level = 1
    while level <= top {
      let page = page(of: address, level: level)
      if isNegative(page, context, global, caches.l1) || isNegative(page, context, global, caches.l2) { return level }
      level += 1
    }
    return nil
  }

  private func isNegative(_ page: UInt64, _ context: ContextTag, _ global: ContextTag, _ tlb: TLB) -> Bool {
    var found: UInt64 = 0
    var sizeClass = 0
    return !tlb.isAbsent && tlb.find(page, context, global, &found, &sizeClass) && Translation(bits: found).isNegative
  }
}
