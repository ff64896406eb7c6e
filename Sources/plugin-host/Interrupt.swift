// Ctrl-C: the first one asks long work to stop and report what there is, the second ends the program.
import Glibc
import Synchronization

enum Interrupt {
  private static let flag = Atomic<Bool>(false)

  static var isWanted: Bool { flag.load(ordering: .relaxed) }

  /// From now on Ctrl-C is asked for, not obeyed.
  static func watch() {
    // Touched before the handler can run: the first use of a global is not safe in a signal handler.
    _ = isWanted
    // Whoever started the program may have kept signals from its own threads, which is inherited.
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGINT)
    sigprocmask(SIG_UNBLOCK, &signals, nil)
    signal(SIGINT) { _ in
      Interrupt.flag.store(true, ordering: .relaxed)
      signal(SIGINT, SIG_DFL)
    }
  }
}
