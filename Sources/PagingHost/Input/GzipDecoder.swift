import CZlib

/// gzip, with any number of members one after the other.
final class GzipDecoder: ByteDecoder {
  private let stream: UnsafeMutablePointer<z_stream>
  private(set) var isComplete = false

  init() throws(DecodeProblem) {
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    // 15: the largest window. 16 more: a gzip header is required.
    let status = inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    guard status == Z_OK else {
      stream.deallocate()
      throw DecodeProblem(expected: "zlib to start", found: "zlib status \(status)")
    }
  }

  deinit {
    inflateEnd(stream)
    stream.deallocate()
  }

  func decode(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, isLast: Bool
  ) throws(DecodeProblem) -> (consumed: Int, produced: Int) {
    if isComplete, let first = input.first {
      // Tape blocks are padded with zeros behind the last member.
      if first == 0 { return (input.prefix { $0 == 0 }.count, 0) }
      guard first == 0x1f else {
        throw DecodeProblem(expected: "another gzip member or the end of the file", found: quoted(input))
      }
      inflateReset(stream)
      isComplete = false
    }
    stream.pointee.next_in = UnsafeMutablePointer(mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
    stream.pointee.avail_in = UInt32(input.count)
    stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_out = UInt32(output.count)
    let status = isComplete ? Z_BUF_ERROR : inflate(stream, Z_NO_FLUSH)
    switch status {
    case Z_STREAM_END: isComplete = true
    case Z_OK, Z_BUF_ERROR: break
    default:
      let reason = stream.pointee.msg.map { String(cString: $0) } ?? "zlib status \(status)"
      throw DecodeProblem(expected: "intact gzip data", found: reason)
    }
    return (input.count - Int(stream.pointee.avail_in), output.count - Int(stream.pointee.avail_out))
  }
}
