// The physical memory of one machine.
import CPagingKit

/// How much memory a machine has, and what of it has bytes.
public struct MemoryPlan {
  public enum Backing: Sendable {
    /// Data has bytes, which cost host memory when they are touched.
    case backed
    /// Data exists for translation only: a trace of any size costs no memory but that of its tables.
    case addressOnly
  }

  /// For the kernel and its tables. Nil: 512 MiB, or an eighth of the whole if that is less; data then begins low, where
  /// entries of every page size reach it.
  public var tableByteCount: UInt64?
  /// For the pages of programs. Nil: the rest.
  public var dataByteCount: UInt64?
  public var dataBacking: Backing
  public var devices: [(range: PageRange<GuestPhysical>, device: any Device)]

  public init(
    tableByteCount: UInt64? = nil, dataByteCount: UInt64? = nil, dataBacking: Backing = .addressOnly,
    devices: [(range: PageRange<GuestPhysical>, device: any Device)] = []
  ) {
    self.tableByteCount = tableByteCount
    self.dataByteCount = dataByteCount
    self.dataBacking = dataBacking
    self.devices = devices
  }

  /// 64 GiB, or all that the format can address if that is less.
  static let presetShift = 36

  func byteCounts(outputBits: Int) -> (table: UInt64, data: UInt64) {
    let whole: UInt64 = 1 << UInt64(min(outputBits, Self.presetShift))
    let table = tableByteCount ?? min(whole / 8, 512 << 20)
    return (table, dataByteCount ?? max(whole, table) - table)
  }
}

/// RAM, address-only memory and devices, from physical address 0 up: kernel and tables, then data, devices where they say.
///
/// Bytes are reserved, not committed: the size of a machine costs nothing.
public final class GuestMemory {
  /// Left to the kernel and to what a unit keeps in memory itself; no frame is given out here.
  public static let kernelByteCount: UInt64 = 1 << 20

  public let map: PhysicalMapDescriptor
  public let tableRange: Range<UInt64>
  public let dataRange: Range<UInt64>
  let devices: [(range: PageRange<GuestPhysical>, device: any Device)]
  private let bytes: UnsafeMutableRawPointer
  private let ramByteCount: UInt64
  private var tableFrames: FramePool
  private var dataFrames: FramePool

  public init(_ plan: MemoryPlan, outputBits: Int) throws(MachineError) {
    let size = plan.byteCounts(outputBits: outputBits)
    let end = try Self.checked(size.table, size.data, plan.devices.map(\.range))
    let ramByteCount = plan.dataBacking == .backed ? end : size.table
    guard let bytes = pgk_reserve(Int(ramByteCount)) else { throw .memory("the host refuses to reserve \(ramByteCount) bytes") }
    self.bytes = bytes
    self.ramByteCount = ramByteCount
    devices = plan.devices
    tableRange = Self.kernelByteCount..<size.table
    dataRange = size.table..<end
    tableFrames = FramePool(tableRange)
    dataFrames = FramePool(dataRange)
    var regions = [Self.region(0, ramByteCount, PGK_REGION_RAM, bytes)]
    if end > ramByteCount { regions.append(Self.region(ramByteCount, end - ramByteCount, PGK_REGION_ADDRESS_ONLY)) }
    regions += plan.devices.map { Self.region($0.range.start.bits, $0.range.byteCount, PGK_REGION_DEVICE) }
    map = PhysicalMapDescriptor(regions)
  }

  deinit { pgk_release(bytes, Int(ramByteCount)) }

  private static func region(_ base: UInt64, _ length: UInt64, _ kind: UInt32, _ bytes: UnsafeMutableRawPointer? = nil) -> pgk_region_v1 {
    pgk_region_v1(base: base, length: length, kind: kind, reserved: 0, bytes: bytes)
  }

