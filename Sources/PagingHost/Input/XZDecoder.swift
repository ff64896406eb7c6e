import CLZMA

/// xz, with any number of streams one after the other.
final class XZDecoder: ByteDecoder {
  /// `xz -9` needs 65 MiB; a file that asks for more than this is refused, so that a small file cannot take all memory.
  static let memoryLimit: UInt64 = 512 << 20

  /// LZMA_CONCATENATED, a macro that Swift does not import.
  private static let concatenated: UInt32 = 0x08

  private let stream: UnsafeMutablePointer<lzma_stream>
  private(set) var isComplete = false

  init() throws(DecodeProblem) {
    stream = .allocate(capacity: 1)
    stream.initialize(to: lzma_stream())
    let status = lzma_stream_decoder(stream, Self.memoryLimit, Self.concatenated)
    guard status == LZMA_OK else {
      stream.deallocate()
      throw DecodeProblem(expected: "liblzma to start", found: "liblzma status \(status.rawValue)")
    }
  }

  deinit {
    lzma_end(stream)
    stream.deallocate()
  }

  func decode(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, isLast: Bool
  ) throws(DecodeProblem) -> (consumed: Int, produced: Int) {
    guard !isComplete else { return (0, 0) }
    stream.pointee.next_in = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_in = input.count
    stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_out = output.count
    switch lzma_code(stream, isLast ? LZMA_FINISH : LZMA_RUN) {
    case LZMA_STREAM_END: isComplete = true
    case LZMA_OK, LZMA_BUF_ERROR: break
    case LZMA_MEMLIMIT_ERROR:
      throw DecodeProblem(
        expected: "xz data that needs at most \(Self.memoryLimit >> 20) MiB to decompress",
        found: "\((lzma_memusage(stream) + 0xfffff) >> 20) MiB")
    case LZMA_MEM_ERROR: throw DecodeProblem(expected: "enough memory", found: "none left for liblzma")
    case LZMA_OPTIONS_ERROR: throw DecodeProblem(expected: "xz options that liblzma knows", found: "others")
    case LZMA_FORMAT_ERROR: throw DecodeProblem(expected: "an xz stream or the end of the file", found: quoted(input))
    case LZMA_DATA_ERROR: throw DecodeProblem(expected: "intact xz data", found: "damaged data")
    case let status: throw DecodeProblem(expected: "intact xz data", found: "liblzma status \(status.rawValue)")
    }
    return (input.count - stream.pointee.avail_in, output.count - stream.pointee.avail_out)
  }
}
