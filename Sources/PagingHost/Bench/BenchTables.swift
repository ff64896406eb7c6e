// Tables for the jobs for which the floor has none: its arrays translate nothing, but a unit walks on a miss.
import CPagingKit
import Glibc
import PagingKit

/// A unit with demand-made tables: every page that a round will touch is mapped before it.
final class BenchTables {
  let unit: Unit
  let regime: String
  private let regimeIndex: Int
  private let mapper: Mapper<Virtual, Physical>
  /// Physical addresses of pages, by page number.
  private var frames: [UInt64: UInt64] = [:]
  /// The page last seen at each place, so that most addresses need no look into the set.
  private var recent = [UInt64](repeating: .max, count: 1 << 12)

  private static let tableByteCount = 256 << 20

  /// The same kind of tables as the floor's: the back end and regime that `BenchUnit` found for those.
  init(like found: BenchUnit, options: [(name: String, value: String)]) throws {
    let architecture = found.unit.architecture
    let area = TableArea<Physical>(base: 0, byteCount: Self.tableByteCount)
    let end = UInt64(Self.tableByteCount)
    let map = PhysicalMapDescriptor(
      [
        area.region(at: 0),
        pgk_region_v1(base: end, length: (1 << 52) - end, kind: UInt32(PGK_REGION_ADDRESS_ONLY), reserved: 0, bytes: nil),
      ], owner: area)
    unit = try Unit(architecture, map: map, options: options)
    regime = found.regime
    guard let index = architecture.regimeIndex(named: regime) else { preconditionFailure("the regime was found by name") }
    regimeIndex = index
    // No table at address 0.
    _ = area.allocateTable(byteCount: 4096, alignment: 4096)
    mapper = try Mapper(unit: unit, format: Int(architecture.regimes[index].first_format), memory: area, frames: area)
    try UnitServices(unit: unit).enableTranslation(regime: index, root: mapper.root.bits)
  }

  /// Maps what is not mapped yet, page n of the program to physical page n above the tables.
  func map(_ addresses: UnsafeBufferPointer<UInt64>) throws {
    for address in addresses {
      let page = address >> 12
      let place = Int(truncatingIfNeeded: page) & (recent.count - 1)
      guard recent[place] != page else { continue }
      recent[place] = page
      guard frames[page] == nil else { continue }
      let frame = UInt64(Self.tableByteCount) + UInt64(frames.count) << 12
      frames[page] = frame
      try mapper.map(Address(page << 12), to: Address(frame), pageShift: 12, .demonstration).drop()
    }
  }

  /// Where an address leads.
  func output(of address: UInt64) -> UInt64? { frames[address >> 12].map { $0 | address & 0xfff } }

  /// Sets the accessed flags of all tables, so that no timed walk writes.
  func touch() throws(UnitError) {
    for page in frames.keys {
      var access = BenchUnit.access(page << 12, tag: 0, unit, regimeIndex)
      var result = pgk_result_v1()
      _ = try unit.run(&access, values: nil, results: &result, count: 1)
    }
  }
}
