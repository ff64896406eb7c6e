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

  public let range: PageRange<Input>
  public let change: Change
  /// Entries that point to tables were changed, not only leaves.
  public let changesTables: Bool
}

/// An invalidation that is owed. It must be performed or explicitly dropped; forgetting it stops the program.
public struct PendingInvalidation<Input>: ~Copyable {
  public let invalidation: Invalidation<Input>
  /// What the format could not express as asked, in the mapping that was made.
  public let unexpressed: PageAttributes.Flags

  init(
    _ range: PageRange<Input>, _ change: Invalidation<Input>.Change, changesTables: Bool,
    unexpressed: PageAttributes.Flags = []
  ) {
    invalidation = Invalidation(range: range, change: change, changesTables: changesTables)
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
