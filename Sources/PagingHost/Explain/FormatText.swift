// A format as its manual prints it: levels, and a table of fields for each kind of entry.
import CPagingKit
import PagingKit

struct FormatText {
  let format: pgk_format_v1

  /// Lines for a terminal, indented by two blanks.
  var text: String {
    var lines = ["  \(name): \(string(format.title)), \(stage)", "    source    \(string(format.reference))"]
    lines += facts.map { "    \($0.name)\(String(repeating: " ", count: 10 - $0.name.count))\($0.value)" }
    var text = lines.joined(separator: "\n") + "\n\n"
    text += indented(levels.text, by: 4)
    for layout in format.layoutList { text += "\n" + self.text(of: layout) }
    return text
  }

  private var name: String { string(format.name) }
  private var stage: String { format.stage == 2 ? "second stage" : "first stage" }

  private var facts: [(name: String, value: String)] {
    let upper = format.sign_extended != 0 ? "bits above repeat the top one" : "bits above are zero"
    return [
      ("input", "\(format.input_bits) bits, \(format.input_bits < 64 ? upper : "all of them")"),
      ("output", "at most \(format.output_bits) bits"),
      ("entries", "\(format.entry_bytes) bytes"),
      ("root", "aligned to \(SizeText.text(shift: Int(format.root_alignment_shift)))"),
      ("leaves", DescriptionNames.names(DescriptionNames.attributes, mask: format.attributes).joined(separator: ", ")),
    ]
  }

  /// Root first, as a walk goes.
  private var levels: TextTable {
    var table = TextTable("level", "entry", "index", "entries", "covers", "maps a page")
    for (index, level) in format.levelList.enumerated().reversed() {
      let top = Int(level.shift) + Int(level.index_bits) - 1
      table.add(
        "\(index)", string(level.name), level.index_bits == 0 ? "-" : "\(top):\(level.shift)",
        "\(UInt64(1) << UInt64(level.index_bits))", SizeText.text(shift: Int(level.shift)), level.leaf != 0 ? "yes" : "no")
    }
    return table
  }

  private func text(of layout: pgk_entry_layout_v1) -> String {
    let levels = format.levelList.indices.reversed().filter(layout.occurs)
    var names = levels.map(format.entryName)
    if Set(names).count < names.count { names = ["levels " + levels.map { "\($0)" }.joined(separator: ", ")] }
    let kind = layout.kind == PGK_ENTRY_LEAF ? "maps a page" : "points to a table"
    var table = TextTable([.init("bits", .right), .init("field")])
    for field in layout.fieldList { table.add(field.bits, string(field.name)) }
    return "    \(string(layout.name)): \(kind) (\(names.joined(separator: ", ")))\n" + indented(table.text, by: 6)
  }
}

/// Every line moved to the right.
func indented(_ text: String, by count: Int) -> String {
  let blanks = String(repeating: " ", count: count)
  return text.split(separator: "\n", omittingEmptySubsequences: false).map { $0.isEmpty ? "" : blanks + $0 }.joined(separator: "\n")
}
