// Errors and their exit status.
import ArgumentParser
import Glibc
import PagingHost

/// An end that was printed already.
struct Ended: Error {
  let status: Int32
  init(_ status: Int32) { self.status = status }
}

enum Failure {
  static let differs: Int32 = 1
  static let usage: Int32 = 2
  static let missing: Int32 = 3
  static let interrupted: Int32 = 130

  /// Prints what the user has to know and returns the exit status.
  static func report(_ error: any Error) -> Int32 {
    switch error {
    case let ended as Ended: return ended.status
    case let error as EncoderError:
      Console.warn("\(error)")
      if case .refused = error { return missing }
      return usage
    default: return reportParsing(error)
    }
  }

  /// An error of the command line's parser, help among them, or any other: those are about something asked for by name.

  private static func reportParsing(_ error: any Error) -> Int32 {
    let code = PagingCommand.exitCode(for: error)
    let message = PagingCommand.fullMessage(for: error)
    if code.isSuccess {
      Console.write(Examples.filled(message) + "\n")
      return 0
    }
    guard code == .validationFailure else {
      Console.warn("\(error)")
      return missing
    }
    Console.write(Examples.filled(message) + "\n", to: STDERR_FILENO)
    return usage
  }
}
