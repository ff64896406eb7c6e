// Physical memory as a unit sees it: the map it was lent, looked up by address.
public import CPagingKit

/// What lies at a physical address.
@frozen public enum Place {
  case ram(UnsafeMutableRawPointer)
  case callback
  case addressOnly
  case device
  case hole
}

/// A unit's view of its physical map. A value of a few words; the map stays with the lender.
@frozen public struct PhysicalMemory: @unchecked Sendable {
  // SAFETY: regions and bytes belong to the lender, who keeps them alive and unchanged during every call (header, pgk_physical_map_v1).
  public let map: UnsafePointer<pgk_physical_map_v1>
  /// The largest RAM region, looked at first.
  @usableFromInline let base: UInt64
  @usableFromInline let length: UInt64
  @usableFromInline let bytes: UnsafeMutableRawPointer
  /// The largest region of any kind: where the pages of a machine usually lie.
  @usableFromInline let widest: UnsafePointer<pgk_region_v1>?

  /// Checks the map: sorted, not overlapping, RAM with bytes, aligned to 16. Nil with the reason if it is not.
  public static func make(_ map: UnsafePointer<pgk_physical_map_v1>?) -> Result<PhysicalMemory, OpenError> {
    guard let map else { return .failure(OpenError("the physical map is null")) }
    let m = map.pointee
    guard m.size == UInt32(MemoryLayout<pgk_physical_map_v1>.size), m.abi == PGK_ABI else {
      return .failure(OpenError("the physical map has size \(m.size) and abi \(m.abi), expected \(MemoryLayout<pgk_physical_map_v1>.size) and \(PGK_ABI)"))
    }
    var end: UInt64 = 0
    for i in 0..<m.region_count {
      let region = m.regions[i]
      let last = region.base.addingReportingOverflow(region.length)
      guard region.length > 0, !last.overflow || last.partialValue == 0 else {
        return .failure(OpenError("region \(i) is empty or runs over the end of the address space"))
      }
      guard region.base & 15 == 0, region.length & 15 == 0 else { return .failure(OpenError("region \(i) is not a multiple of 16 bytes")) }
      guard i == 0 || (region.base >= end && end != 0) else { return .failure(OpenError("region \(i) overlaps the one before, or they are not sorted")) }
      guard region.kind <= PGK_REGION_CALLBACK else { return .failure(OpenError("region \(i) has the unknown kind \(region.kind)")) }
      guard region.kind != PGK_REGION_RAM || region.bytes != nil else { return .failure(OpenError("region \(i) is RAM without bytes")) }
      guard region.kind != PGK_REGION_CALLBACK || (m.load != nil && m.store != nil && m.compare_exchange != nil) else {
        return .failure(OpenError("region \(i) needs the map's functions, which are null"))
      }
      end = last.partialValue
    }
    return .success(PhysicalMemory(map))
  }

  init(_ map: UnsafePointer<pgk_physical_map_v1>) {
    self.map = map
    var best: pgk_region_v1?
    for i in 0..<map.pointee.region_count {
      let region = map.pointee.regions[i]
      if region.kind == PGK_REGION_RAM, region.length > best?.length ?? 0 { best = region }
    }
    base = best?.base ?? 0
    length = best?.length ?? 0
    bytes = best?.bytes ?? UnsafeMutableRawPointer(bitPattern: 16)!
    let regions = 0..<map.pointee.region_count
    widest = regions.max { map.pointee.regions[$0].length < map.pointee.regions[$1].length }.map { map.pointee.regions + $0 }
  }

  /// The bytes of an aligned word in the largest RAM region, if it is there.
  @inlinable @inline(__always) public func fastPointer(_ address: UInt64) -> UnsafeMutableRawPointer? {
    let offset = address &- base
    // Regions are multiples of 16 bytes, so a word that is aligned to its size lies in one region.
    return offset < length ? bytes + Int(truncatingIfNeeded: offset) : nil
  }

