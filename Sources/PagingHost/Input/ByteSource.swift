import Glibc

/// The content of a file or of standard input, decompressed as it is read.
///
/// The first bytes decide the format (plain, gzip, xz, zstd), never the name. Memory does not grow with the file.
public final class ByteSource {
  /// What error messages call it.
  public let name: String

  private static let chunk = 256 << 10
  private let descriptor: Int32
  private let stored = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk, alignment: 16)
  private var decoder: any ByteDecoder = PlainDecoder()
  private var waiting = 0..<0
  private var isAtEnd = false
  /// Position of `waiting.lowerBound` in the file as it is stored.
  private var position: UInt64 = 0

  /// Opens a file; "-" is standard input.
  public init(path: String) throws(InputError) {
    name = path == "-" ? "standard input" : path
    descriptor = path == "-" ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw InputError(file: name, place: .file, expected: "a file that can be read", found: Self.systemError())
    }
    while waiting.count < 6, !isAtEnd { try fetch() }
    do {
      decoder = try PagingHost.decoder(forMagic: UnsafeRawBufferPointer(rebasing: stored[waiting]))
    } catch { throw located(error) }
  }

  deinit {
    if descriptor > STDIN_FILENO { close(descriptor) }
    stored.deallocate()
  }

  /// Delivers the next bytes of the content; returns how many, 0 only at the end.
  public func read(into output: UnsafeMutableRawBufferPointer) throws(InputError) -> Int {
    precondition(!output.isEmpty)
    while true {
      if waiting.isEmpty, !isAtEnd { try fetch() }
      let step: (consumed: Int, produced: Int)
      do {
        step = try decoder.decode(UnsafeRawBufferPointer(rebasing: stored[waiting]), into: output, isLast: isAtEnd)
      } catch { throw located(error) }
      waiting = waiting.lowerBound + step.consumed..<waiting.upperBound
      position += UInt64(step.consumed)
      if step.produced > 0 { return step.produced }
      if step.consumed == 0, isAtEnd {
        if decoder.isComplete { return 0 }
        throw located(DecodeProblem(expected: "more compressed data", found: "the end of the file"))
      }
    }
  }

  /// Reads once behind what waits; what waits begins at the start of the buffer or is empty.
  private func fetch() throws(InputError) {
    if waiting.isEmpty { waiting = 0..<0 }
    while true {
      let count = Glibc.read(descriptor, stored.baseAddress! + waiting.upperBound, stored.count - waiting.upperBound)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else {
        throw InputError(
          file: name, place: .byte(position + UInt64(waiting.count)), expected: "bytes to read",
          found: Self.systemError())
      }
      waiting = waiting.lowerBound..<waiting.upperBound + count
      isAtEnd = count == 0
      return
    }
  }

  private func located(_ problem: DecodeProblem) -> InputError {
    InputError(file: name, place: .byte(position), expected: problem.expected, found: problem.found)
  }

  private static func systemError() -> String { String(cString: strerror(errno)) }
}
