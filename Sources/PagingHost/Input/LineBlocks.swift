import Glibc

/// Cuts a source into blocks of whole lines.
///
/// The last byte of a block is always a line feed, so a parser that stops at one needs no other bound. A last line
/// without line feed gets one.
final class LineBlocks {
  /// Longest line accepted, in bytes.
  static let longestLine = 16 << 20
  /// Bytes behind a block that may be read, but mean nothing.
  static let slack = 16

  let source: ByteSource
  private var buffer: UnsafeMutableRawBufferPointer
  /// Bytes of the last block, then of the incomplete line behind it.
  private var blockCount = 0
  private var byteCount = 0
  private var isAtEnd = false

  init(_ source: ByteSource) {
    self.source = source
    buffer = .allocate(byteCount: 256 << 10, alignment: 16)
  }

  deinit { buffer.deallocate() }

  /// The next lines, valid until the next call; nil at the end. `line`: number of the first, for errors.
  func next(line: UInt64) throws(InputError) -> UnsafeRawBufferPointer? {
    keepIncompleteLine()
    while !isAtEnd {
      if byteCount + Self.slack >= buffer.count { try grow(line: line) }
      let free = UnsafeMutableRawBufferPointer(rebasing: buffer[byteCount..<buffer.count - Self.slack])
      let count = try source.read(into: free)
      if count == 0 {
        isAtEnd = true
        return lastLine()
      }
      let start = byteCount
      byteCount += count
      if let lineFeed = buffer[start..<byteCount].lastIndex(of: 0x0a) {
        blockCount = lineFeed + 1
        return UnsafeRawBufferPointer(rebasing: buffer[..<blockCount])
      }
    }
    return nil
  }

  private func keepIncompleteLine() {
    byteCount -= blockCount
    if blockCount > 0 { memmove(buffer.baseAddress!, buffer.baseAddress! + blockCount, byteCount) }
    blockCount = 0
  }

  private func lastLine() -> UnsafeRawBufferPointer? {
    guard byteCount > 0 else { return nil }
    buffer[byteCount] = 0x0a
    byteCount += 1
    blockCount = byteCount
    return UnsafeRawBufferPointer(rebasing: buffer[..<blockCount])
  }

  private func grow(line: UInt64) throws(InputError) {
    guard buffer.count < Self.longestLine else {
      throw InputError(
        file: source.name, place: .line(line), expected: "a line of at most \(Self.longestLine) bytes",
        found: "a longer one that begins with " + quoted(UnsafeRawBufferPointer(buffer)))
    }
    let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: buffer.count * 2, alignment: 16)
    memcpy(larger.baseAddress!, buffer.baseAddress!, byteCount)
    buffer.deallocate()
    buffer = larger
  }
}
