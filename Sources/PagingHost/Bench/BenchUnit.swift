// A unit of a loaded back end that walks the floor's own tables.
//
// No architecture is named: a back end is right if its formats have the shape of the floor's tables, its decode reads the
// floor's entries as they are meant, and its walk of an address ends where the floor says.
import CPagingFloor
import CPagingKit
import PagingKit

struct BenchUnit {
  let unit: Unit
  let regime: String

  /// What the floor's TLBs and walk caches are; options that a back end lacks are left out.
  static let geometry = [
    ("tlb.l1.sets", "16"), ("tlb.l1.ways", "4"), ("tlb.l2.sets", "128"), ("tlb.l2.ways", "12"), ("pwc.level1.sets", "8"),
    ("pwc.level1.ways", "4"), ("pwc.level2.sets", "1"), ("pwc.level2.ways", "4"), ("pwc.level3.sets", "1"),
    ("pwc.level3.ways", "2"), ("tlb.replacement", "lru"),
  ]

  /// Every cache absent, then those that the job has.
  static func options(_ architecture: Architecture, hasCaches: Bool, _ settings: [Setting]) throws(SettingError) -> [(name: String, value: String)] {
    let declared = DeclaredOption.all(of: architecture).map(\.name)
    var values = declared.filter { $0.hasSuffix(".ways") }.map { Setting(name: $0, value: "0", origin: "the bench") }
    if hasCaches { values += geometry.map { Setting(name: $0.0, value: $0.1, origin: "the bench") } }
    return try Configuration(architecture, settings: values + settings, undeclared: .skipped).options
  }

  /// The first back end that understands the tables of a job, which has been prepared.
  static func find(
    _ job: floor_job, _ floor: FloorLibrary, among architectures: [Architecture], _ settings: [Setting]
  ) throws -> BenchUnit? {
    for architecture in architectures {
      for (index, regime) in architecture.regimes.enumerated() where hasShape(regime, architecture, job.tables) {
        let options = try options(architecture, hasCaches: job.hasCaches, settings)
        for extra in [[]] + DemonstrationTables.untried(architecture, options).map({ [$0] }) {
          if let unit = enter(index, architecture, options + extra, job, floor) {
            return BenchUnit(unit: unit, regime: string(regime.name))
          }
        }
      }
    }
    return nil
  }

  /// Four levels of nine bits with entries of 8 bytes, in each stage that the tables have.
  private static func hasShape(_ regime: pgk_regime_v1, _ architecture: Architecture, _ tables: UInt32) -> Bool {
    func isRadix(_ index: UInt8) -> Bool {
      guard UInt32(index) != PGK_NO_FORMAT else { return false }
      let format = architecture.formats[Int(index)]
      return format.entry_bytes == 8 && format.level_count == 4
        && format.levelList.enumerated().allSatisfy { $1.index_bits == 9 && $1.shift == 12 + 9 * $0 }
    }
    guard isRadix(regime.first_format) else { return false }
    return tables == FLOOR_TABLES_NESTED ? isRadix(regime.second_format) : UInt32(regime.second_format) == PGK_NO_FORMAT
  }

  // MARK: Entering

  private static func enter(
    _ regime: Int, _ architecture: Architecture, _ options: [(name: String, value: String)], _ job: floor_job, _ floor: FloorLibrary
  ) -> Unit? {
    let state = floor.state.pointee
    guard let unit = try? Unit(architecture, map: map(of: floor), options: options) else { return nil }
    let services = UnitServices(unit: unit)
    do {
      if job.tables == FLOOR_TABLES_NESTED {
        try services.enableSecondStage(regime: regime, root: state.root)
        try services.enableTranslation(regime: regime, root: state.guest_root)
      } else {
        try services.enableTranslation(regime: regime, root: state.root)
      }
    } catch { return nil }
    guard unit.regime == regime, understands(unit, regime, state) else { return nil }
    return unit
  }

  /// The image is RAM; all above it, where pages lie, exists without bytes.
  static func map(of floor: FloorLibrary) -> PhysicalMapDescriptor {
    let state = floor.state.pointee
    let rest = (1 << 52) - state.image_bytes
    return PhysicalMapDescriptor(
      [
        pgk_region_v1(base: 0, length: state.image_bytes, kind: UInt32(PGK_REGION_RAM), reserved: 0, bytes: state.image),
        pgk_region_v1(base: state.image_bytes, length: rest, kind: UInt32(PGK_REGION_ADDRESS_ONLY), reserved: 0, bytes: nil),
      ], owner: floor)
  }

  /// Rights that the floor's entries give; marked as used, so that a walk writes nothing.
  private static let wanted = PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_USER | PGK_ATTRIBUTE_ACCESSED | PGK_ATTRIBUTE_DIRTY

  private static func understands(_ unit: Unit, _ regime: Int, _ state: floor_state) -> Bool {
    let description = unit.architecture.regimes[regime]
    let isNested = state.tables == FLOOR_TABLES_NESTED
    let format = Int(isNested ? description.second_format : description.first_format)
    // In the nested tables the first address of the second stage is guest-physical 0.
    var table = state.root
    for level in (0..<4).reversed() {
      let index = (isNested ? 0 : state.first_address) >> UInt64(12 + 9 * level) & 511
      let entry = UnsafeRawPointer(state.image).load(fromByteOffset: Int(table + index * 8), as: UInt64.self)
      guard let decoded = try? unit.decode(format: format, level: level, entry) else { return false }
      let kind = level == 0 ? PGK_ENTRY_LEAF : PGK_ENTRY_TABLE
      guard UInt32(decoded.kind) == kind, decoded.output & 0xfff == 0, level == 0 || decoded.output < state.image_bytes else { return false }
      if level == 0, decoded.attributes & wanted != wanted || decoded.output != state.output { return false }
      table = decoded.output
    }
    var access = BenchUnit.access(state.first_address + state.span - 1, tag: 0, unit, regime)
    var result = pgk_result_v1()
    guard (try? unit.run(&access, values: nil, results: &result, count: 1)) == 1 else { return false }
    return result.outcome == UInt8(PGK_OUTCOME_FINISHED) && result.output == state.output + state.span - 1
  }

  static func access(_ address: UInt64, tag: UInt32, _ unit: Unit, _ regime: Int) -> pgk_access_v1 {
    pgk_access_v1(
      address: address, kind: UInt8(PGK_READ), size_log2: 0, privilege: unit.architecture.regimes[regime].user,
      flags: UInt8(PGK_TRANSLATE_ONLY), tag: tag)
  }
}
