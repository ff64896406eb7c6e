// The built program, run as a user runs it.
import Foundation
import PagingHost

/// What came of one call of `paging`.
struct CommandLineRun {
  let status: Int32
  let output: String
  let errors: String

  /// Standard output as JSON.
  func json() throws -> [String: Any] {
    let value = try JSONSerialization.jsonObject(with: Data(output.utf8))
    guard let object = value as? [String: Any] else { throw ToolFailure(message: "no object: \(output.prefix(200))") }
    return object
  }

  var lastLine: String { output.split(separator: "\n").last.map(String.init) ?? "" }
}

/// The program lies beside the test binary, and the back ends with it.
func paging(_ arguments: String..., environment: [String: String] = [:], input: String? = nil) throws -> CommandLineRun {
  try paging(arguments, environment: environment, input: input)
}

/// With `outputFile`, standard output goes there instead.
func paging(
  _ arguments: [String], environment: [String: String] = [:], input: String? = nil, outputFile: String? = nil
) throws -> CommandLineRun {
  let process = Process()
  let output = Pipe(), errors = Pipe(), feed = Pipe()
  process.executableURL = URL(fileURLWithPath: (SearchPath.programFolder ?? ".") + "/paging")
  process.arguments = arguments
  var variables = ProcessInfo.processInfo.environment
  variables["PAGINGKIT_PLUGIN_PATH"] = nil
  process.environment = variables.merging(environment) { $1 }
  process.standardOutput = try outputFile.map { try FileHandle(forWritingTo: URL(fileURLWithPath: $0)) as Any } ?? output
  process.standardError = errors
  process.standardInput = feed
  try process.run()
  // Read beside each other: a full pipe would stop the program.
  let reader = Reader(errors.fileHandleForReading)
  if let input { feed.fileHandleForWriting.write(Data(input.utf8)) }
  try feed.fileHandleForWriting.close()
  if outputFile != nil { try output.fileHandleForWriting.close() }
  let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  let errorText = reader.text()
  process.waitUntilExit()
  return CommandLineRun(status: process.terminationStatus, output: text, errors: errorText)
}

/// Reads a pipe to its end on a thread of its own.
private final class Reader: @unchecked Sendable {
  // SAFETY: `bytes` is written before the semaphore is signalled and read after it was waited for.
  private var bytes = Data()
  private let isDone = DispatchSemaphore(value: 0)

  init(_ handle: FileHandle) {
    Thread.detachNewThread { [self] in
      bytes = handle.readDataToEndOfFile()
      isDone.signal()
    }
  }

  func text() -> String {
    isDone.wait()
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// Names of all architectures beside the test binary.
let architecturesAtHand = Catalogue.load(searchPath: .standard).architectures.map(\.architecture)
