// One entry on the way from a root to a leaf, with the place it was read from.
import CPagingKit

/// A slot and what it holds. Mapping, protecting, dumping and translating share it.
public struct TableStep<Space>: Sendable {
  public enum Kind: Sendable { case absent, table, leaf, invalid }

  public let slot: Address<Space>
  public let bits: UInt64
  public let level: Int
  public let kind: Kind
  /// Next table or page.
  public let output: Address<Space>
  public let attributes: PageAttributes

  init(slot: Address<Space>, bits: UInt64, level: Int, decoded: pgk_entry_v1) {
    self.slot = slot
    self.bits = bits
    self.level = level
    kind =
      switch UInt32(decoded.kind) {
      case PGK_ENTRY_ABSENT: .absent
      case PGK_ENTRY_TABLE: .table
      case PGK_ENTRY_LEAF: .leaf
      default: .invalid
      }
    output = Address(decoded.output)
    attributes = PageAttributes(decoded)
  }
}

/// One mapped page.
public struct Mapping<Input, Output>: Sendable {
  public let input: Address<Input>
  public let output: Address<Output>
  public let pageShift: Int
  public let attributes: PageAttributes

  public var range: PageRange<Input> { PageRange(input, byteCount: 1 << UInt64(pageShift)) }

  /// Where an address of the page leads.
  public func output(of address: Address<Input>) -> Address<Output> {
    Address(output.bits | address.bits & ((1 << UInt64(pageShift)) - 1))
  }
}

extension Mapping: CustomStringConvertible {
  public var description: String { "\(range) -> \(output) \(attributes.flags)" }
}
