// What goes to the terminal, and how far long work is.
import Glibc

enum Console {
  /// Writes everything now; a reader that went away ends the program as any other pipe does. What cannot be written is said
  /// once, and the program does not end as if it had been.
  static func write(_ text: String) { write(text, to: STDOUT_FILENO) }

  static func warn(_ text: String) { write("paging: \(text)\n", to: STDERR_FILENO) }

  static func write(_ text: String, to descriptor: Int32) {
    var text = text
    text.withUTF8 { bytes in
      var done = 0
      while done < bytes.count {
        let count = Glibc.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { return lost(descriptor, String(cString: strerror(errno))) }
        done += count
      }
    }
  }

  private static func lost(_ descriptor: Int32, _ reason: String) {
    guard descriptor == STDOUT_FILENO, Session.status != 3 else { return }
    Session.status = 3
    warn("standard output: expected to write the results, found “\(reason)”; they are lost")
  }

  static var errorIsTerminal: Bool { isatty(STDERR_FILENO) != 0 }
}
