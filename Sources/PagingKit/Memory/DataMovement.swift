// Moving the data of an access, byte by byte where it must be, in memory that a unit was lent.
import CPagingKit

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

  /// Writes the low `byteCount` bytes (at most 8) where `mask` has a bit: one store of each word that is touched. Bytes that
  /// have no memory are lost.
  public func storeBytes(_ address: UInt64, _ byteCount: Int, _ value: UInt64, mask: UInt8 = 0xff) {
    let first = min(byteCount, Int(8 - address & 7))
    storeWithinWord(address, first, value, mask)
    guard byteCount > first else { return }
    storeWithinWord(address &+ UInt64(first), byteCount - first, value >> UInt64(8 * first), mask >> UInt8(first))
  }

  private func storeWithinWord(_ address: UInt64, _ byteCount: Int, _ value: UInt64, _ mask: UInt8) {
    // Regions are multiples of 16 bytes, so a word lies in one.
    switch place(address) {
    case .ram(let pointer):
      for i in 0..<byteCount where mask & (1 << UInt8(i)) != 0 {
        pointer.storeBytes(of: UInt8(truncatingIfNeeded: value >> UInt64(8 * i)), toByteOffset: i, as: UInt8.self)
      }
    case .callback: storeByCallback(address, byteCount, value, mask)
    case .addressOnly, .device, .hole: break
    }
  }

  private func storeByCallback(_ address: UInt64, _ byteCount: Int, _ value: UInt64, _ mask: UInt8) {
    let lanes = (0..<byteCount).reduce(UInt64(0)) { mask & (1 << UInt8($1)) == 0 ? $0 : $0 | 0xff << UInt64(8 * $1) }
    guard lanes != 0 else { return }
    let shift = (address & 7) * 8
    var word: UInt64 = 0
    if lanes != .max { guard map.pointee.load(map.pointee.context, address & ~7, 8, &word) == 0 else { return } }
    _ = map.pointee.store(map.pointee.context, address & ~7, 8, word & ~(lanes << shift) | (value & lanes) << shift)
  }
}
