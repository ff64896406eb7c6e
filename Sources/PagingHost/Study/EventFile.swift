// A line for everything that happens in a run.
import Glibc

/// Collects lines and writes them in large pieces.
public final class EventFile {
  private let file: String
  private let descriptor: Int32
  private var waiting: [UInt8] = []
  private var problem: InputError?
  private static let pieceByteCount = 1 << 18

  /// Makes the file anew; "-" is standard output.
  public init(_ file: String) throws(InputError) {
    self.file = file
    descriptor = file == "-" ? STDOUT_FILENO : open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else {
      throw InputError(file: file, place: .file, expected: "a file that can be written", found: String(cString: strerror(errno)))
    }
    waiting.reserveCapacity(Self.pieceByteCount + 1024)
  }

  deinit { if descriptor > STDERR_FILENO { close(descriptor) } }

  func add(_ line: String) {
    waiting += line.utf8
    waiting.append(UInt8(ascii: "\n"))
    if waiting.count >= Self.pieceByteCount { flush() }
  }

  private func flush() {
    var done = 0
    while done < waiting.count, problem == nil {
      let count = waiting.withUnsafeBytes { write(descriptor, $0.baseAddress! + done, $0.count - done) }
      if count < 0 && errno == EINTR { continue }
      if count < 0 {
        problem = InputError(file: file, place: .file, expected: "room for events", found: String(cString: strerror(errno)))
      }
      done += max(0, count)
    }
    waiting.removeAll(keepingCapacity: true)
  }

  /// Writes what is left; throws if any of it could not be written.
  func finish() throws(InputError) {
    flush()
    if let problem { throw problem }
  }
}
