// Small reads of a file that may be anything.
import Glibc

/// An open file read by position; everything outside it is nil.
final class PositionedFile {
  let descriptor: Int32
  let byteCount: UInt64

  private init(descriptor: Int32, byteCount: UInt64) {
    self.descriptor = descriptor
    self.byteCount = byteCount
  }

  static func open(_ path: String) throws(FileRefusal) -> PositionedFile {
    var status = stat()
    guard stat(path, &status) == 0 else { throw FileRefusal(String(cString: strerror(errno))) }
    // Asked before opening: opening a named pipe would wait for its writer.
    guard status.st_mode & S_IFMT == S_IFREG else { throw FileRefusal("not a regular file") }
    let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileRefusal(String(cString: strerror(errno))) }
    return PositionedFile(descriptor: descriptor, byteCount: UInt64(status.st_size))
  }

  deinit { close(descriptor) }

  func bytes(at offset: UInt64, count: Int) -> [UInt8]? {
    guard offset <= byteCount, UInt64(count) <= byteCount - offset else { return nil }
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, read in
      read = max(0, pread(descriptor, buffer.baseAddress, count, off_t(offset)))
    }
    return bytes.count == count ? bytes : nil
  }

  /// The whole file as text without zero bytes.
  func text(atMost limit: UInt64) throws(FileRefusal) -> String {
    guard byteCount <= limit else { throw FileRefusal("\(byteCount) bytes, more than \(limit)") }
    guard let bytes = bytes(at: 0, count: Int(byteCount)) else { throw FileRefusal("a file that cannot be read") }
    guard !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self) else {
      throw FileRefusal("bytes that are not UTF-8 text")
    }
    return text
  }

  func record<Record: BitwiseCopyable>(_: Record.Type, at offset: UInt64) -> Record? {
    bytes(at: offset, count: MemoryLayout<Record>.size)?.withUnsafeBytes { $0.loadUnaligned(as: Record.self) }
  }
}

/// Why a file cannot be used, in words.
struct FileRefusal: Error {
  let reason: String
  init(_ reason: String) { self.reason = reason }
}
