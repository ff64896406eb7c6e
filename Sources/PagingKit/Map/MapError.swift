// Why tables were not changed.

/// A mapping that cannot be made as asked. Nothing that was mapped before has changed.
public enum MapError: Error, Sendable, CustomStringConvertible {
  /// The address is not a multiple of the page size.
  case misaligned(UInt64, pageShift: Int)
  /// The bits above the format's input width are not as the format wants them.
  case notCanonical(UInt64, format: String, inputBits: Int, isSignExtended: Bool)
  case pageSizeNotInFormat(pageShift: Int, format: String, valid: [Int])
  case alreadyMapped(UInt64, by: String)
  /// A table with smaller pages stands where a large page should.
  case occupiedByTable(UInt64, slot: UInt64)
  /// A range that begins or ends inside a larger page.
  case splitsLargerPage(UInt64, page: String)
  case notMapped(UInt64)
  case outOfFrames(byteCount: UInt64)
  /// An entry that the format itself refuses.
  case damagedEntry(slot: UInt64, bits: UInt64, level: Int)
  /// The format, as its model and registers are now, cannot hold such an entry.
  case refusedByFormat(String)
  case memory(TableStorageError)

  public var description: String {
    switch self {
    case .misaligned(let address, let shift):
      "\(hex(address)) is not a multiple of the page size, \(byteText(shift))"
    case .notCanonical(let address, let format, let bits, let isSignExtended):
      "\(hex(address)) is not an address of \(format): the bits above \(bits) must \(isSignExtended ? "repeat bit \(bits - 1)" : "be zero")"
    case .pageSizeNotInFormat(let shift, let format, let valid):
      "\(format) has no pages of \(byteText(shift)); it has \(valid.map(byteText).joined(separator: ", "))"
    case .alreadyMapped(let address, let page): "\(hex(address)) is already mapped: \(page)"
    case .occupiedByTable(let address, let slot):
      "\(hex(address)) cannot become a large page: the entry at \(hex(slot)) holds a table of smaller ones"
    case .splitsLargerPage(let address, let page): "a range with \(hex(address)) would split the page \(page)"
    case .notMapped(let address): "\(hex(address)) is not mapped"
    case .outOfFrames(let byteCount): "no frame left for a table of \(byteCount) bytes"
    case .damagedEntry(let slot, let bits, let level):
      "the entry \(hex(bits)) at \(hex(slot)), level \(level), is not one of the format"
    case .refusedByFormat(let message): message
    case .memory(let error): error.description
    }
  }
}

func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

/// `4 KiB`, `2 MiB`, from log2 of the bytes.
func byteText(_ shift: Int) -> String {
  let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
  return (0..<64).contains(shift) ? "\(1 << (shift % 10)) \(units[shift / 10])" : "2^\(shift) B"
}
