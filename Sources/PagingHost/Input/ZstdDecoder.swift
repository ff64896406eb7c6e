import CZstd

/// zstd, with any number of frames one after the other. The library's own window limit bounds the memory.
final class ZstdDecoder: ByteDecoder {
  private let stream: OpaquePointer
  private(set) var isComplete = false

  init() throws(DecodeProblem) {
    guard let stream = ZSTD_createDStream() else {
      throw DecodeProblem(expected: "enough memory", found: "none left for libzstd")
    }
    self.stream = stream
  }

  deinit { ZSTD_freeDStream(stream) }

  func decode(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, isLast: Bool
  ) throws(DecodeProblem) -> (consumed: Int, produced: Int) {
    // Between frames a call without input would begin the next one.
    if isComplete, input.isEmpty { return (0, 0) }
    var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
    var target = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
    let status = ZSTD_decompressStream(stream, &target, &source)
    guard ZSTD_isError(status) == 0 else {
      throw DecodeProblem(expected: "intact zstd data", found: String(cString: ZSTD_getErrorName(status)))
    }
    isComplete = status == 0
    return (source.pos, target.pos)
  }
}
