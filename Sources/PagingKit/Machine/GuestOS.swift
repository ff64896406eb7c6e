// The operating system of a machine: spaces, demand paging, and what it does about a fault. It knows no architecture:
// tables go through a mapper, everything else through the services of the back end.
import CPagingKit

/// What the OS did about a fault.
enum FaultAnswer: ~Copyable {
  /// A page was mapped. Nothing that was cached has become wrong.
  case mapped(Mapping<Virtual, GuestPhysical>)
  /// A neighbour in the same trap has had it mapped; performing it again is enough.
  case settled
  /// The tables are right now; caches must forget what they were.
  case changed(PendingInvalidation<Virtual>)
  /// The tables allow the access and did so before: either a cache is behind them, or they are not what is wrong.
  case inOrder(PendingInvalidation<Virtual>)
  /// The program may not do this.
  case refused
}

/// Spaces and their pages.
public final class GuestOS {
  public let memory: GuestMemory
  public private(set) var spaces: [AddressSpace] = []
  public internal(set) var counts = PageCounts()
  public internal(set) var processors: [Processor] = []

  let unit: Unit
  let format: Int
  let userPrivilege: UInt8
  private var identifiers: IdentifierPool

  init(unit: Unit, regime: pgk_regime_v1, memory: GuestMemory) {
    self.unit = unit
    self.memory = memory
    format = Int(regime.first_format)
    userPrivilege = regime.user
    identifiers = IdentifierPool(bits: Int(unit.architecture.description.identifier_bits))
  }

  // MARK: Spaces

  /// An empty space in which programs may use every address of theirs.
  func makeSpace(pageShift: Int) throws(MachineError) -> AddressSpace {
    guard let identifier = identifiers.take() else { throw .noIdentifier(bits: identifiers.bits) }
    do {
      let mapper = try Mapper<Virtual, GuestPhysical>(unit: unit, format: format, memory: memory, frames: memory)
      let space = AddressSpace(mapper: mapper, identifier: identifier, pageShift: pageShift)
      space.areas.insert(Area(mapper.layout.programRange, .program))
      spaces.append(space)
      return space
    } catch {
      identifiers.giveBack(identifier)
      throw .map(error)
    }
  }

  /// Gives back all pages and tables of a space that no cache knows any more.
  func dismantle(_ space: AddressSpace) throws(MachineError) {
    try asMachineError { () throws(MapError) in
      for range in try space.mapper.mappedRanges() {
        try space.mapper.forEachMapping(in: range) { release($0) }
      }
      try space.mapper.destroy()
    }
    identifiers.giveBack(space.identifier)
    spaces.removeAll { $0 === space }
  }

  /// Bytes of the tables of all spaces.
  public var tableByteCount: UInt64 { spaces.reduce(0) { $0 + $1.mapper.tableByteCount } }

  func release(_ mapping: Mapping<Virtual, GuestPhysical>) {
    memory.releaseData(mapping.output, shift: mapping.pageShift)
    counts.unmapped += 1
  }

  // MARK: Faults

  /// What a fault of a program asks for: a page on demand, a flag, an invalidation, or nothing that can be given.
  /// `fresh` are the pages that were mapped for operations in front of it in the same trap.
  func answer(
    _ operation: pgk_listed_v1, in space: AddressSpace, fresh: [PageRange<Virtual>] = []
  ) throws(MachineError) -> FaultAnswer {
    let address = Address<Virtual>(operation.fault_address)
    let needed = Self.rights(for: operation.access, isUser: operation.access.privilege == userPrivilege)
    guard space.mapper.layout.isCanonical(address.bits), let area = space.areas.area(holding: address),
      area.attributes.flags.isSuperset(of: needed)
    else { return .refused }
    let mapping = try asMachineError { () throws(MapError) in try space.mapper.mapping(of: address) }
    if let mapping {
      let isFresh = fresh.contains(mapping.range) && mapping.attributes.flags.isSuperset(of: needed.union(Self.marks(for: needed)))
      return isFresh ? .settled : try repair(mapping, area, needed, in: space)
    }
    return .mapped(try mapOnDemand(address, area, in: space, operation.access))
  }

