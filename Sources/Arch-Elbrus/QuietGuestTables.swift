// A guest's tables when nothing but reading is to be done in either stage.
import PagingKit

/// Guest-physical memory behind GP tables whose entries are there and marked.
struct QuietGuestTables: QuietTables {
  let parameters: UnsafePointer<GuestPhysicalControls>
  /// The GP tables.
  var tables: QuietMemory
  /// Entries of the guest's own tables.
  var guestReads: UInt32 = 0

  @inline(__always) init(_ parameters: UnsafePointer<GuestPhysicalControls>, _ memory: PhysicalMemory) {
    self.parameters = parameters
    tables = QuietMemory(memory)
  }

  @inline(__always) var reads: UInt32 { tables.reads &+ guestReads }

  @inline(__always)
  mutating func load(_ slot: UInt64, byteCount: UInt64, _ entry: inout UInt64) -> Bool {
    let seen = look(slot, isWritten: false)
    guard seen.isPlain, let pointer = tables.memory.fastPointer(seen.output) else { return false }
    guestReads &+= 1
    entry = pointer.load(as: UInt64.self)
    return true
  }

  @inline(__always)
  mutating func look(_ address: UInt64, isWritten: Bool) -> Glance<FormatGP> {
    let root = WalkStart(table: parameters.pointee.root, level: FormatGP.radix.levelCount &- 1)
    return Glance<FormatGP>(address, from: root, isWritten: isWritten, UnsafePointer(parameters.pointee.entries), &tables)
  }
}
