// Finding and filling the nested TLB: from guest-physical to physical addresses, the same for every second stage.

extension TranslationCaches {
  /// Answers for a guest-physical address if the nested TLB knows it, the rights it holds suffice, and a write finds the
  /// dirty right there. Only then it counts as a hit; anything else is walked and filled anew.
  ///
  /// `output.collected` are the rights that were filled; `output.rights` is left to the caller, who may see them otherwise.
  @inlinable @inline(never)
  public func findNested(
    _ address: Address<GuestPhysical>, _ context: ContextTag, isWritten: Bool, _ output: inout SecondStageOutput,
    permits: (Rights) -> Bool
  ) -> Bool {
    var found: UInt64 = 0
    var sizeClass = 0
    guard nested.find(address.bits, context, context, &found, &sizeClass) else { return false }
    let translation = Translation(bits: found)
    guard !isWritten || translation.rights.has(.dirty), permits(translation.rights) else { return false }
    counters.pointee.nestedTlbHits &+= 1
    let shift = nested.sizes.shift(ofClass: sizeClass)
    output.address = Address(translation.page | address.bits & ((1 &<< shift) &- 1))
    output.pageShift = shift
    output.collected = translation.rights
    return true
  }

  /// Keeps what a walk of the second stage gave, by `output.collected`, in place of what did not suffice. A page as large
  /// as no class of the TLB is kept as the next smaller one.
  @inlinable @inline(never)
  public func fillNested(_ address: Address<GuestPhysical>, _ context: ContextTag, _ output: SecondStageOutput, level: Int) {
    var found: UInt64 = 0
    var sizeClass = 0
    if nested.find(address.bits, context, context, &found, &sizeClass) { nested.removePage(address.bits, context: context) }
    sizeClass = nested.sizes.sizeClass(ofShift: output.pageShift)
    let shift = nested.sizes.shift(ofClass: sizeClass)
    nested.insert(
      address.bits, sizeClass: sizeClass, context,
      Translation(
        output: output.address.bits & ~((1 &<< shift) &- 1), rights: output.collected, attributes: 0,
        level: UInt64(truncatingIfNeeded: level)))
  }
}
