// Synthetic programs in a word: `random:pages=1000,count=1e6,seed=1`.

struct GeneratorText: Sendable, Equatable {
  enum Shape: String, CaseIterable, Sendable {
    case random, sequential, chase
  }

  let shape: Shape
  /// Accesses in all.
  let count: UInt64
  /// The first address.
  let start: UInt64
  let seed: UInt64
  /// `random`: pages of 4 KiB; `chase`: nodes.
  let pages: UInt64
  /// `sequential`: bytes that are run through, and from one access to the next.
  let bytes: UInt64
  let stride: UInt64
  /// `random`: writes in percent.
  let writes: UInt64

  static let names = Shape.allCases.map(\.rawValue)
  /// Of each shape, with what holds if nothing is said.
  static let parameters: [Shape: [(name: String, preset: UInt64, range: ClosedRange<UInt64>)]] = [
    .random: [common.count, common.start, common.seed, ("pages", 1024, 1...1 << 36), ("writes", 25, 0...100)],
    .sequential: [common.count, common.start, ("bytes", 64 << 20, 1...1 << 48), ("stride", 64, 1...1 << 40)],
    .chase: [common.count, common.start, common.seed, ("pages", 1024, 1...1 << 26)],
  ]
  private static let common = (
    count: (name: "count", preset: UInt64(1_000_000), range: UInt64(1)...UInt64(1) << 48),
    start: (name: "start", preset: UInt64(0x1000_0000), range: UInt64(0)...UInt64(1) << 63),
    seed: (name: "seed", preset: UInt64(1), range: UInt64(0)...UInt64.max)
  )

  /// Nil if the text does not begin with the name of a shape and a colon, or is nothing but such a name.
  init?(_ text: String) throws(SettingError) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard let shape = Shape(rawValue: String(parts[0])), parts.count == 2 || !DataFolder.exists(text) else { return nil }
    let parameters = Self.parameters[shape]!
    var values: [String: UInt64] = [:]
    for word in (parts.count == 2 ? parts[1] : "").split(separator: ",") {
      let setting = try Setting(assignment: String(word), origin: text)
      guard let parameter = parameters.first(where: { $0.name == setting.name }) else {
        throw SettingError(
          origin: text, expected: "one of \(parameters.map(\.name).joined(separator: ", "))", found: "“\(setting.name)”")
      }
      guard let value = CountText.value(setting.value) ?? SizeText.bytes(setting.value), parameter.range.contains(value) else {
        throw SettingError(
          origin: "\(text): \(setting.name)", expected: "\(parameter.range.lowerBound) to \(parameter.range.upperBound)",
          found: "“\(setting.value)”")
      }
      values[setting.name] = value
    }
    func value(_ name: String) -> UInt64 { values[name] ?? parameters.first { $0.name == name }?.preset ?? 0 }
    self.shape = shape
    (count, start, seed, pages) = (value("count"), value("start"), value("seed"), value("pages"))
    (bytes, stride, writes) = (value("bytes"), value("stride"), value("writes"))
    guard shape != .sequential || bytes >= stride else {
      throw SettingError(origin: text, expected: "bytes of at least the stride, \(stride)", found: "\(bytes)")
    }
  }
}