  static func rights(for access: pgk_access_v1, isUser: Bool) -> PageAttributes.Flags {
    let right: PageAttributes.Flags =
      switch UInt32(access.kind) {
      case PGK_READ, PGK_LOAD_LOCKED: .read
      case PGK_FETCH: .execute
      default: .write
      }
    return isUser ? [right, .user] : right
  }

  /// What an access leaves in its page's entry, where the kernel writes it itself.
  private static func marks(for needed: PageAttributes.Flags) -> PageAttributes.Flags {
    needed.contains(.write) ? .marks : .accessed
  }

  /// The page is there. Its entry gets what it lacks.
  private func repair(
    _ mapping: Mapping<Virtual, GuestPhysical>, _ area: Area, _ needed: PageAttributes.Flags, in space: AddressSpace
  ) throws(MachineError) -> FaultAnswer {
    var wanted = mapping.attributes
    if !wanted.flags.isSuperset(of: needed) { wanted = area.attributes.keepingMarks(of: wanted) }
    wanted.flags.formUnion(Self.marks(for: needed))
    let changed = try asMachineError { () throws(MapError) in try space.mapper.protect(mapping.range, wanted) }
    if changed.invalidation.change != .none { return .changed(changed) }
    counts.spuriousFaults += 1
    return .inOrder(PendingInvalidation(page: mapping.range, .changed, changesTables: true))
  }

  /// Maps the largest page of the policy that fits around the address.
  ///
  /// The flags are preset, dirty in every writable area, as kernels do that do not page out: then no page faults twice where
  /// hardware leaves the flags to software, and look-ups count alike on every architecture.
  private func mapOnDemand(
    _ address: Address<Virtual>, _ area: Area, in space: AddressSpace, _ access: pgk_access_v1
  ) throws(MachineError) -> Mapping<Virtual, GuestPhysical> {
    var attributes = area.attributes
    attributes.flags.formUnion(Self.marks(for: area.attributes.flags))
    for shift in space.pageShifts {
      let isSmallest = shift == space.mapper.layout.pageShifts.first
      let start = address.aligned(toShift: shift)
      guard isSmallest || area.range.contains(PageRange(start, byteCount: 1 << UInt64(shift))) else { continue }
      guard let frame = memory.allocateData(shift: shift) else { continue }
      do {
        try space.mapper.map(start, to: frame, pageShift: shift, attributes).drop()
        counts.count(shift)
        return Mapping(input: start, output: frame, pageShift: shift, attributes: attributes)
      } catch {
        memory.releaseData(frame, shift: shift)
        try checkIsFallback(error, isSmallest: isSmallest, access)
      }
    }
    throw .outOfMemory(access: access.text, bytesFor: "a page")
  }

  /// A large page that does not fit is no error: a smaller one is tried.
  private func checkIsFallback(_ error: MapError, isSmallest: Bool, _ access: pgk_access_v1) throws(MachineError) {
    switch error {
    case .outOfFrames: throw .outOfMemory(access: access.text, bytesFor: "a table")
    case .alreadyMapped, .occupiedByTable, .refusedByFormat: if isSmallest { throw .map(error) }
    default: throw .map(error)
    }
  }
}

/// What demand paging has done.
public struct PageCounts: Equatable, Sendable {
  /// Pages mapped on demand, by log2 of their size.
  public internal(set) var mapped: [Int: UInt64] = [:]
  public internal(set) var unmapped: UInt64 = 0
  /// Faults in pages that were mapped and allowed.
  public internal(set) var spuriousFaults: UInt64 = 0

  public var allMapped: UInt64 { mapped.values.reduce(0, +) }

  mutating func count(_ shift: Int) { mapped[shift, default: 0] += 1 }
}

/// Identifiers that are not in use.
struct IdentifierPool {
  let bits: Int
  private var next: UInt32
  private var returned: [UInt32] = []

  /// With no bits at all every space has identifier 0. Otherwise 0 is the kernel's own.
  init(bits: Int) {
    self.bits = bits
    next = bits == 0 ? 0 : 1
  }

  mutating func take() -> UInt32? {
    if bits == 0 { return 0 }
    if let identifier = returned.popLast() { return identifier }
    guard UInt64(next) < 1 << UInt64(bits) else { return nil }
    next += 1
    return next - 1
  }

  mutating func giveBack(_ identifier: UInt32) { if bits > 0 { returned.append(identifier) } }
}
