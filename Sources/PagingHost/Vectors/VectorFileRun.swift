import PagingKit
import Synchronization

/// One vector file from its first line to its last.
struct VectorFileRun {
  private let settings: VectorSettings
  private let shouldStop: (@Sendable () -> Bool)?
  private let json = JSONLine()
  private var report: VectorFileReport
  private var line: UInt64 = 0

  init(file: String, settings: VectorSettings, shouldStop: (@Sendable () -> Bool)?) {
    self.settings = settings
    self.shouldStop = shouldStop
    report = VectorFileReport(file: file)
  }

  mutating func verify(_ architecture: (String) throws -> Architecture) -> VectorFileReport {
    do {
      try run(architecture)
    } catch let error as InputError {
      report.failure = .input(error)
    } catch {
      report.failure = .missing(file: report.file, reason: "\(error)")
    }
    return report
  }

  private mutating func run(_ find: (String) throws -> Architecture) throws {
    let blocks = LineBlocks(try ByteSource(path: report.file))
    guard var lines = try nextLines(blocks), let first = lines.next() else {
      throw problem(.malformed(expected: "a header of format \"\(VectorHeader.format)\"", found: "an empty file"))
    }
    line = 1
    let root = try parse(first)
    let header = try located { () throws(CaseProblem) in try VectorHeader(root) }
    report.architecture = header.architecture
    let names = VectorNames(try find(header.architecture))
    let memory = try located { () throws(CaseProblem) in try makeMemory(header.memory) }
    let isScenario = header.kind == ScenarioRun.kind
    let units = VectorUnits(names, memory: memory, settings: settings.options, preset: isScenario ? ScenarioRun.options : [])
    units.read(header: root)
    // Opened before the first case, so that a bad option is an error of the whole.
    _ = try units.unit(for: [])
    if isScenario { return try runScenarios(header, names, memory, units, blocks, lines) }
    var decoder = VectorCaseDecoder(names: names, units: units, memory: memory, kind: header.kind)
    var cases = VectorCaseRun(file: report.file, names: names, memory: memory, mostShown: settings.mostShown)
    defer { (report.accesses, report.differences, report.shown) = (cases.accesses, cases.differences, cases.shown) }
    var vector = VectorCase()
    repeat {
      while let text = lines.next() {
        line += 1
        if text.count == 1 { continue }
        try verify(text, &vector, &decoder, &cases)
        if line & 0x3f == 0, shouldStop?() == true {
          report.isPartial = true
          return
        }
      }
      guard let next = try nextLines(blocks) else { return }
      lines = next
    } while true
  }

  private mutating func runScenarios(
    _ header: VectorHeader, _ names: VectorNames, _ memory: any VectorMemory, _ units: VectorUnits, _ blocks: LineBlocks,
    _ first: LinesOfBlock
  ) throws {
    var decoder = VectorCaseDecoder(names: names, units: units, memory: memory, kind: header.kind)
    var cases = ScenarioRun(
      file: report.file, names: names, memory: memory, mostShown: settings.mostShown, editsByWords: settings.editsByWords)
    defer { (report.accesses, report.differences, report.shown) = (cases.accesses, cases.differences, cases.shown) }
    var lines = first
    repeat {
      while let text = lines.next() {
        line += 1
        if text.count == 1 { continue }
        let root = try parse(text)
        do {
          try cases.run(root, line: line, &decoder)
          report.cases += 1
        } catch .unsupported(let reason) {
          report.unsupported[reason, default: 0] += 1
        } catch { throw problem(error) }
        if line & 0x3f == 0, shouldStop?() == true {
          report.isPartial = true
          return
        }
      }
      guard let next = try nextLines(blocks) else { return }
      lines = next
    } while true
  }

  private mutating func verify(
    _ text: UnsafeRawBufferPointer, _ vector: inout VectorCase, _ decoder: inout VectorCaseDecoder,
    _ cases: inout VectorCaseRun
  ) throws {
    let root = try parse(text)
    vector.clear(line: line)
    do {
      let unit = try decoder.decode(root, into: &vector)
      cases.run(vector, on: unit)
      report.cases += 1
    } catch .unsupported(let reason) {
      report.unsupported[reason, default: 0] += 1
    } catch {
      throw problem(error)
    }
  }

  private func nextLines(_ blocks: LineBlocks) throws(InputError) -> LinesOfBlock? {
    try blocks.next(line: line + 1).map(LinesOfBlock.init)
  }

  private func parse(_ text: UnsafeRawBufferPointer) throws(InputError) -> JSONValue {
    do {
      return try json.parse(text)
    } catch {
      let rest = UnsafeRawBufferPointer(rebasing: text[error.offset..<text.count - 1])
      throw InputError(
        file: report.file, place: .line(line), expected: "\(error.expected) at byte \(error.offset) of the line",
        found: rest.isEmpty ? "the end of the line" : quoted(rest))
    }
  }

  private func located<Result>(_ body: () throws(CaseProblem) -> Result) throws(InputError) -> Result {
    do { return try body() } catch { throw problem(error) }
  }

  private func problem(_ problem: CaseProblem) -> InputError {
    switch problem {
    case .malformed(let expected, let found):
      InputError(file: report.file, place: .line(line), expected: expected, found: found)
    case .unsupported(let reason):
      InputError(file: report.file, place: .line(line), expected: "what the back end declares", found: reason)
    }
  }
}

/// The lines of a block, each with its line feed.
private struct LinesOfBlock: IteratorProtocol {
  private var rest: UnsafeRawBufferPointer

  init(_ block: UnsafeRawBufferPointer) { rest = block }

  mutating func next() -> UnsafeRawBufferPointer? {
    guard let end = rest.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
    let line = UnsafeRawBufferPointer(rebasing: rest[...end])
    rest = UnsafeRawBufferPointer(rebasing: rest[(end + 1)...])
    return line
  }
}

/// Counts files as they end.
final class FilesDone: Sendable {
  private let count = Atomic<Int>(0)

  func increment() -> Int { count.add(1, ordering: .relaxed).newValue }
}
