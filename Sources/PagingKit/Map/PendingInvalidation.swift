// A changed table is half of the work: caches still hold what it said before.

/// What caches may still hold after tables were changed.
public struct Invalidation<Input>: Equatable, Sendable {
  public enum Change: Equatable, Sendable {
    case none
    /// Only absent entries were filled. What caches hold stays right, unless the architecture caches absent entries.
    case added
    /// Entries that translated were changed or cleared.
    case changed
  }

  /// From the first changed page to the last.
  public let range: PageRange<Input>
  /// How many pages were changed; one page is less work than a range.
  public let pageCount: Int
  public let change: Change
  /// Entries that point to tables were changed, not only leaves.
  public let changesTables: Bool
}

/// Collects pages as they are changed.
struct ChangedPages<Input> {
  var count = 0
  var hull: PageRange<Input>?

  mutating func insert(_ page: PageRange<Input>) {
    count += 1
    hull = hull?.union(page) ?? page
  }
}

/// An invalidation that is owed. It must be performed or explicitly dropped; forgetting it stops the program.
public struct PendingInvalidation<Input>: ~Copyable {
  public let invalidation: Invalidation<Input>
  /// What the format could not express as asked, in the mapping that was made.
  public let unexpressed: PageAttributes.Flags

  /// One page.
  init(
    page: PageRange<Input>, _ change: Invalidation<Input>.Change, changesTables: Bool,
    unexpressed: PageAttributes.Flags = []
  ) {
    invalidation = Invalidation(range: page, pageCount: 1, change: change, changesTables: changesTables)
    self.unexpressed = unexpressed
  }

  /// The pages of a range that were changed.
  init(
    _ pages: ChangedPages<Input>, of range: PageRange<Input>, changesTables: Bool,
    unexpressed: PageAttributes.Flags = []
  ) {
    invalidation = Invalidation(
      range: pages.hull ?? range, pageCount: pages.count, change: pages.count > 0 ? .changed : .none,
      changesTables: changesTables)
    self.unexpressed = unexpressed
  }

  /// Hands the invalidation to who performs it, unless nothing was changed.
  public consuming func perform<Failure: Error>(
    _ body: (Invalidation<Input>) throws(Failure) -> Void
  ) throws(Failure) {
    let owed = invalidation
    discard self
    if owed.change != .none { try body(owed) }
  }

  /// Leaves caches as they are: they may go on using the old mapping.
  public consuming func drop() { discard self }

  deinit {
    precondition(
      invalidation.change == .none, "the change of \(invalidation.range) was neither invalidated nor dropped")
  }
}
