// What a translation allows, collected by formats and judged by regimes.

/// Rights of a translation, one bit each.
///
/// The lower half belongs to the first stage, or to the only one; the upper half to the second stage. A walk ANDs what
/// the entries on its way say. A TLB caches the whole byte and judges it again on every hit.
@frozen public struct Rights: OptionSet, Sendable, Hashable {
  public var rawValue: UInt8

  @inlinable @inline(__always) public init(rawValue: UInt8) { self.rawValue = rawValue }

  @inlinable public static var read: Rights { Rights(rawValue: 1) }
  @inlinable public static var write: Rights { Rights(rawValue: 2) }
  @inlinable public static var execute: Rights { Rights(rawValue: 4) }
  /// User-mode code may use it; without this right it is a supervisor page.
  @inlinable public static var user: Rights { Rights(rawValue: 8) }

  /// A store needs no walk: the dirty bits it would set are set, in both stages.
  @inlinable public static var dirty: Rights { Rights(rawValue: 16) }
  @inlinable public static var secondRead: Rights { Rights(rawValue: 32) }
  @inlinable public static var secondWrite: Rights { Rights(rawValue: 64) }
  @inlinable public static var secondExecute: Rights { Rights(rawValue: 128) }

  /// What the first stage does not decide: the rights of the second, and that no flag is to be set.
  @inlinable @inline(__always) public static var beyondFirstStage: Rights { Rights(rawValue: 0xf0) }

  @inlinable public static var all: Rights { Rights(rawValue: 255) }

  @inlinable @inline(__always) public func has(_ right: Rights) -> Bool { rawValue & right.rawValue == right.rawValue }
}
