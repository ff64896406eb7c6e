// Devices of a machine: what answers where there is no memory.
public import CPagingKit

/// Registers at physical addresses. A load or store is performed exactly once, in program order.
public protocol Device: AnyObject {
  func load(at offset: UInt64, byteCount: Int) -> pgk_value_v1
  func store(_ value: pgk_value_v1, at offset: UInt64, byteCount: Int)
}