  /// What lies at the address.
  @inlinable public func place(_ address: UInt64) -> Place {
    if let pointer = fastPointer(address) { return .ram(pointer) }
    return slowPlace(address)
  }

  @inline(never) @usableFromInline func slowPlace(_ address: UInt64) -> Place {
    guard let region = region(containing: address) else { return .hole }
    switch region.kind {
    case PGK_REGION_RAM: return .ram(region.bytes + Int(truncatingIfNeeded: address &- region.base))
    case PGK_REGION_CALLBACK: return .callback
    case PGK_REGION_ADDRESS_ONLY: return .addressOnly
    default: return .device
    }
  }

  /// The region that covers the address, found by bisection.
  public func region(containing address: UInt64) -> pgk_region_v1? {
    var low = 0
    var high = map.pointee.region_count
    while low < high {
      let middle = (low + high) / 2
      let region = map.pointee.regions[middle]
      if address < region.base {
        high = middle
      } else if address &- region.base >= region.length {
        low = middle + 1
      } else {
        return region
      }
    }
    return nil
  }

  /// Whether memory or a device answers all `byteCount` bytes from the address.
  @inlinable @inline(__always) public func exists(_ address: UInt64, byteCount: UInt64) -> Bool {
    if let widest {
      let offset = address &- widest.pointee.base
      if offset < widest.pointee.length && widest.pointee.length &- offset >= byteCount { return true }
    }
    return existsBeyond(address, byteCount: byteCount)
  }

  /// The same, for what is not all in the largest region.
  @inline(never) @usableFromInline func existsBeyond(_ address: UInt64, byteCount: UInt64) -> Bool {
    var next = address
    var left = byteCount
    while left > 0 {
      guard let region = region(containing: next) else { return false }
      let covered = region.length &- (next &- region.base)
      if covered >= left { return true }
      left &-= covered
      next &+= covered
    }
    return true
  }

  // MARK: Entries

  /// Reads an aligned entry of 4 or 8 bytes. Returns false where there is no memory with bytes.
  @inlinable @inline(__always) public func load(_ address: UInt64, byteCount: UInt64, _ value: inout UInt64) -> Bool {
    if let pointer = fastPointer(address) {
      value = byteCount == 8
        ? pointer.load(as: UInt64.self) : UInt64(truncatingIfNeeded: pointer.load(as: UInt32.self))
      return true
    }
    return slowLoad(address, byteCount: byteCount, &value)
  }

  @inline(never) @usableFromInline
  func slowLoad(_ address: UInt64, byteCount: UInt64, _ value: inout UInt64) -> Bool {
    switch slowPlace(address) {
    case .ram(let pointer):
      value = byteCount == 8 ? pointer.load(as: UInt64.self) : UInt64(pointer.load(as: UInt32.self))
      return true
    case .callback:
      return map.pointee.load(map.pointee.context, address, UInt32(byteCount), &value) == 0
    case .addressOnly, .device, .hole:
      return false
    }
  }

  /// What became of a compare-and-exchange.
  @frozen public enum Exchange { case done, lost, noMemory }

  /// Replaces an aligned entry if it still holds `expected`.
  @inlinable public func exchange(_ address: UInt64, byteCount: UInt64, expected: UInt64, desired: UInt64) -> Exchange {
    switch place(address) {
    case .ram(let pointer):
      let same = byteCount == 8
        ? pgk_compare_exchange_8(pointer, expected, desired)
        : pgk_compare_exchange_4(pointer, UInt32(truncatingIfNeeded: expected), UInt32(truncatingIfNeeded: desired))
      return same != 0 ? .done : .lost
    case .callback:
      let code = map.pointee.compare_exchange(map.pointee.context, address, UInt32(byteCount), expected, desired)
      return code == 0 ? .done : code > 0 ? .lost : .noMemory
    case .addressOnly, .device, .hole:
      return .noMemory
    }
  }
}
