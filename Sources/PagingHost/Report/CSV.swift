// Reports as comma-separated values, by RFC 4180 with lines that end as Unix lines do.

/// Rows under one header.
public struct CSV: Sendable {
  public let header: [String]
  public private(set) var rows: [[String]] = []

  public init(header: [String]) { self.header = header }

  /// One row for each object; the columns are all keys in the order they first occur.
  public init(_ objects: [JSONObject]) {
    var header: [String] = []
    var seen: Set<String> = []
    for key in objects.flatMap(\.keys) where seen.insert(key).inserted { header.append(key) }
    self.init(header: header)
    for object in objects { rows.append(header.map { Self.cell(object[$0]) }) }
  }

  /// Missing cells at the end are empty.
  public mutating func add(_ row: [String]) {
    precondition(row.count <= header.count, "\(row.count) cells under \(header.count) columns")
    rows.append(row + [String](repeating: "", count: header.count - row.count))
  }

  public var text: String {
    ([header] + rows).map { $0.map(Self.escaped).joined(separator: ",") + "\n" }.joined()
  }

  private static func cell(_ value: JSON?) -> String {
    switch value {
    case nil, .null?: ""
    case .text(let text)?: text
    case .number(let number)? where !number.isFinite: ""
    case let value?: value.compact
    }
  }

  static func escaped(_ cell: String) -> String {
    let isPlain = cell.utf8.allSatisfy { ![UInt8(ascii: ","), UInt8(ascii: "\""), 10, 13].contains($0) }
    if isPlain { return cell }
    return "\"" + cell.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
  }
}
