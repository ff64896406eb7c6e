// Formats and regimes: levels that follow from each other, layouts whose fields tile the entry.
import CPagingKit

extension LentMemory {
  mutating func checkFormats(_ description: pgk_description_v1) {
    guard let formats = list(description.formats, count: description.format_count, "formats", atMost: Int(PGK_NO_FORMAT))
    else { return }
    defer { checkRegimes(description, formats) }
    var names: [String] = []
    for (index, format) in formats.enumerated() {
      let name = word(format.name, "format \(index)") ?? "\(index)"
      names.append(name)
      checkFormat(format, "format “\(name)”")
    }
    unique(names, "formats")
  }

  private mutating func checkFormat(_ format: pgk_format_v1, _ item: String) {
    _ = text(format.title, "\(item), title")
    _ = text(format.reference, "\(item), reference")
    require(
      [1, 2, 4, 8].contains(format.entry_bytes), "\(item), entry_bytes", expected: "1, 2, 4 or 8",
      found: "\(format.entry_bytes)")
    require([1, 2].contains(format.stage), "\(item), stage", expected: "1 or 2", found: "\(format.stage)")
    require((1...64).contains(format.input_bits), "\(item), input_bits", expected: "1 to 64", found: "\(format.input_bits)")
    require((1...64).contains(format.output_bits), "\(item), output_bits", expected: "1 to 64", found: "\(format.output_bits)")
    require(format.sign_extended <= 1, "\(item), sign_extended", expected: "0 or 1", found: "\(format.sign_extended)")
    require(
      format.root_alignment_shift < 64, "\(item), root_alignment_shift", expected: "below 64",
      found: "\(format.root_alignment_shift)")
    require(format.attributes < 512, "\(item), attributes", expected: "PGK_ATTRIBUTE_ bits", found: hex(UInt64(format.attributes)))
    guard let levels = list(format.levels, count: format.level_count, "\(item), levels", atLeast: 1, atMost: 32) else { return }
    checkLevels(levels, format, item)
    guard let layouts = list(format.layouts, count: format.layout_count, "\(item), layouts", atLeast: 1) else { return }
    checkLayouts(layouts, levels, format, item)
  }

  /// Each level begins where the one below ends, and the root ends at the width of the input.
  private mutating func checkLevels(
    _ levels: UnsafeBufferPointer<pgk_level_v1>, _ format: pgk_format_v1, _ item: String
  ) {
    for (index, level) in levels.enumerated() {
      let levelItem = "\(item), level \(index)"
      _ = text(level.name, "\(levelItem), name")
      require(level.index_bits > 0, "\(levelItem), index_bits", expected: "at least 1", found: "0")
      require(level.leaf <= 1, "\(levelItem), leaf", expected: "0 or 1", found: "\(level.leaf)")
      let end = Int(level.shift) + Int(level.index_bits)
      if index + 1 < levels.count {
        let next = levels[index + 1].shift
        require(
          Int(next) == end, "\(item), level \(index + 1), shift",
          expected: "\(end), the shift and index bits of level \(index)", found: "\(next)")
      } else {
        require(
          end == Int(format.input_bits), "\(item), input_bits", expected: "\(end), the end of its root level",
          found: "\(format.input_bits)")
      }
    }
    require(levels[0].leaf == 1, "\(item), level 0, leaf", expected: "1: the last table maps pages", found: "0")
  }

  private mutating func checkLayouts(
    _ layouts: UnsafeBufferPointer<pgk_entry_layout_v1>, _ levels: UnsafeBufferPointer<pgk_level_v1>,
    _ format: pgk_format_v1, _ item: String
  ) {
    var names: [String] = []
    var covered: [UInt32: UInt32] = [:]
    for (index, layout) in layouts.enumerated() {
      let name = text(layout.name, "\(item), layout \(index)") ?? "\(index)"
      names.append(name)
      checkLayout(layout, levels, format, "\(item), layout “\(name)”")
      covered[layout.kind, default: 0] |= layout.level_mask
    }
    unique(names, "\(item), layouts")
    for (index, level) in levels.enumerated() {
      let bit = UInt32(1) << index
      require(
        level.leaf != 1 || covered[PGK_ENTRY_LEAF, default: 0] & bit != 0, "\(item), level \(index)",
        expected: "a layout of a leaf, as leaf is 1", found: "none")
      require(
        index == 0 || covered[PGK_ENTRY_TABLE, default: 0] & bit != 0, "\(item), level \(index)",
        expected: "a layout of an entry that points to a table", found: "none")
    }
  }

