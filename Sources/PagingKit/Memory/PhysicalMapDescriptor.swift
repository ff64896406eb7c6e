// The lender's side of physical memory: what a host builds and hands to units.
public import CPagingKit

/// A physical map as the border wants it, owning its region list but not the bytes.
///
/// Regions are sorted by base and must not overlap; what no region covers is a hole.
public final class PhysicalMapDescriptor {
  public let pointer: UnsafePointer<pgk_physical_map_v1>
  private let regions: UnsafeMutableBufferPointer<pgk_region_v1>
  private let map: UnsafeMutablePointer<pgk_physical_map_v1>
  private let owner: AnyObject?

  /// `owner` is kept alive with the map, for example the memory that the regions point into.
  public init(_ list: [pgk_region_v1], owner: AnyObject? = nil) {
    let sorted = list.sorted { $0.base < $1.base }
    for (lower, upper) in zip(sorted, sorted.dropFirst()) {
      precondition(upper.base - lower.base >= lower.length, "regions at \(lower.base) and \(upper.base) overlap")
    }
    regions = .allocate(capacity: sorted.count)
    _ = regions.initialize(from: sorted)
    map = .allocate(capacity: 1)
    map.initialize(to: pgk_physical_map_v1())
    map.pointee.size = UInt32(MemoryLayout<pgk_physical_map_v1>.size)
    map.pointee.abi = PGK_ABI
    map.pointee.regions = UnsafePointer(regions.baseAddress)
    map.pointee.region_count = sorted.count
    pointer = UnsafePointer(map)
    self.owner = owner
  }

  /// Serves regions of kind PGK_REGION_CALLBACK; call before a unit is opened over the map.
  public func setCallbacks(
    context: UnsafeMutableRawPointer?,
    load: @escaping @convention(c) (UnsafeMutableRawPointer?, UInt64, UInt32, UnsafeMutablePointer<UInt64>?) -> Int32,
    store: @escaping @convention(c) (UnsafeMutableRawPointer?, UInt64, UInt32, UInt64) -> Int32,
    compareExchange: @escaping @convention(c) (UnsafeMutableRawPointer?, UInt64, UInt32, UInt64, UInt64) -> Int32
  ) {
    map.pointee.context = context
    map.pointee.load = load
    map.pointee.store = store
    map.pointee.compare_exchange = compareExchange
  }

  deinit {
    map.deallocate()
    regions.deallocate()
  }
}
