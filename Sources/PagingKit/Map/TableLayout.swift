// The shape of a format's tables, taken from its description.
import CPagingKit

/// Levels, widths and sizes of the tables of one format. Level 0 is the last table.
public struct TableLayout: Sendable {
  public struct Level: Sendable {
    public let indexBits: Int
    /// log2 of the bytes that one entry covers.
    public let shift: Int
    public let mayHoldLeaf: Bool
  }

  /// Index into the architecture's formats.
  public let format: Int
  public let name: String
  public let entryByteCount: Int
  public let inputBits: Int
  public let outputBits: Int
  public let isSignExtended: Bool
  public let rootAlignment: UInt64
  public let levels: [Level]

  public init(_ architecture: Architecture, format: Int) {
    let source = architecture.formats[format]
    self.format = format
    name = String(cString: source.name)
    entryByteCount = Int(source.entry_bytes)
    inputBits = Int(source.input_bits)
    outputBits = Int(source.output_bits)
    isSignExtended = source.sign_extended != 0
    rootAlignment = 1 << UInt64(source.root_alignment_shift)
    levels = UnsafeBufferPointer(start: source.levels, count: source.level_count).map {
      Level(indexBits: Int($0.index_bits), shift: Int($0.shift), mayHoldLeaf: $0.leaf != 0)
    }
  }

  public var topLevel: Int { levels.count - 1 }

  /// log2 of the page sizes that the format knows, smallest first.
  public var pageShifts: [Int] { levels.filter(\.mayHoldLeaf).map(\.shift) }

  public func level(ofPageShift shift: Int) -> Int? { levels.firstIndex { $0.mayHoldLeaf && $0.shift == shift } }

  public func entryCount(at level: Int) -> Int { 1 << levels[level].indexBits }

  /// Bytes of a table as allocated: whole frames of 4 KiB, so that nothing else shares the frame of a short root.
  public func tableByteCount(at level: Int) -> UInt64 {
    max(4096, UInt64(entryCount(at: level) * entryByteCount))
  }

  public func tableAlignment(at level: Int) -> UInt64 {
    max(tableByteCount(at: level), level == topLevel ? rootAlignment : 0)
  }

  /// Whether the tables below the root are made with the root.
  ///
  /// A root of a few entries may be loaded into registers when its space is entered and not be read again until the next
  /// switch; its entries must therefore never change.
  public var hasFixedRoot: Bool { levels.count > 1 && levels[topLevel].indexBits <= 2 }

  func index(of input: UInt64, at level: Int) -> Int {
    Int(truncatingIfNeeded: input >> UInt64(levels[level].shift)) & (entryCount(at: level) - 1)
  }

  /// The bits of an input address that select entries and bytes; the others are copies of the sign, or zero.
  func significant(_ input: UInt64) -> UInt64 { inputBits == 64 ? input : input & ((1 << UInt64(inputBits)) - 1) }

  /// The canonical address with these significant bits.
  func canonical(_ significant: UInt64) -> UInt64 {
    guard isSignExtended else { return significant }
    let unused = UInt64(64 - inputBits)
    return UInt64(bitPattern: Int64(bitPattern: significant << unused) >> Int64(unused))
  }

  /// Whether the bits above the input width are as the format wants them.
  public func isCanonical(_ input: UInt64) -> Bool { canonical(significant(input)) == input }

  /// Addresses that programs use: all of them, or those of the lower half where the upper bits repeat the sign.
  public var programRange: PageRange<Virtual> {
    let bits = UInt64(isSignExtended ? inputBits - 1 : inputBits)
    return PageRange(from: Address(0), through: Address(bits == 64 ? .max : (1 << bits) - 1))
  }
}