  private mutating func checkLayout(
    _ layout: pgk_entry_layout_v1, _ levels: UnsafeBufferPointer<pgk_level_v1>, _ format: pgk_format_v1, _ item: String
  ) {
    guard layout.kind == PGK_ENTRY_TABLE || layout.kind == PGK_ENTRY_LEAF else {
      return report("\(item), kind", expected: "table (1) or leaf (2)", found: "\(layout.kind)")
    }
    let allowed = levels.indices.reduce(into: UInt32(0)) { mask, index in
      let mayOccur = layout.kind == PGK_ENTRY_LEAF ? levels[index].leaf == 1 : index > 0
      if mayOccur { mask |= 1 << index }
    }
    require(
      layout.level_mask != 0 && layout.level_mask & ~allowed == 0, "\(item), level_mask",
      expected: "some of \(hex(UInt64(allowed))), the levels that can hold it", found: hex(UInt64(layout.level_mask)))
    checkTiling(layout, bitCount: Int(format.entry_bytes) * 8, item)
  }

  private mutating func checkTiling(_ layout: pgk_entry_layout_v1, bitCount: Int, _ item: String) {
    guard let fields = list(layout.fields, count: layout.field_count, "\(item), fields", atLeast: 1, atMost: 64) else { return }
    var owner: [Int: String] = [:]
    for (index, field) in fields.enumerated() {
      let name = text(field.name, "\(item), field \(index)") ?? "\(index)"
      guard field.low <= field.high, Int(field.high) < bitCount else {
        report("\(item), field “\(name)”", expected: "bits within \(bitCount - 1) to 0", found: "\(field.high) to \(field.low)")
        continue
      }
      for bit in Int(field.low)...Int(field.high) {
        if let other = owner.updateValue(name, forKey: bit) {
          report("\(item), bit \(bit)", expected: "one field", found: "“\(other)” and “\(name)”")
          break
        }
      }
    }
    if let gap = (0..<bitCount).first(where: { owner[$0] == nil }) {
      report("\(item), bit \(gap)", expected: "a field", found: "none")
    }
  }

  private mutating func checkRegimes(_ description: pgk_description_v1, _ formats: UnsafeBufferPointer<pgk_format_v1>) {
    guard let regimes = list(description.regimes, count: description.regime_count, "regimes", atLeast: 1) else { return }
    var names: [String] = []
    for (index, regime) in regimes.enumerated() {
      let name = word(regime.name, "regime \(index)") ?? "\(index)"
      names.append(name)
      _ = text(regime.help, "regime “\(name)”, help", mayBeEmpty: true)
      checkStage(1, regime.first_format, formats, "regime “\(name)”, first_format")
      checkStage(2, regime.second_format, formats, "regime “\(name)”, second_format")
      for (which, privilege) in [("user", regime.user), ("supervisor", regime.supervisor)] {
        require(
          Int(privilege) < description.privilege_count, "regime “\(name)”, \(which)",
          expected: "an index below \(description.privilege_count)", found: "\(privilege)")
      }
    }
    unique(names, "regimes")
  }

  private mutating func checkStage(
    _ stage: UInt8, _ format: UInt8, _ formats: UnsafeBufferPointer<pgk_format_v1>, _ item: String
  ) {
    guard UInt32(format) != PGK_NO_FORMAT else { return }
    guard Int(format) < formats.count else {
      return report(item, expected: "an index below \(formats.count), or \(PGK_NO_FORMAT) for none", found: "\(format)")
    }
    let found = formats[Int(format)].stage
    require(found == stage, item, expected: "a format of stage \(stage)", found: "one of stage \(found)")
  }
}
