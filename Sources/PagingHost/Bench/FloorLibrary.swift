// The floor: the same jobs in plain C, loaded from where it was built. See Benchmarks/floor/floor.h.
import CPagingFloor
import Glibc

/// Its functions, and one image of memory with the tables of the present job.
final class FloorLibrary {
  static let fileName = "libpaging-floor.so"

  let jobs: [floor_job]
  let state: UnsafeMutablePointer<floor_state>
  private let close: floor_close_fn

  /// Loads a file, or the first found in the program's folder and in the build of Benchmarks/floor.
  init(_ file: String?) throws(InputError) {
    let path: String
    if let file { path = file } else { path = try Self.find() }
    guard let library = dlopen(path.contains("/") ? path : "./" + path, RTLD_NOW | RTLD_LOCAL) else {
      throw InputError(
        file: path, place: .file, expected: "the floor's library; build it with `make floor`",
        found: dlerror().map { String(cString: $0) } ?? "none")
    }
    func function<Function>(_ name: String, _ type: Function.Type) throws(InputError) -> Function {
      guard let symbol = dlsym(library, name) else {
        throw InputError(file: path, place: .file, expected: "the function \(name)", found: "a library without it")
      }
      // SAFETY: floor.h gives the name this type, and the version below is checked before anything else is called.
      return unsafeBitCast(symbol, to: type)
    }
    let version = try function("floor_version", (@convention(c) () -> UInt32).self)()
    guard version == FLOOR_VERSION else {
      throw InputError(file: path, place: .file, expected: "version \(FLOOR_VERSION) of the floor", found: "version \(version)")
    }
    var count = 0
    let list = try function("floor_jobs", (@convention(c) (UnsafeMutablePointer<Int>?) -> UnsafePointer<floor_job>?).self)(&count)
    jobs = Array(UnsafeBufferPointer(start: list, count: list == nil ? 0 : count))
    close = try function("floor_close", (@convention(c) (UnsafeMutablePointer<floor_state>?) -> Void).self)
    let open = try function("floor_open", (@convention(c) (Int32) -> UnsafeMutablePointer<floor_state>?).self)
    guard let state = open(0) else {
      throw InputError(file: path, place: .file, expected: "memory for tables", found: "none")
    }
    self.state = state
  }

  deinit { close(state) }

  private static func find() throws(InputError) -> String {
    var folders: [String] = []
    if let program = SearchPath.programFolder {
      folders.append(program)
      var parts = program.split(separator: "/").map(String.init)
      while !parts.isEmpty {
        folders.append("/\(parts.joined(separator: "/"))/Benchmarks/floor/.build")
        parts.removeLast()
      }
    }
    guard let path = folders.map({ "\($0)/\(fileName)" }).first(where: DataFolder.exists) else {
      throw InputError(file: fileName, place: .file, expected: "the floor beside the program; build it with `make floor`", found: "no such file")
    }
    return path
  }
}

extension floor_job {
  var title: String { string(name) }

  /// Latency jobs need each output before the next address, which no batch gives.
  var isDependent: Bool { title.hasSuffix("_dep") }

  /// TLBs and walk caches take part; the other jobs only walk.
  var hasCaches: Bool { title.hasPrefix("tlb_") }

  var isTrace: Bool { addresses == nil }
}

/// The floor's generator of addresses, to find where a job's known addresses begin.
struct FloorSeed {
  private(set) var value: UInt64

  init(_ value: UInt64) { self.value = value }

  /// As floor.c: one step for each address.
  mutating func skip(_ count: Int) {
    for _ in 0..<count {
      value ^= value << 13
      value ^= value >> 7
      value ^= value << 17
    }
  }

  /// The seed of each job: jobs with the same tables have the same addresses, others continue.
  static func seeds(_ jobs: [floor_job], from first: UInt64, count: Int) -> [UInt64] {
    var seed = FloorSeed(first)
    var seeds: [UInt64] = []
    var last: (tables: UInt32, span: UInt64)?
    for job in jobs {
      if let last, !job.isTrace, last != (job.tables, job.span) { seed.skip(count) }
      if !job.isTrace { last = (job.tables, job.span) }
      seeds.append(seed.value)
    }
    return seeds
  }
}
