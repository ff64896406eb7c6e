// Moving the data of an access, byte by byte where it must be, in memory that a unit was lent.
public import CPagingKit

extension PhysicalMemory {
  /// Reads `byteCount` bytes (at most 8) from one region. Bytes that are not there read as ones, as on an open bus.
  public func loadBytes(_ address: UInt64, _ byteCount: Int) -> UInt64 {
    var value: UInt64 = 0
    for i in 0..<byteCount { value |= UInt64(loadByte(address &+ UInt64(i))) << UInt64(8 * i) }
    return value
  }

  private func loadByte(_ address: UInt64) -> UInt8 {
    switch place(address) {
    case .ram(let pointer): return pointer.load(as: UInt8.self)
    case .callback:
      var word: UInt64 = 0
      guard map.pointee.load(map.pointee.context, address & ~7, 8, &word) == 0 else { return 0xff }
      return UInt8(truncatingIfNeeded: word >> ((address & 7) * 8))
    case .addressOnly, .device, .hole: return 0xff
    }
  }

  /// Writes the low `byteCount` bytes (at most 8) where `mask` has a bit. Bytes that have no memory are lost.
  public func storeBytes(_ address: UInt64, _ byteCount: Int, _ value: UInt64, mask: UInt8 = 0xff) {
    for i in 0..<byteCount where mask & (1 << UInt8(i)) != 0 {
      storeByte(address &+ UInt64(i), UInt8(truncatingIfNeeded: value >> UInt64(8 * i)))
    }
  }

  private func storeByte(_ address: UInt64, _ byte: UInt8) {
    switch place(address) {
    case .ram(let pointer): pointer.storeBytes(of: byte, as: UInt8.self)
    case .callback:
      var word: UInt64 = 0
      guard map.pointee.load(map.pointee.context, address & ~7, 8, &word) == 0 else { return }
      let shift = (address & 7) * 8
      _ = map.pointee.store(map.pointee.context, address & ~7, 8, word & ~(0xff << shift) | UInt64(byte) << shift)
    case .addressOnly, .device, .hole: break
    }
  }
}
