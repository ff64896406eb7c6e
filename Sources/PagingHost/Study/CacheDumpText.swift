// What TLBs and walk caches hold at the end of a run.
import CPagingKit
import PagingKit

struct CacheDumpText {
  private let caches: [(name: String, entries: [pgk_cached_v1])]

  init(_ row: StudyRow) { caches = row.caches }

  var text: String {
    caches.map { name, entries in
      entries.isEmpty ? "\(name): empty\n" : "\(name): \(entries.count) entr\(entries.count == 1 ? "y" : "ies")\n" + table(entries).text
    }.joined(separator: "\n")
  }

  private func table(_ entries: [pgk_cached_v1]) -> TextTable {
    var table = TextTable([
      .init("set", .right), .init("way", .right), .init("input", .right), .init("output", .right), .init("covers", .right),
      .init("rights"), .init("level", .right), .init("space", .right), .init("machine", .right), .init("flags", .left),
    ])
    for entry in entries {
      table.add(
        "\(entry.set)", "\(entry.way)", hex(entry.input), hex(entry.output), SizeText.text(shift: Int(entry.page_shift)),
        DescriptionNames.rights(entry.rights), "\(entry.level)", "\(entry.identifier)", "\(entry.machine_identifier)",
        DescriptionNames.names(["global", "negative", "dirty"], mask: UInt32(entry.flags)).joined(separator: " "))
    }
    return table
  }
}
