import Glibc
public import PagingKit

/// How to verify vector files.
public struct VectorSettings: Sendable {
  /// Options of units; they stand over what the files say.
  public var options: [(name: String, value: String)]
  /// Files that run at a time.
  public var workers: Int
  /// Differences that are kept in full.
  public var mostShown: Int

  /// Scenarios edit lists by their words, as software of the architecture does, and not by verdicts.
  public var editsByWords = false

  public init(options: [(name: String, value: String)] = [], workers: Int? = nil, mostShown: Int = 10) {
    self.options = options
    self.workers = workers ?? max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    self.mostShown = mostShown
  }
}

/// Verifies back ends against golden vectors.
public enum VectorRunner {
  /// Runs every file through the back end that it names.
  ///
  /// `architecture` finds a back end by name; `progress` hears how many files are done; `shouldStop` is asked now and
  /// then, and what is done by then is reported. All three are called from several threads.
  public static func verify(
    files: [String], settings: VectorSettings = VectorSettings(),
    progress: (@Sendable (_ done: Int, _ of: Int) -> Void)? = nil, shouldStop: (@Sendable () -> Bool)? = nil,
    architecture: @escaping @Sendable (String) throws -> Architecture
  ) -> VectorReport {
    let finished = FilesDone()
    let reports = parallelMap(count: files.count, workers: settings.workers) { index in
      var run = VectorFileRun(file: files[index], settings: settings, shouldStop: shouldStop)
      let report = run.verify(architecture)
      progress?(finished.increment(), files.count)
      return report
    }
    return VectorReport(files: reports, mostShown: settings.mostShown)
  }
}
