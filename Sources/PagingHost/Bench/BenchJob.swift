// One job of the bench: rounds of the floor and of a unit in turns, over the same addresses.
import CPagingFloor
import CPagingKit
import Glibc
import PagingKit

/// What came of a job.
public struct BenchRow: Sendable {
  public let job: String
  public let architecture: String
  public let regime: String
  /// Million accesses a second, round by round.
  public internal(set) var speeds: [Double] = []
  public internal(set) var floorSpeeds: [Double] = []
  /// Table entries read for the addresses of the seed, and what the floor counts for them.
  public internal(set) var count: UInt64 = 0
  public internal(set) var expectedCount: UInt64 = 0
  public internal(set) var walks: UInt64 = 0
  public internal(set) var expectedWalks: UInt64 = 0
  /// FNV-1a over the 16-byte result records for the addresses of the seed, in order.
  public internal(set) var digest: UInt64 = 0
  /// Outputs that are not what the tables say.
  public internal(set) var wrongOutputs: UInt64 = 0
  public internal(set) var accesses = 0

  public var ratios: [Double] { zip(speeds, floorSpeeds).map { $0 / $1 } }
  public var isRight: Bool { count == expectedCount && walks == expectedWalks && wrongOutputs == 0 }
}

/// A job ready to be measured.
final class BenchJob {
  static let batchSize = 1024

  private let job: floor_job
  private let floor: FloorLibrary
  private let found: BenchUnit
  private let tables: BenchTables?
  private let unit: Unit
  private let privilege: UInt8
  private var seed: UInt64
  private let addresses: UnsafeMutableBufferPointer<UInt64>
  private let accesses: UnsafeMutableBufferPointer<pgk_access_v1>
  private let results: UnsafeMutableBufferPointer<pgk_result_v1>
  private(set) var row: BenchRow

  /// `trace`: the addresses of a recorded program, for the job that wants one.
  init(
    _ job: floor_job, _ floor: FloorLibrary, _ found: BenchUnit, seed: UInt64, count: Int, trace: [UInt64], _ settings: [Setting]
  ) throws {
    self.job = job
    self.floor = floor
    self.found = found
    self.seed = seed
    let architecture = found.unit.architecture
    if job.tables == FLOOR_TABLES_NONE {
      let options = try BenchUnit.options(architecture, hasCaches: job.hasCaches, settings)
      let made = try BenchTables(like: found, options: options)
      tables = made
      unit = made.unit
    } else {
      tables = nil
      unit = found.unit
    }
    privilege = architecture.regimes[architecture.regimeIndex(named: found.regime) ?? 0].user
    let count = job.isTrace ? trace.count : count
    addresses = .allocate(capacity: count)
    addresses.initialize(repeating: 0)
    if job.isTrace { _ = addresses.update(from: trace) }
    accesses = .allocate(capacity: count)
    accesses.initialize(repeating: pgk_access_v1())
    results = .allocate(capacity: Self.batchSize)
    results.initialize(repeating: pgk_result_v1())
    row = BenchRow(job: job.title, architecture: architecture.name, regime: found.regime)
    row.accesses = count
  }

  deinit {
    addresses.deallocate()
    accesses.deallocate()
    results.deallocate()
  }

  // MARK: Addresses

  /// The next set of addresses, as accesses, with pages for all of them.
  private func nextAddresses() throws {
    if let generate = job.addresses { seed = generate(floor.state, seed, addresses.baseAddress, addresses.count) }
    for index in 0..<addresses.count {
      accesses[index] = pgk_access_v1(
        address: addresses[index], kind: UInt8(PGK_READ), size_log2: 0, privilege: privilege, flags: UInt8(PGK_TRANSLATE_ONLY),
        tag: UInt32(truncatingIfNeeded: index))
    }
    if let tables {
      try tables.map(UnsafeBufferPointer(addresses))
      try tables.touch()
    }
  }

  // MARK: Checking

  /// Both, untimed, over the addresses of the seed: counts, outputs and the digest.
  func check() throws {
    try nextAddresses()
    var counts = floor_counts()
    job.run(floor.state, addresses.baseAddress, addresses.count, &counts)
    try unit.reset(PGK_RESET_CACHES | PGK_RESET_COUNTERS)
    var digest = FNV1a()
    var wrong: UInt64 = 0
    try forEachBatch { start, count in
      digest.add(UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: results[..<count])))
      for index in 0..<count where !isRight(results[index], addresses[start + index]) { wrong += 1 }
    }
    let architecture = unit.architecture
    func counter(_ name: String) -> UInt64 {
      architecture.counters.firstIndex { string($0.name) == name }.map { unit.counters()[$0] } ?? 0
    }
    (row.count, row.walks) = (counter("entryReads"), counter("walks"))
    (row.expectedCount, row.expectedWalks) = (counts.references, counts.walks)
    (row.digest, row.wrongOutputs) = (digest.value, wrong)
  }

  /// Where the tables lead, the floor's or our own.
  private func isRight(_ result: pgk_result_v1, _ address: UInt64) -> Bool {
    guard result.outcome == UInt8(PGK_OUTCOME_FINISHED) else { return false }
    let state = floor.state.pointee
    if let tables { return result.output == tables.output(of: address) }
    return result.output == state.output + (address - state.first_address)
  }

  private func forEachBatch(_ body: (_ start: Int, _ count: Int) -> Void) throws(UnitError) {
    var start = 0
    while start < accesses.count {
      let count = min(Self.batchSize, accesses.count - start)
      let consumed = try unit.run(accesses.baseAddress! + start, values: nil, results: results.baseAddress!, count: count)
      guard consumed == count, unit.pendingCount == 0 else {
        throw UnitError(code: PGK_E_STATE, message: "\(row.job): an access did not finish")
      }
      body(start, count)
      start += count
    }
  }

  // MARK: Measuring

  /// One round of each over fresh addresses; who is first takes turns too.
  func round(_ number: Int) throws {
    try nextAddresses()
    try unit.reset(PGK_RESET_CACHES | PGK_RESET_COUNTERS)
    var own = 0.0
    if number % 2 == 1 { own = try timedUnit() }
    var counts = floor_counts()
    let start = processorSeconds()
    job.run(floor.state, addresses.baseAddress, addresses.count, &counts)
    let floorTime = processorSeconds() - start
    if number % 2 == 0 { own = try timedUnit() }
    row.floorSpeeds.append(Double(addresses.count) / floorTime / 1e6)
    row.speeds.append(Double(addresses.count) / own / 1e6)
  }

  private func timedUnit() throws(UnitError) -> Double {
    let start = processorSeconds()
    try forEachBatch { _, _ in }
    return processorSeconds() - start
  }
}

/// Of this thread: a busy neighbour costs caches and bandwidth only.
private func processorSeconds() -> Double {
  var now = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
  return Double(now.tv_sec) + Double(now.tv_nsec) * 1e-9
}

/// The 64-bit hash of Fowler, Noll and Vo, version 1a.
struct FNV1a {
  private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    var value = value
    for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
    self.value = value
  }
}
