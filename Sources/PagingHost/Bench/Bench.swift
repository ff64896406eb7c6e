// Throughput against the floor, measured in turns.
import CPagingFloor
import CPagingKit
import PagingKit

public struct Bench {
  /// Of the floor; nil is where it is usually built.
  public var floorFile: String?
  public var seed = UInt64(FLOOR_SEED)
  public var rounds = 15
  /// Addresses of a round.
  public var count = Int(FLOOR_ADDRESS_COUNT)
  /// Names of jobs; empty is all that a batch can do.
  public var jobs: [String] = []
  /// Mapped bytes of the jobs over the floor's tables, in place of their own.
  public var span: UInt64?
  public var settings: [Setting] = []
  /// For the job over a recorded program.
  public var trace: Workload?

  public init() {}

  public struct Progress: Sendable {
    public let job: String
    public let round: Int
    public let rounds: Int
  }

  /// Measures job by job; ends between rounds once `isWanted` says no.
  public func run(
    _ architectures: [LoadedArchitecture], progress: (Progress) -> Void = { _ in }, isWanted: () -> Bool = { true }
  ) throws -> BenchReport {
    let floor = try FloorLibrary(floorFile)
    let chosen = try choose(floor.jobs)
    let seeds = FloorSeed.seeds(floor.jobs, from: seed, count: count)
    let backEnds = architectures.map(\.architecture)
    var rows: [BenchRow] = []
    for (index, job) in floor.jobs.enumerated() where chosen.contains(job.title) && isWanted() {
      progress(Progress(job: job.title, round: 0, rounds: rounds))
      let found = try find(job, floor, backEnds)
      try prepare(job, floor)
      let trace = job.isTrace ? try traceAddresses() : []
      let measured = try BenchJob(job, floor, found, seed: seeds[index], count: count, trace: trace, settings)
      try measured.check()
      for round in 0..<rounds where isWanted() {
        try measured.round(round)
        progress(Progress(job: job.title, round: round + 1, rounds: rounds))
      }
      if !measured.row.speeds.isEmpty { rows.append(measured.row) }
    }
    return BenchReport(rows: rows, rounds: rounds, seed: seed, isPartial: !isWanted())
  }

  private func choose(_ all: [floor_job]) throws(UnknownName) -> [String] {
    let valid = all.filter { !$0.isDependent }.map(\.title)
    for name in jobs where !valid.contains(name) { throw UnknownName(what: "job", name: name, valid: valid) }
    return jobs.isEmpty ? valid : jobs
  }

  private func prepare(_ job: floor_job, _ floor: FloorLibrary) throws(InputError) {
    let span = job.tables == FLOOR_TABLES_NONE ? job.span : span ?? job.span
    guard job.prepare(floor.state, span) == 0 else {
      throw InputError(file: FloorLibrary.fileName, place: .file, expected: "tables for \(span) bytes", found: "no room for them")
    }
  }

  /// A job without tables is run on the back end that understands the floor's native ones.
  private func find(_ job: floor_job, _ floor: FloorLibrary, _ architectures: [Architecture]) throws -> BenchUnit {
    let model = job.tables == FLOOR_TABLES_NONE ? floor.jobs.first { $0.tables == FLOOR_TABLES_NATIVE } ?? job : job
    try prepare(model, floor)
    guard let found = try BenchUnit.find(model, floor, among: architectures, settings) else {
      let stages = job.tables == FLOOR_TABLES_NESTED ? "two stages" : "one stage"
      throw UnknownName(
        what: "back end for", name: job.title, valid: [],
        hint: "none of \(architectures.map(\.name).joined(separator: ", ")) walks the floor's tables of \(stages)")
    }
    return found
  }

  /// Addresses of every line, in order.
  private func traceAddresses() throws -> [UInt64] {
    let workload = try trace ?? Workload.first()[0]
    var source = try WorkloadSource(
      workload, stream: .unified, template: AccessTemplate(privilege: 0, sizeShift: 0), last: .max, relocates: false)
    var addresses: [UInt64] = []
    let batch = UnsafeMutableBufferPointer<pgk_access_v1>.allocate(capacity: BenchJob.batchSize)
    batch.initialize(repeating: pgk_access_v1())
    defer { batch.deallocate() }
    while case let count = try source.next(into: batch), count > 0 {
      addresses += batch[..<count].lazy.map(\.address)
    }
    return addresses
  }
}
