/// What is wrong with compressed bytes; the source adds the file and the position.
struct DecodeProblem: Error {
  let expected: String
  let found: String
}

/// Turns stored bytes into content, a piece at a time.
protocol ByteDecoder: AnyObject {
  /// True where the input may end: between members, frames or streams.
  var isComplete: Bool { get }

  /// Reads from `input` and writes to `output` as much as either allows. `isLast`: nothing follows `input`.
  func decode(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, isLast: Bool
  ) throws(DecodeProblem) -> (consumed: Int, produced: Int)
}

/// The decoder that the first bytes of a file ask for.
func decoder(forMagic head: UnsafeRawBufferPointer) throws(DecodeProblem) -> any ByteDecoder {
  if head.starts(with: [0x1f, 0x8b]) { return try GzipDecoder() }
  if head.starts(with: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]) { return try XZDecoder() }
  if head.starts(with: [0x28, 0xb5, 0x2f, 0xfd]) { return try ZstdDecoder() }
  // A zstd file may begin with a skippable frame.
  if head.count >= 4, head[0] & 0xf0 == 0x50, head[1...].starts(with: [0x2a, 0x4d, 0x18]) { return try ZstdDecoder() }
  return PlainDecoder()
}

final class PlainDecoder: ByteDecoder {
  let isComplete = true

  func decode(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, isLast: Bool
  ) throws(DecodeProblem) -> (consumed: Int, produced: Int) {
    let count = min(input.count, output.count)
    output.copyMemory(from: UnsafeRawBufferPointer(rebasing: input[..<count]))
    return (count, count)
  }
}
