// Tables for a terminal: columns aligned by blanks, numbers to the right.

/// Rows of text under titles.
public struct TextTable: Sendable {
  public enum Alignment: Sendable { case left, right }

  public struct Column: Sendable {
    public let title: String
    /// Nil: to the right if every cell is a number.
    public let alignment: Alignment?

    public init(_ title: String, _ alignment: Alignment? = nil) {
      self.title = title
      self.alignment = alignment
    }
  }

  public let columns: [Column]
  public private(set) var rows: [[String]] = []

  public init(_ columns: [Column]) { self.columns = columns }
  public init(_ titles: String...) { self.init(titles.map { Column($0) }) }

  /// Missing cells at the end are empty.
  public mutating func add(_ cells: [String]) {
    precondition(cells.count <= columns.count, "\(cells.count) cells under \(columns.count) columns")
    let printable = cells.map(Self.printable)
    rows.append(printable + [String](repeating: "", count: columns.count - cells.count))
  }

  public mutating func add(_ cells: String...) { add(cells) }

  /// Lines without blanks at their end, each ended.
  public var text: String {
    let widths = columns.indices.map { index in
      rows.reduce(columns[index].title.count) { max($0, $1[index].count) }
    }
    let alignments = columns.indices.map(alignment)
    func line(_ cells: [String]) -> String {
      let padded = columns.indices.map { index in
        let fill = String(repeating: " ", count: widths[index] - cells[index].count)
        return alignments[index] == .left ? cells[index] + fill : fill + cells[index]
      }
      let joined = padded.joined(separator: "  ")
      let end = joined.lastIndex { $0 != " " }
      return (end.map { String(joined[...$0]) } ?? "") + "\n"
    }
    let rule = widths.map { String(repeating: "-", count: $0) }
    return ([columns.map(\.title), rule] + rows).map(line).joined()
  }

  private func alignment(of index: Int) -> Alignment {
    if let alignment = columns[index].alignment { return alignment }
    let filled = rows.map { $0[index] }.filter { !$0.isEmpty && $0 != "-" }
    return !filled.isEmpty && filled.allSatisfy(Self.isNumber) ? .right : .left
  }

  /// Digits with signs, separators and a unit directly behind them: 1,024 or 99.5% or -3 or 12.1x.
  private static func isNumber(_ cell: String) -> Bool {
    let digits = cell.drop { $0 == "-" || $0 == "+" }
    guard let first = digits.first, first.isASCII, first.isNumber else { return false }
    return digits.dropFirst().allSatisfy { $0.isASCII && ($0.isNumber || ".,%x".contains($0)) } && !digits.hasPrefix("0x")
  }

  /// A cell is one line, and names come from libraries: nothing in it may steer the terminal.
  private static func printable(_ cell: String) -> String {
    String(String.UnicodeScalarView(cell.unicodeScalars.map { $0.value < 32 || (127..<160).contains($0.value) ? " " : $0 }))
  }
}
