// The C strings and lists of a description, for who prints them.
import CPagingKit
import PagingKit

/// A string of a description, which the loader has checked.
func string(_ pointer: UnsafePointer<CChar>?) -> String { pointer.map { String(cString: $0) } ?? "" }

extension pgk_format_v1 {
  var levelList: UnsafeBufferPointer<pgk_level_v1> { .init(start: levels, count: level_count) }
  var layoutList: UnsafeBufferPointer<pgk_entry_layout_v1> { .init(start: layouts, count: layout_count) }

  /// The manual's name of an entry at a level.
  func entryName(at level: Int) -> String { level < level_count ? string(levels[level].name) : "level \(level)" }
}

extension pgk_entry_layout_v1 {
  var fieldList: UnsafeBufferPointer<pgk_field_v1> { .init(start: fields, count: field_count) }

  func occurs(at level: Int) -> Bool { level < 32 && level_mask >> UInt32(level) & 1 != 0 }
}

extension pgk_field_v1 {
  /// `51:12`, or `7` for a single bit.
  var bits: String { high == low ? "\(low)" : "\(high):\(low)" }

  func value(in entry: UInt64) -> UInt64 {
    let width = UInt64(high) - UInt64(low) + 1
    return entry >> UInt64(low) & (width == 64 ? .max : (1 << width) - 1)
  }
}

enum DescriptionNames {
  static let accessKinds = ["read", "write", "modify", "load-locked", "store-conditional", "fetch", "special"]
  static let verdicts = ["leave", "replay", "complete", "replace", "drop", "reflect", "replay-ignoring-write-protection"]
  static let classes = [
    "collateral", "guest fault", "second stage", "shadow", "register read", "register write", "invalidation", "probe", "device",
  ]
  static let steps = ["table", "leaf", "refused", "cached", "updated", "tlb hit", "translated"]
  static let cacheKinds = ["TLB", "walk cache by address prefix", "walk cache by entry address"]

  static let attributes = [
    "read", "write", "execute", "user", "global", "accessed", "dirty", "memory type", "key",
  ]

  static func name(_ list: [String], _ index: some BinaryInteger) -> String {
    Int(index) < list.count ? list[Int(index)] : "\(index)"
  }

  /// Names of the bits of a mask.
  static func names(_ list: [String], mask: UInt32) -> [String] {
    list.indices.filter { mask >> UInt32($0) & 1 != 0 }.map { list[$0] }
  }

  /// `rwxu`, a dash for each right that is not there.
  static func rights(_ rights: UInt8) -> String {
    let letters: [Character] = ["r", "w", "x", "u"]
    return String(letters.indices.map { rights >> UInt8($0) & 1 != 0 ? letters[$0] : "-" })
  }
}

/// Sixteen digits, for addresses and entries that stand under each other.
func wideHex(_ value: UInt64) -> String {
  let digits = String(value, radix: 16)
  return "0x" + String(repeating: "0", count: 16 - digits.count) + digits
}
