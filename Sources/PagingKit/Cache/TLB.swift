// A translation look-aside buffer: whole translations, with the rights of both stages.

/// What a TLB entry says, packed into one word.
@frozen public struct Translation: Sendable {
  /// Rights 7:0, attributes 15:8, level 18:16, negative 19, page frame (output >> 12) 63:20.
  public let bits: UInt64

  @inlinable @inline(__always) public init(bits: UInt64) { self.bits = bits }

  @inlinable @inline(__always)
  public init(output: UInt64, rights: Rights, attributes: UInt8, level: UInt64, isNegative: Bool = false) {
    bits = UInt64(truncatingIfNeeded: rights.rawValue) | UInt64(truncatingIfNeeded: attributes) &<< 8
      | (level & 7) &<< 16 | (isNegative ? 1 &<< 19 : 0) | (output &>> 12) &<< 20
  }

  @inlinable @inline(__always) public var rights: Rights { Rights(rawValue: UInt8(truncatingIfNeeded: bits)) }
  @inlinable @inline(__always) public var attributes: UInt8 { UInt8(truncatingIfNeeded: bits &>> 8) }
  @inlinable @inline(__always) public var level: UInt8 { UInt8(truncatingIfNeeded: (bits &>> 16) & 7) }
  @inlinable @inline(__always) public var isNegative: Bool { bits & (1 &<< 19) != 0 }
  /// Address of the page.
  @inlinable @inline(__always) public var page: UInt64 { (bits &>> 20) &<< 12 }
}

/// The page sizes of an architecture, numbered, so that a tag holds a size in three bits.
@frozen public struct PageSizes: Sendable {
  /// Byte n: log2 of the bytes of a page of class n. Class 0 is the smallest.
  @usableFromInline let shifts: UInt64
  public let count: Int

  /// At most eight, smallest first.
  public init(_ list: [UInt64]) {
    precondition((1...8).contains(list.count), "one to eight page sizes")
    shifts = list.enumerated().reduce(0) { $0 | $1.element << UInt64(8 * $1.offset) }
    count = list.count
  }

  @inlinable @inline(__always) public func shift(ofClass index: Int) -> UInt64 {
    (shifts &>> UInt64(truncatingIfNeeded: index &* 8)) & 0xff
  }

  /// The largest class whose pages are not larger than `1 << shift` bytes.
  @inlinable @inline(__always) public func sizeClass(ofShift shift: UInt64) -> Int {
    shift == self.shift(ofClass: 0) ? 0 : largerClass(ofShift: shift)
  }

  @inlinable func largerClass(ofShift shift: UInt64) -> Int {
    var index = count &- 1
    while index > 0 && self.shift(ofClass: index) > shift { index &-= 1 }
    return index
  }
}

/// One TLB level with mixed page sizes.
@frozen public struct TLB: @unchecked Sendable {
  // SAFETY: as AssociativeArray.
  public let array: AssociativeArray
  @usableFromInline let pages: UnsafeMutablePointer<PagesPresent>

  /// The page sizes, and which of them the TLB may hold.
  @frozen @usableFromInline struct PagesPresent {
    @usableFromInline let sizes: PageSizes
    /// Bit n: an entry of size class n has been put in since the TLB was empty.
    @usableFromInline var classes: UInt8 = 0
    /// An entry of all spaces may be there.
    @usableFromInline var hasGlobal = false
  }

  public init(_ array: AssociativeArray, sizes: PageSizes) {
    self.array = array
    pages = .allocate(capacity: 1)
    pages.initialize(to: PagesPresent(sizes: sizes))
  }

  public func deallocate() {
    array.deallocate()
    pages.deallocate()
  }

  @inlinable @inline(__always) public var sizes: PageSizes { pages.pointee.sizes }

  @inlinable @inline(__always) public var isAbsent: Bool { array.isAbsent }

  /// No large page has been put in since the TLB was empty.
  @inlinable @inline(__always) public var holdsSmallestOnly: Bool { pages.pointee.classes <= 1 }

  /// An entry of all spaces may have been put in since the TLB was empty.
  @inlinable @inline(__always) var mayHoldGlobal: Bool {
    get { pages.pointee.hasGlobal }
    nonmutating set { pages.pointee.hasGlobal = newValue }
  }

