// A little memory for tables that are made to be looked at.
import CPagingKit
import Glibc
import PagingKit

/// RAM at one place, seen from one address space; tables are given out from its start and never come back.
final class TableArea<Space>: TableStorage, FrameSource {
  static var byteCount: Int { 2 << 20 }

  let base: UInt64
  let bytes: UnsafeMutableRawPointer
  private(set) var used: UInt64 = 0
  private let capacity: UInt64

  init(base: UInt64, byteCount: Int = byteCount) {
    self.base = base
    capacity = UInt64(byteCount)
    bytes = .allocate(byteCount: byteCount, alignment: 4096)
    bytes.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
  }

  deinit { bytes.deallocate() }

  func region(at address: UInt64) -> pgk_region_v1 {
    pgk_region_v1(base: address, length: capacity, kind: UInt32(PGK_REGION_RAM), reserved: 0, bytes: bytes)
  }

  func load(_ slot: Address<Space>, byteCount: Int) throws(TableStorageError) -> UInt64 {
    let place = try place(slot, byteCount)
    return byteCount == 8 ? place.load(as: UInt64.self) : UInt64(place.load(as: UInt32.self))
  }

  func store(_ value: UInt64, at slot: Address<Space>, byteCount: Int) throws(TableStorageError) {
    let place = try place(slot, byteCount)
    if byteCount == 8 {
      place.storeBytes(of: value, as: UInt64.self)
    } else {
      place.storeBytes(of: UInt32(truncatingIfNeeded: value), as: UInt32.self)
    }
  }

  private func place(_ slot: Address<Space>, _ byteCount: Int) throws(TableStorageError) -> UnsafeMutableRawPointer {
    guard slot.bits >= base, slot.bits - base <= capacity - UInt64(byteCount), slot.bits % UInt64(byteCount) == 0 else {
      throw TableStorageError(slot: slot.bits)
    }
    return bytes + Int(slot.bits - base)
  }

  func allocateTable(byteCount: UInt64, alignment: UInt64) -> Address<Space>? {
    let start = (base + used + alignment - 1) & ~(alignment - 1)
    guard start - base <= capacity, capacity - (start - base) >= byteCount else { return nil }
    used = start - base + byteCount
    return Address(start)
  }

  func freeTable(_ table: Address<Space>, byteCount: UInt64, alignment: UInt64) {}
}
