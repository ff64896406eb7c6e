// One line on standard error that says how far long work is; nothing unless a person looks.
import Glibc
import Synchronization

final class Progress: Sendable {
  private struct State {
    var last: UInt64 = 0
    var isShown = false
  }

  private let isWanted = Console.errorIsTerminal
  private let state = Mutex(State())
  /// Between two lines, in nanoseconds.
  private static let pause: UInt64 = 200_000_000

  /// Shows a line if the last one is old enough; its text is made only then.
  func show(_ text: () -> String) {
    guard isWanted else { return }
    let now = clock_gettime_nsec_np()
    let isDue = state.withLock { state in
      guard now &- state.last >= Self.pause else { return false }
      state.last = now
      state.isShown = true
      return true
    }
    if isDue { Console.write("\r\u{1b}[K\(text())", to: STDERR_FILENO) }
  }

  /// Takes the line away, so that results stand alone.
  func end() {
    guard state.withLock({ $0.isShown }) else { return }
    Console.write("\r\u{1b}[K", to: STDERR_FILENO)
  }
}

private func clock_gettime_nsec_np() -> UInt64 {
  var now = timespec()
  clock_gettime(CLOCK_MONOTONIC, &now)
  return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
}
