// Changes that programs ask of the OS. Caches forget before a frame or a table goes to another use.

extension GuestOS {
  /// Performs a pending invalidation on every unit.
  public func perform(_ pending: consuming PendingInvalidation<Virtual>, in space: AddressSpace) throws(MachineError) {
    try pending.perform { invalidation throws(MachineError) in
      for processor in processors { try processor.invalidate(invalidation, of: space) }
    }
  }

  /// Ends an area and the mappings in it, and gives back their frames.
  func unmap(_ range: PageRange<Virtual>, in space: AddressSpace) throws(MachineError) {
    var mappings: [Mapping<Virtual, GuestPhysical>] = []
    let pending = try asMachineError { () throws(MapError) in
      try space.mapper.forEachMapping(in: range) { mappings.append($0) }
      return try space.mapper.unmap(range)
    }
    try perform(pending, in: space)
    space.areas.remove(range)
    space.mapper.releaseRetiredTables()
    for mapping in mappings { release(mapping) }
    for processor in processors { processor.recorder?.record(.unmapped(range, pageCount: mappings.count)) }
  }

  /// Gives an area and the pages in it other rights.
  func protect(
    _ range: PageRange<Virtual>, _ attributes: PageAttributes, in space: AddressSpace
  ) throws(MachineError) {
    let pending = try asMachineError { () throws(MapError) in try space.mapper.protect(range, attributes) }
    try perform(pending, in: space)
    space.areas.protect(range, attributes)
  }

  /// Maps a range to given physical addresses, as for a device, with pages of one size.
  func map(
    _ range: PageRange<Virtual>, to output: Address<GuestPhysical>, pageShift: Int, _ attributes: PageAttributes,
    in space: AddressSpace
  ) throws(MachineError) {
    let pageByteCount: UInt64 = 1 << UInt64(pageShift)
    guard range.byteCount % pageByteCount == 0 else { throw .map(.misaligned(range.byteCount, pageShift: pageShift)) }
    for offset in stride(from: 0, to: range.byteCount, by: Int(pageByteCount)) {
      do {
        try space.mapper.map(range.start + offset, to: output + offset, pageShift: pageShift, attributes).drop()
      } catch {
        if offset > 0 { try unmapNew(PageRange(range.start, byteCount: offset), in: space) }
        throw .map(error)
      }
    }
    space.areas.insert(Area(range, attributes))
  }

  private func unmapNew(_ range: PageRange<Virtual>, in space: AddressSpace) throws(MachineError) {
    try perform(try asMachineError { () throws(MapError) in try space.mapper.unmap(range) }, in: space)
    space.mapper.releaseRetiredTables()
  }

  /// Ends a space that no unit is in.
  func destroy(_ space: AddressSpace) throws(MachineError) {
    if processors.contains(where: { $0.space === space }) {
      throw .areaConflict("space \(space.identifier) is in use; switch to another one before it is destroyed")
    }
    for processor in processors { try processor.forget(space) }
    try dismantle(space)
  }
}
