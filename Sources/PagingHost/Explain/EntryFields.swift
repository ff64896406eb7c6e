// What the bits of an entry mean, by the manual's table for this kind of entry.
import CPagingKit
import PagingKit

struct EntryFields {
  struct Value {
    let name: String
    let high: UInt8
    let low: UInt8
    let value: UInt64
  }

  /// The manual's name of the table that was used, or what is wrong with an entry that fits none.
  let layout: String
  /// High bit first.
  let values: [Value]

  /// Nil if the format has no table for entries of this level.
  init?(_ entry: UInt64, format index: Int, level: Int, on unit: Unit) {
    guard unit.architecture.formats.indices.contains(index) else { return nil }
    let format = unit.architecture.formats[index]
    guard let (layout, name) = Self.layout(of: entry, format, index, level, unit) else { return nil }
    self.layout = name
    values = layout.fieldList.map {
      Value(name: string($0.name), high: $0.high, low: $0.low, value: $0.value(in: entry))
    }
  }

  /// The table whose kind the entry has. A refused entry has the kind that it would have without its reserved bits.
  private static func layout(
    of entry: UInt64, _ format: pgk_format_v1, _ index: Int, _ level: Int, _ unit: Unit
  ) -> (layout: pgk_entry_layout_v1, name: String)? {
    let candidates = format.layoutList.filter { $0.occurs(at: level) }
    func kind(_ entry: UInt64) -> UInt32 { (try? unit.decode(format: index, level: level, entry)).map { UInt32($0.kind) } ?? PGK_ENTRY_INVALID }
    let own = kind(entry)
    if let found = candidates.first(where: { own == $0.kind }) ?? candidates.first(where: { kind(entry & ~reserved(in: $0)) == $0.kind }) {
      return (found, string(found.name))
    }
    let usual = candidates.first { $0.kind == (level == 0 ? PGK_ENTRY_LEAF : PGK_ENTRY_TABLE) } ?? candidates.first
    guard let usual else { return nil }
    if own == PGK_ENTRY_ABSENT { return (usual, "absent entry") }
    // Where the manual has one table for all kinds, the kind is not to be guessed.
    let isOneTable = candidates.allSatisfy { names(of: $0) == names(of: usual) }
    return (usual, isOneTable ? "refused entry" : string(usual.name))
  }

  private static func names(of layout: pgk_entry_layout_v1) -> [String] { layout.fieldList.map { string($0.name) } }

  private static func reserved(in layout: pgk_entry_layout_v1) -> UInt64 {
    layout.fieldList.filter { string($0.name).lowercased().hasPrefix("reserved") }.reduce(0) { mask, field in
      let width = UInt64(field.high) - UInt64(field.low) + 1
      return mask | (width == 64 ? .max : (1 << width) - 1) << UInt64(field.low)
    }
  }

  /// Fields of the same table whose value is another.
  func changes(from old: EntryFields) -> [(name: String, old: UInt64, new: UInt64)] {
    guard old.layout == layout else { return [] }
    return zip(old.values, values).filter { $0.value != $1.value }.map { ($1.name, $0.value, $1.value) }
  }

  /// `XD=0 Address=0x101 A=1`, in lines of at most `width` characters.
  func lines(width: Int) -> [String] {
    var lines: [String] = []
    for value in values {
      let word = "\(value.name)=\(value.high == value.low ? "\(value.value)" : hex(value.value))"
      if let last = lines.last, last.count + 2 + word.count <= width {
        lines[lines.count - 1] = "\(last)  \(word)"
      } else {
        lines.append(word)
      }
    }
    return lines
  }

  var json: JSON {
    .array(
      values.map {
        ["name": .text($0.name), "high": JSON($0.high), "low": JSON($0.low), "value": .text(hex($0.value))]
      })
  }
}
