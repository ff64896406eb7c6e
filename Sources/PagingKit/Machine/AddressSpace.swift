// One process as the memory unit sees it: tables and an identifier.

/// An address space of the guest OS model.
public final class AddressSpace {
  public let mapper: Mapper<Virtual, GuestPhysical>
  /// What caches tag its translations with; 0 where the architecture has no identifiers.
  public let identifier: UInt32
  /// What its programs may use.
  public var areas = Areas()
  /// log2 of the page size that demand paging tries first; where such a page does not fit, the next smaller one is used.
  public var pageShift: Int

  init(mapper: Mapper<Virtual, GuestPhysical>, identifier: UInt32, pageShift: Int) {
    self.mapper = mapper
    self.identifier = identifier
    self.pageShift = pageShift
  }

  public var root: Address<GuestPhysical> { mapper.root }

  /// Page sizes to try, largest first.
  var pageShifts: [Int] { mapper.layout.pageShifts.filter { $0 <= pageShift }.reversed() }
}
