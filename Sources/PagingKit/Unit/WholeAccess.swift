// Accesses that cross a page or move data: both parts are translated before any data moves.
public import CPagingKit

extension TranslationEngine {
  /// One access in full. `.end` if it is finished.
  @inline(never) @inlinable
  func runWhole<R: Regime, Observer: WalkObserver>(
    _ regime: R, _ access: pgk_access_v1, _ i: Int, _ batch: Batch, _ observer: Observer
  ) -> EngineEnd {
    var first = pgk_result_v1()
    let reason = part(regime, access.address, access, observer, &first)
    if reason != .none { return faulted(i, access.address, first) }
    let room = 4096 &- access.address & 0xfff
    var second = first
    let isCrossing = access.byteCount > room
    if isCrossing {
      let next = access.address &+ room
      let reason = part(regime, next, access, observer, &second)
      first.entry_reads &+= second.entry_reads
      if reason != .none { return faulted(i, next, first) }
    }
    if !access.isTranslateOnly {
      let parts = AccessParts(
        access, first: first.output, firstCount: Int(truncatingIfNeeded: min(room, access.byteCount)), second: second.output)
      switch move(access, parts, batch.values.map { $0 + i }) {
      case .done: break
      case .device:
        var end = EngineEnd(i, .device)
        end.faultAddress = access.address
        end.output = first.output
        end.reads = first.entry_reads
        return end
      case .noValues: return EngineEnd(i, .noValues)
      }
    }
    batch.results[i] = first
    return EngineEnd(i, .end)
  }

  /// Translates the part of an access that begins at an address.
  @inlinable
  func part<R: Regime, Observer: WalkObserver>(
    _ regime: R, _ address: UInt64, _ access: pgk_access_v1, _ observer: Observer, _ record: inout pgk_result_v1
  ) -> FaultReason {
    withUnsafePointer(to: access) { access in
      withUnsafeMutablePointer(to: &record) {
        translate(regime, regime.untagged(address, access.pointee), access, observer, ResultRecord($0))
      }
    }
  }

  /// What became of the data.
  @usableFromInline enum Movement { case done, device, noValues }

  /// Moves the data of a translated access.
  @usableFromInline
  func move(_ access: pgk_access_v1, _ parts: AccessParts, _ value: UnsafeMutablePointer<pgk_value_v1>?) -> Movement {
    guard let value else { return .noValues }
    if parts.touchesDevice(memory) { return .device }
    let stored = value.pointee
    switch UInt32(access.kind) {
    case PGK_WRITE: parts.store(stored, memory)
    case PGK_MODIFY:
      value.pointee = parts.load(memory)
      parts.store(stored, memory)
    case PGK_LOAD_LOCKED:
      value.pointee = parts.load(memory)
      reservation.pointee = parts.first
    case PGK_STORE_CONDITIONAL:
      let holds = reservation.pointee == parts.first
      reservation.pointee = .max
      if holds { parts.store(stored, memory) }
      value.pointee = pgk_value_v1()
      value.pointee.low = holds ? 0 : 1
    default: value.pointee = parts.load(memory)
    }
    if access.isWrite && reservation.pointee != .max && parts.covers(reservation.pointee) { reservation.pointee = .max }
    return .done
  }
}

/// The physical places of one access: one, or two if it crosses a page.
@usableFromInline struct AccessParts {
  @usableFromInline let first: UInt64
  let firstCount: Int
  let second: UInt64
  let secondCount: Int

  @usableFromInline init(_ access: pgk_access_v1, first: UInt64, firstCount: Int, second: UInt64) {
    self.first = first
    self.firstCount = firstCount
    self.second = second
    secondCount = Int(access.byteCount) - firstCount
  }

  func touchesDevice(_ memory: PhysicalMemory) -> Bool {
    isDevice(first, memory) || secondCount > 0 && isDevice(second, memory)
  }

  private func isDevice(_ address: UInt64, _ memory: PhysicalMemory) -> Bool {
    if case .device = memory.place(address) { return true }
    return false
  }

  func covers(_ address: UInt64) -> Bool {
    address &- first < UInt64(firstCount) || address &- second < UInt64(secondCount)
  }

  private func place(_ i: Int) -> UInt64 {
    i < firstCount ? first &+ UInt64(i) : second &+ UInt64(i - firstCount)
  }

  func load(_ memory: PhysicalMemory) -> pgk_value_v1 {
    var value = pgk_value_v1()
    for i in 0..<(firstCount + secondCount) {
      let byte = memory.loadBytes(place(i), 1)
      if i < 8 { value.low |= byte << UInt64(8 * i) } else { value.high |= byte << UInt64(8 * (i - 8)) }
    }
    return value
  }

  /// Word by word, so that memory sees one store of each.
  func store(_ value: pgk_value_v1, _ memory: PhysicalMemory) {
    let total = firstCount + secondCount
    var i = 0
    while i < total {
      let address = place(i)
      let count = min(Int(8 - address & 7), (i < firstCount ? firstCount : total) - i)
      var bytes: UInt64 = 0
      var mask: UInt8 = 0
      for j in 0..<count {
        let at = i + j
        let byte = at < 8 ? value.low >> UInt64(8 * at) : value.high >> UInt64(8 * (at - 8))
        bytes |= (byte & 0xff) << UInt64(8 * j)
        if value.mask == 0 || value.mask & (1 << UInt16(at)) != 0 { mask |= 1 << UInt8(j) }
      }
      memory.storeBytes(address, count, bytes, mask: mask)
      i += count
    }
  }
}
