// Tables made for a single address, so that a walk can be seen without any input.
import CPagingKit
import PagingKit

extension PageAttributes {
  /// All rights, used before: hardware that leaves the flags to software would refuse a page without them.
  static let demonstration = PageAttributes([.read, .write, .execute, .user, .accessed, .dirty])
}

/// A unit in a regime, with just the tables that one address needs, in every stage that the regime has.
final class DemonstrationTables {
  let unit: Unit
  private(set) var origin: [String] = ["tables made for this address, since no memory was given"]

  private let architecture: Architecture
  private let regime: Int
  /// Physical memory: second-stage tables or the only ones, then what the guest takes for its memory.
  private let lower: TableArea<Physical>
  private let upper: TableArea<GuestPhysical>

  static let areaBase: UInt64 = 1 << 20
  /// Where guest-physical 0 lies in physical memory.
  static let guestOffset: UInt64 = 1 << 30

  /// A two-stage regime may need an option; the value is found by trying those of each choice that the user left open.
  static func make(
    _ architecture: Architecture, regime: Int, options: [(name: String, value: String)], address: UInt64, pageShift: Int?
  ) throws -> DemonstrationTables {
    do {
      return try DemonstrationTables(architecture, regime, options, address, pageShift)
    } catch let refusal as ServiceError {
      var reason = "\(refusal)"
      for option in untried(architecture, options) {
        do {
          let made = try DemonstrationTables(architecture, regime, options + [option], address, pageShift)
          made.origin.append("option \(option.name)=\(option.value), which the regime needs")
          return made
        } catch let other as ServiceError where reason == "\(refusal)" && "\(other)" != reason {
          // What is wrong besides tells more.
          reason = "with \(option.name)=\(option.value), \(other)"
        } catch {}
      }
      throw WalkError.cannotEnter(regime: string(architecture.regimes[regime].name), reason: reason)
    }
  }

  /// Choices of the processor's properties that nobody has made.
  static func untried(_ architecture: Architecture, _ options: [(name: String, value: String)]) -> [(name: String, value: String)] {
    DeclaredOption.all(of: architecture).flatMap { declared -> [(name: String, value: String)] in
      guard declared.kind == .model, case .choice(let values) = declared.values,
        !options.contains(where: { $0.name == declared.name })
      else { return [] }
      return values.filter { $0 != declared.preset }.map { (declared.name, $0) }
    }
  }

  private init(
    _ architecture: Architecture, _ regime: Int, _ options: [(name: String, value: String)], _ address: UInt64, _ pageShift: Int?
  ) throws {
    self.architecture = architecture
    self.regime = regime
    let isNested = architecture.regimes[regime].second_format != PGK_NO_FORMAT
    lower = TableArea(base: Self.areaBase)
    upper = TableArea(base: Self.areaBase)
    var regions = [lower.region(at: Self.areaBase)]
    if isNested { regions.append(upper.region(at: Self.areaBase + Self.guestOffset)) }
    unit = try Unit(architecture, map: PhysicalMapDescriptor(Self.filled(regions), owner: Areas(lower, upper)), options: options)
    if isNested { try makeNested(address, pageShift) } else { try makeNative(address, pageShift) }
  }

  /// Memory that lives as long as the unit over it.
  private final class Areas {
    let lower: TableArea<Physical>
    let upper: TableArea<GuestPhysical>

    init(_ lower: TableArea<Physical>, _ upper: TableArea<GuestPhysical>) {
      self.lower = lower
      self.upper = upper
    }
  }

  /// Everything that is not RAM exists without bytes, so that pages may lie anywhere.
  private static func filled(_ regions: [pgk_region_v1]) -> [pgk_region_v1] {
    var result: [pgk_region_v1] = []
    var next: UInt64 = 0
    for region in regions + [pgk_region_v1(base: .max & ~15, length: 0, kind: 0, reserved: 0, bytes: nil)] {
      if region.base > next {
        result.append(
          pgk_region_v1(
            base: next, length: region.base - next, kind: UInt32(PGK_REGION_ADDRESS_ONLY), reserved: 0, bytes: nil))
      }
      if region.length > 0 { result.append(region) }
      next = region.base + region.length
    }
    return result
  }

  // MARK: One stage

