// A walk cache by address prefix: it remembers which table the upper bits of an address lead to.

/// One level of a paging-structure cache: entries read at `level`, found by the address bits that chose them.
@frozen public struct PrefixWalkCache: @unchecked Sendable {
  // SAFETY: as AssociativeArray.
  public let array: AssociativeArray

  public init(_ array: AssociativeArray) { self.array = array }

  public func deallocate() { array.deallocate() }

  @inlinable @inline(__always) public var isAbsent: Bool { array.isAbsent }

  /// Payload: rights 7:0, address of the next table in 63:8 (addresses below 2^56).
  @inlinable @inline(__always)
  public func find(_ address: UInt64, shift: UInt64, _ context: ContextTag, _ payload: inout UInt64) -> Bool {
    let tag = PageTag(address, shift: shift, sizeClass: 0, context: context).bits
    return array.find(key: address &>> shift, tag: tag, alternative: tag, &payload)
  }

  @inlinable @inline(__always)
  public func insert(_ address: UInt64, shift: UInt64, _ context: ContextTag, table: UInt64, rights: Rights) {
    if isAbsent { return }
    let word = CachedWord(
      tag: PageTag(address, shift: shift, sizeClass: 0, context: context).bits,
      payload: table &<< 8 | UInt64(truncatingIfNeeded: rights.rawValue))
    array.insert(key: address &>> shift, word)
  }

  public func removePrefix(of address: UInt64, shift: UInt64, where condition: (ContextTag) -> Bool) {
    let number = (address >> shift) & 0x7fff_ffff_ffff
    array.removeAll(key: address >> shift) {
      let tag = PageTag(bits: $0.tag)
      return tag.pageNumber == number && condition(tag.context)
    }
  }

  public func removeAll(where condition: (ContextTag) -> Bool) {
    if isAbsent { return }
    array.removeAll { condition(PageTag(bits: $0.tag).context) }
  }
}

/// A walk cache by entry address: it remembers what a slot of a table held.
@frozen public struct EntryWalkCache: @unchecked Sendable {
  // SAFETY: as AssociativeArray.
  public let array: AssociativeArray

  public init(_ array: AssociativeArray) { self.array = array }

  public func deallocate() { array.deallocate() }

  @inlinable @inline(__always) public var isAbsent: Bool { array.isAbsent }

  @inlinable @inline(__always) public func find(slot: UInt64, _ entry: inout UInt64) -> Bool {
    let tag = slot | 1
    return array.find(key: slot &>> 3, tag: tag, alternative: tag, &entry)
  }

  @inlinable @inline(__always) public func insert(slot: UInt64, _ entry: UInt64) {
    if !isAbsent { array.insert(key: slot &>> 3, CachedWord(tag: slot | 1, payload: entry)) }
  }

  public func removeAll() { array.removeAll() }
}