  /// Puts a word in whose tag is made already.
  @inlinable @inline(__always) func insert(key: UInt64, sizeClass: Int, _ word: CachedWord) {
    if isAbsent { return }
    pages.pointee.classes |= 1 &<< UInt8(truncatingIfNeeded: sizeClass)
    array.insert(key: key, word)
  }

  @inlinable @inline(__always) func insertSmallest(key: UInt64, _ word: CachedWord) {
    if pages.pointee.classes & 1 == 0 { pages.pointee.classes |= 1 }
    array.insert(key: key, word)
  }

  /// Looks the address up under a context and, if given, the context of global entries.
  @inlinable @inline(__always)
  public func find(
    _ address: UInt64, _ context: ContextTag, _ global: ContextTag, _ found: inout UInt64, _ sizeClass: inout Int
  ) -> Bool {
    if isAbsent { return false }
    let classes = pages.pointee.classes
    if classes == 1 {
      sizeClass = 0
      return probe(address, sizeClass: 0, context, global, &found)
    }
    return findMixed(classes, address, context, global, &found, &sizeClass)
  }

  @inlinable
  func findMixed(
    _ classes: UInt8, _ address: UInt64, _ context: ContextTag, _ global: ContextTag, _ found: inout UInt64,
    _ sizeClass: inout Int
  ) -> Bool {
    var left = classes
    while left != 0 {
      let index = left.trailingZeroBitCount
      if probe(address, sizeClass: index, context, global, &found) {
        sizeClass = index
        return true
      }
      left &= left &- 1
    }
    return false
  }

  @inlinable @inline(__always)
  func probe(
    _ address: UInt64, sizeClass: Int, _ context: ContextTag, _ global: ContextTag, _ found: inout UInt64
  ) -> Bool {
    let shift = sizes.shift(ofClass: sizeClass)
    let tag = PageTag(address, shift: shift, sizeClass: UInt64(truncatingIfNeeded: sizeClass), context: context)
    let alternative = tag.bits &- context.bits &+ global.bits
    return array.find(key: address &>> shift, tag: tag.bits, alternative: alternative, &found)
  }

  /// Puts a translation in, in place of one with the same tag if there is one.
  @inlinable @inline(__always)
  public func insert(_ address: UInt64, sizeClass: Int, _ context: ContextTag, _ translation: Translation) {
    if isAbsent { return }
    let shift = sizes.shift(ofClass: sizeClass)
    let tag = PageTag(address, shift: shift, sizeClass: UInt64(truncatingIfNeeded: sizeClass), context: context)
    pages.pointee.classes |= 1 &<< UInt8(truncatingIfNeeded: sizeClass)
    array.insert(key: address &>> shift, CachedWord(tag: tag.bits, payload: translation.bits))
  }

  // MARK: Invalidation

  /// Drops what translates the address, in every page size, for the contexts that the condition names.
  public func removePage(_ address: UInt64, where condition: (ContextTag) -> Bool) {
    for index in 0..<sizes.count where pages.pointee.classes & (1 << UInt8(index)) != 0 {
      let shift = sizes.shift(ofClass: index)
      let page = (address >> shift) & 0x7fff_ffff_ffff
      array.removeAll(key: address >> shift) {
        let tag = PageTag(bits: $0.tag)
        return tag.sizeClass == index && tag.pageNumber == page && condition(tag.context)
      }
    }
  }

  /// The same for one context.
  public func removePage(_ address: UInt64, context: ContextTag) {
    removePage(address) { $0 == context }
  }

  public func removeAll(where condition: (ContextTag) -> Bool) {
    if isAbsent { return }
    array.removeAll { condition(PageTag(bits: $0.tag).context) }
  }

  public func removeAll() {
    array.removeAll()
    pages.pointee.classes = 0
    pages.pointee.hasGlobal = false
  }

  public func snapshot() -> [UInt64] { [UInt64(pages.pointee.classes)] + array.snapshot() }

  public func accepts(_ list: ArraySlice<UInt64>) -> Bool { array.accepts(list.dropFirst()) }

  public func restore(_ list: ArraySlice<UInt64>) {
    pages.pointee.classes = UInt8(truncatingIfNeeded: list.first ?? 0)
    pages.pointee.hasGlobal = true
    array.restore(list.dropFirst())
  }
}