  /// The end of memory, if sizes and devices fit together.
  private static func checked(_ table: UInt64, _ data: UInt64, _ devices: [PageRange<GuestPhysical>]) throws(MachineError) -> UInt64 {
    let limit: UInt64 = 1 << 46
    guard table >= 2 * kernelByteCount, table & 0xfff == 0, table <= limit else {
      throw .memory("\(table) bytes for tables: expected a multiple of 4096 from \(2 * kernelByteCount) to \(limit)")
    }
    guard data & 0xfff == 0, data <= limit else {
      throw .memory("\(data) bytes for data: expected a multiple of 4096 up to \(limit)")
    }
    for (i, range) in devices.enumerated() {
      guard range.start.bits >= table + data, range.start.bits & 15 == 0, range.byteCount & 15 == 0 else {
        throw .memory("the device at \(range) must lie in multiples of 16 bytes above memory, which ends at \(hex(table + data))")
      }
      if let other = devices[..<i].first(where: { $0.overlaps(range) }) {
        throw .memory("the devices at \(other) and \(range) overlap")
      }
    }
    return table + data
  }

  // MARK: Frames

  func allocateData(shift: Int) -> Address<GuestPhysical>? {
    guard let (address, isFresh) = dataFrames.allocate(shift: shift) else { return nil }
    if !isFresh { clear(address, byteCount: 1 << UInt64(shift)) }
    return Address(address)
  }

  /// Frames outside the data range belong to nobody: devices, frames that a caller mapped itself.
  func releaseData(_ frame: Address<GuestPhysical>, shift: Int) {
    if dataRange.contains(frame.bits) { dataFrames.release(frame.bits, shift: shift) }
  }

  private func clear(_ address: UInt64, byteCount: UInt64) {
    guard address < ramByteCount else { return }
    (bytes + Int(address)).initializeMemory(as: UInt8.self, repeating: 0, count: Int(byteCount))
  }

  // MARK: Bytes

  /// The bytes from an address on, as many as asked for; nil where there are none.
  public func bytes(at address: Address<GuestPhysical>, byteCount: Int) -> UnsafeMutableRawBufferPointer? {
    guard address.bits < ramByteCount, byteCount >= 0, UInt64(byteCount) <= ramByteCount - address.bits else { return nil }
    return UnsafeMutableRawBufferPointer(start: bytes + Int(address.bits), count: byteCount)
  }
}

/// Tables written straight into RAM, past the unit: what a kernel's stores would do if nobody watched them.
extension GuestMemory: TableStorage, FrameSource {
  public typealias Space = GuestPhysical

  public func load(_ slot: Address<GuestPhysical>, byteCount: Int) throws(TableStorageError) -> UInt64 {
    let place = try place(slot, byteCount)
    return byteCount == 8 ? place.load(as: UInt64.self) : UInt64(place.load(as: UInt32.self))
  }

  public func store(_ value: UInt64, at slot: Address<GuestPhysical>, byteCount: Int) throws(TableStorageError) {
    let place = try place(slot, byteCount)
    if byteCount == 8 {
      place.storeBytes(of: value, as: UInt64.self)
    } else {
      place.storeBytes(of: UInt32(truncatingIfNeeded: value), as: UInt32.self)
    }
  }

  private func place(_ slot: Address<GuestPhysical>, _ byteCount: Int) throws(TableStorageError) -> UnsafeMutableRawPointer {
    guard slot.bits < ramByteCount, slot.bits & UInt64(byteCount - 1) == 0 else { throw TableStorageError(slot: slot.bits) }
    return bytes + Int(slot.bits)
  }

  public func allocateTable(byteCount: UInt64, alignment: UInt64) -> Address<GuestPhysical>? {
    guard let (address, isFresh) = tableFrames.allocate(shift: Self.shift(byteCount, alignment)) else { return nil }
    if !isFresh { clear(address, byteCount: byteCount) }
    return Address(address)
  }

  public func freeTable(_ table: Address<GuestPhysical>, byteCount: UInt64, alignment: UInt64) {
    tableFrames.release(table.bits, shift: Self.shift(byteCount, alignment))
  }

  private static func shift(_ byteCount: UInt64, _ alignment: UInt64) -> Int {
    64 - (max(byteCount, alignment) - 1).leadingZeroBitCount
  }
}
