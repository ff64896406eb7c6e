import Glibc

@testable import PagingHost

/// A file of the repository, found from where this source lies.
func repositoryFile(_ path: String) -> String {
  var components = #filePath.split(separator: "/", omittingEmptySubsequences: false)
  components.removeLast(3)
  return (components + path.split(separator: "/")).joined(separator: "/")
}

/// A file that lives as long as this object.
final class TemporaryFile {
  let path: String

  init(_ bytes: some Sequence<UInt8>) {
    var template = Array("/tmp/paging-test-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    precondition(descriptor >= 0)
    path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    let content = Array(bytes)
    precondition(write(descriptor, content, content.count) == content.count)
    close(descriptor)
  }

  convenience init(_ text: String) { self.init(text.utf8) }

  deinit { unlink(path) }
}

/// Lends a file with this content for the length of the call.
func withFile<Result>(_ bytes: some Sequence<UInt8>, _ body: (String) throws -> Result) rethrows -> Result {
  let file = TemporaryFile(bytes)
  return try withExtendedLifetime(file) { try body(file.path) }
}

func withFile<Result>(_ text: String, _ body: (String) throws -> Result) rethrows -> Result {
  try withFile(text.utf8, body)
}

/// The whole content behind a path.
func content(of path: String, chunk: Int = 64 << 10) throws -> [UInt8] {
  let source = try ByteSource(path: path)
  var result: [UInt8] = []
  let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk, alignment: 16)
  defer { buffer.deallocate() }
  while true {
    let count = try source.read(into: buffer)
    if count == 0 { return result }
    result += buffer[..<count]
  }
}

/// The bytes of a file as they are stored.
func storedBytes(of path: String) -> [UInt8] {
  let descriptor = open(path, O_RDONLY)
  defer { close(descriptor) }
  var result: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 64 << 10)
  while case let count = read(descriptor, &buffer, buffer.count), count > 0 { result += buffer[..<count] }
  return result
}
