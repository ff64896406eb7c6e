// Entries of 4 bytes: Sv32 and Sv32x4.
import PagingKit

/// "Sv32 page table entry": 22 bits of page number, so that physical addresses have 34 bits.
protocol RV32Format: RISCVFormat {}

extension RV32Format {
  static var PPN: Field { Field("PPN", 31, 10) }
  static var upperFields: [Field] { [] }
}