  /// A regime may have a second stage without tables: the registers for it are loaded if there are such.
  private func makeNative(_ address: UInt64, _ pageShift: Int?) throws {
    try? UnitServices(unit: unit).enableSecondStage(regime: regime, root: 0)
    let format = architecture.regimes[regime].first_format
    guard UInt32(format) != PGK_NO_FORMAT else {
      try UnitServices(unit: unit).enableTranslation(regime: regime, root: 0)
      return try requireRegime()
    }
    let mapper = try Mapper<Virtual, Physical>(unit: unit, format: Int(format), memory: lower, frames: lower)
    try UnitServices(unit: unit).enableTranslation(regime: regime, root: mapper.root.bits)
    try requireRegime()
    _ = try map(address, in: mapper, pageShift, atMost: 64)
  }

  /// Registers may select several regimes that translate alike: a guest without any tables is one without a hypervisor.
  private func requireRegime() throws(ServiceError) {
    let wanted = architecture.regimes[regime]
    if let found = unit.regime.map({ architecture.regimes[$0] }) {
      if found.first_format == wanted.first_format && found.second_format == wanted.second_format { return }
      throw ServiceError(service: "enable_translation", reason: "it selects the regime \(string(found.name))")
    }
    throw ServiceError(service: "enable_translation", reason: "it selects no regime")
  }

  /// Maps the page of the address to the same place, or to one with fewer bits where the model has not so many.
  /// Returns where the address leads; nil, with a note, if the format cannot translate it at all.
  private func map<Input, Output>(
    _ address: UInt64, in mapper: Mapper<Input, Output>, _ pageShift: Int?, atMost outputBits: Int
  ) throws(MapError) -> UInt64? {
    let layout = mapper.layout
    let shift = pageShift ?? layout.pageShifts.first ?? 12
    let offset: UInt64 = (1 << UInt64(shift)) - 1
    var refusal: MapError?
    for bits in stride(from: min(outputBits, layout.outputBits), through: 24, by: -1) {
      let output = address & ~offset & (bits == 64 ? .max : (1 << UInt64(bits)) - 1)
      do {
        try mapper.map(Address(address & ~offset), to: Address(output), pageShift: shift, .demonstration).drop()
        return output | address & offset
      } catch {
        switch error {
        case .refusedByFormat: refusal = refusal ?? error
        case .notCanonical:
          origin.append("nothing is mapped there: \(error)")
          return nil
        default: throw error
        }
      }
    }
    if let refusal { throw refusal }
    return nil
  }

  // MARK: Two stages

  private func makeNested(_ address: UInt64, _ pageShift: Int?) throws {
    let description = architecture.regimes[regime]
    let services = UnitServices(unit: unit)
    let second = try Mapper<GuestPhysical, Physical>(
      unit: unit, format: Int(description.second_format), memory: lower, frames: lower)
    try services.enableSecondStage(regime: regime, root: second.root.bits)
    var guestPhysical: UInt64? = address
    if UInt32(description.first_format) != PGK_NO_FORMAT {
      let first = try Mapper<Virtual, GuestPhysical>(
        unit: unit, format: Int(description.first_format), memory: upper, frames: upper)
      // The load of a root may read it, through the second stage.
      try mapGuestTables(in: second)
      try services.enableTranslation(regime: regime, root: first.root.bits)
      try requireRegime()
      guestPhysical = try map(address, in: first, pageShift, atMost: second.layout.inputBits)
      try mapGuestTables(in: second)
    } else {
      try services.enableTranslation(regime: regime, root: 0)
      try requireRegime()
    }
    if let guestPhysical { try mapGuestPage(guestPhysical, in: second) }
  }

  private func mapGuestTables(in second: Mapper<GuestPhysical, Physical>) throws(MapError) {
    for page in stride(from: Self.areaBase, to: Self.areaBase + upper.used, by: 4096) { try mapGuestPage(page, in: second) }
  }

  /// Maps the smallest page with a guest-physical address to where the guest's memory lies, unless it is mapped.
  private func mapGuestPage(_ address: UInt64, in second: Mapper<GuestPhysical, Physical>) throws(MapError) {
    let shift = second.layout.pageShifts.first ?? 12
    let page = address & ~((1 << UInt64(shift)) - 1)
    guard second.layout.isCanonical(page) else {
      origin.append("the second stage does not translate \(hex(address))")
      return
    }
    guard try second.translate(Address(page)) == nil else { return }
    var refusal: MapError?
    for output in [page &+ Self.guestOffset, page, page & 0xffff_f000] {
      do {
        return try second.map(Address(page), to: Address(output), pageShift: shift, .demonstration).drop()
      } catch {
        guard case .refusedByFormat = error else { throw error }
        refusal = refusal ?? error
      }
    }
    if let refusal { throw refusal }
  }
}
