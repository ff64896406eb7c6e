import Glibc
import Synchronization

/// Makes `count` results on up to `workers` threads, the calling one among them; results come in order of index.
///
/// Work is taken by index as threads become free.
func parallelMap<Result: Sendable>(
  count: Int, workers: Int, _ body: @escaping @Sendable (Int) -> Result
) -> [Result] {
  let work = ParallelWork(count: count, body: body)
  let threads = (1..<max(1, min(workers, count))).compactMap { _ in startThread { work.run() } }
  work.run()
  for thread in threads { pthread_join(thread, nil) }
  return work.results.withLock { $0.map { $0! } }
}

private final class ParallelWork<Result: Sendable>: Sendable {
  let body: @Sendable (Int) -> Result
  let count: Int
  let next = Atomic<Int>(0)
  let results: Mutex<[Result?]>

  init(count: Int, body: @escaping @Sendable (Int) -> Result) {
    self.body = body
    self.count = count
    results = Mutex([Result?](repeating: nil, count: count))
  }

  func run() {
    while case let index = next.add(1, ordering: .relaxed).oldValue, index < count {
      let result = body(index)
      results.withLock { $0[index] = result }
    }
  }
}

private final class ThreadBody {
  let run: @Sendable () -> Void
  init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

/// Nil if the system has no thread left; the work is then done by the others.
private func startThread(_ body: @escaping @Sendable () -> Void) -> pthread_t? {
  var thread = pthread_t()
  let context = Unmanaged.passRetained(ThreadBody(body))
  let status = pthread_create(
    &thread, nil,
    { context in
      Unmanaged<ThreadBody>.fromOpaque(context!).takeRetainedValue().run()
      return nil
    }, context.toOpaque())
  guard status == 0 else {
    context.release()
    return nil
  }
  return thread
}
