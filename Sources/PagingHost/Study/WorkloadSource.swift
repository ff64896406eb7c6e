// A workload as a machine takes it: accesses in batches, counted and checked against the address space.
import CPagingKit
import PagingKit

/// A source that knows what it has given out.
protocol CountedSource: AccessSource {
  var statistics: TraceStatistics { get }
}

extension LackeyTrace: CountedSource {}

/// Counts what a generator gives out, as a trace is counted.
struct CountedGenerator<Source: AccessSource>: CountedSource {
  private var source: Source
  private let counts: Counts

  /// Pages are counted in storage that is given back by hand.
  private final class Counts {
    var value = LackeyCounts()
    deinit { value.pages.deallocate() }
  }

  init(_ source: Source) {
    self.source = source
    counts = Counts()
  }

  var statistics: TraceStatistics { counts.value.statistics }

  mutating func next(into buffer: UnsafeMutableBufferPointer<pgk_access_v1>) throws -> Int {
    let count = try source.next(into: buffer)
    for index in 0..<count {
      let access = buffer[index]
      counts.value.add(LackeyLine(address: access.address, byteCount: 1 << UInt32(access.size_log2), kind: access.kind))
    }
    return count
  }
}

/// The program uses addresses that the architecture's regime does not have.
struct AddressTooWide: Error, CustomStringConvertible {
  let address: UInt64
  let bits: Int
  var description: String { "addresses such as \(hex(address)) are wider than the \(bits) bits of its programs" }
}

/// What a machine runs: the source, as long as its addresses fit.
struct WorkloadSource: AccessSource {
  private var source: any CountedSource
  private let relocation: Relocation?
  private let limit: UInt64

  /// Moves addresses; a class, so that statistics stay with the source below.
  private final class Relocation {
    var relocated: Relocated<Borrowed>
    init(_ relocated: Relocated<Borrowed>) { self.relocated = relocated }
  }

  /// The batch that `next` has filled, handed on as a source.
  private struct Borrowed: AccessSource {
    var count = 0
    mutating func next(into buffer: UnsafeMutableBufferPointer<pgk_access_v1>) -> Int { count }
  }

  /// Programs may use addresses up to `last`; with `relocates` those beyond are moved below it.
  init(_ workload: Workload, stream: TraceStream, template: AccessTemplate, last: UInt64, relocates: Bool) throws {
    source = try Self.source(workload, stream, template)
    limit = last
    relocation = relocates ? Relocation(Relocated(Borrowed(), below: last == .max ? last : last + 1)) : nil
  }

  var statistics: TraceStatistics { source.statistics }

  private static func source(
    _ workload: Workload, _ stream: TraceStream, _ template: AccessTemplate
  ) throws -> any CountedSource {
    switch workload.kind {
    case .trace(let path):
      return try LackeyTrace(path: path, stream: stream, privilege: template.privilege, flags: template.flags)
    case .generator(let text):
      guard stream != .instruction else {
        throw SettingError(origin: workload.text, expected: "the stream data or unified", found: "instruction: it fetches nothing")
      }
      return generator(text, template)
    }
  }

  private static func generator(_ text: GeneratorText, _ template: AccessTemplate) -> any CountedSource {
    let start = Address<Virtual>(text.start)
    switch text.shape {
    case .random:
      let source = RandomSource(
        from: start, pageCount: text.pages, writesOf256: (text.writes * 256 + 50) / 100, seed: text.seed, template)
      return CountedGenerator(Limited(source, to: text.count))
    case .sequential:
      let source = SequentialSource(from: start, byteCount: text.bytes, stride: text.stride, template)
      return CountedGenerator(Limited(source, to: text.count))
    case .chase:
      let source = PointerChaseSource(from: start, nodeCount: Int(text.pages), seed: text.seed, template)
      return CountedGenerator(Limited(source, to: text.count))
    }
  }

  mutating func next(into buffer: UnsafeMutableBufferPointer<pgk_access_v1>) throws -> Int {
    let count = try source.next(into: buffer)
    if let relocation {
      relocation.relocated.source.count = count
      _ = try relocation.relocated.next(into: buffer)
    }
    // The limit is a run of ones, so that all addresses together show a bit above it.
    var all: UInt64 = 0
    for index in 0..<count { all |= buffer[index].address }
    if all > limit { try refuse(buffer, count) }
    return count
  }

  private func refuse(_ buffer: UnsafeMutableBufferPointer<pgk_access_v1>, _ count: Int) throws {
    guard let bad = buffer[..<count].first(where: { $0.address > limit }) else { return }
    throw AddressTooWide(address: bad.address, bits: 64 - limit.leadingZeroBitCount)
  }
}
