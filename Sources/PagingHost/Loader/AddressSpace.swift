// Which addresses of this process may be read or called: a lying pointer or count becomes a finding, not a crash.
import Glibc

/// The mapped ranges of this process at one moment.
struct AddressSpace {
  private var readable: [Range<UInt>] = []
  private var executable: [Range<UInt>] = []
  /// Without /proc nothing is known, and every address but null is believed.
  private var isKnown = false

  static func current() -> AddressSpace {
    var space = AddressSpace()
    guard let text = wholeText(of: "/proc/self/maps") else { return space }
    for line in text.split(separator: "\n") { space.add(line) }
    space.isKnown = true
    return space
  }

  /// `start-end rwxp ...`, in hexadecimal and ascending.
  private mutating func add(_ line: Substring) {
    let parts = line.split(separator: " ", maxSplits: 2)
    guard parts.count >= 2 else { return }
    let bounds = parts[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
    guard bounds.count == 2, bounds[0] < bounds[1] else { return }
    if parts[1].contains("r") { Self.append(bounds[0]..<bounds[1], to: &readable) }
    if parts[1].contains("x") { Self.append(bounds[0]..<bounds[1], to: &executable) }
  }

  private static func append(_ range: Range<UInt>, to ranges: inout [Range<UInt>]) {
    if let last = ranges.last, last.upperBound == range.lowerBound {
      ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
    } else {
      ranges.append(range)
    }
  }

  private func end(of address: UInt, in ranges: [Range<UInt>]) -> UInt? {
    guard isKnown else { return address == 0 ? nil : UInt.max }
    return ranges.first { $0.contains(address) }?.upperBound
  }

  func isExecutable(_ pointer: UnsafeRawPointer) -> Bool { end(of: UInt(bitPattern: pointer), in: executable) != nil }

  /// How many bytes may be read from here.
  func readableBytes(from pointer: UnsafeRawPointer) -> UInt {
    let address = UInt(bitPattern: pointer)
    return end(of: address, in: readable).map { $0 - address } ?? 0
  }
}

/// The text of a small file of unknown length, nil if it cannot be read.
func wholeText(of path: String) -> String? {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let count = read(descriptor, &chunk, chunk.count)
    if count < 0 && errno == EINTR { continue }
    if count < 0 { return nil }
    if count == 0 { return String(decoding: bytes, as: UTF8.self) }
    bytes.append(contentsOf: chunk[..<count])
  }
}
