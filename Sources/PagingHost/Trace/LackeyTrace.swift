public import PagingKit
public import CPagingKit

/// A memory trace in the text of valgrind's lackey tool (`--trace-mem=yes`), read as a stream of access batches.
///
/// `I  ADDRESS,SIZE` is a fetch, ` L` a load, ` S` a store, ` M` a load and store of the same place; addresses are
/// hexadecimal, sizes decimal. Blank lines, valgrind's own messages (`==PID== text`) and carriage returns are passed over.
/// Anything else is an error that names the line, and nothing of that line is delivered or counted.
public final class LackeyTrace {
  private let blocks: LineBlocks
  private let stream: TraceStream
  private let privilege: UInt8
  private let flags: UInt8
  private var cursor: UnsafePointer<UInt8>
  private var end: UnsafePointer<UInt8>
  private var line: UInt64 = 1
  private var delivered: UInt32 = 0
  private var counts = LackeyCounts()

  /// Delivered accesses carry `privilege` and `flags`; their tags count from 0.
  public init(
    _ source: ByteSource, stream: TraceStream = .unified, privilege: UInt8 = 0, flags: UInt8 = UInt8(PGK_TRANSLATE_ONLY)
  ) {
    blocks = LineBlocks(source)
    self.stream = stream
    self.privilege = privilege
    self.flags = flags
    // Equal, so never read before the first block.
    cursor = UnsafePointer(bitPattern: 1)!
    end = cursor
  }

  public convenience init(
    path: String, stream: TraceStream = .unified, privilege: UInt8 = 0, flags: UInt8 = UInt8(PGK_TRANSLATE_ONLY)
  ) throws(InputError) {
    self.init(try ByteSource(path: path), stream: stream, privilege: privilege, flags: flags)
  }

  deinit { counts.pages.deallocate() }

  /// Everything read so far.
  public var statistics: TraceStatistics { counts.statistics }

  /// Writes the next accesses to a batch; returns how many, 0 only at the end of the trace.
  ///
  /// A call stops in front of a bad line, and the next call throws: the accesses before it are not lost.
  public func next(into batch: UnsafeMutableBufferPointer<pgk_access_v1>) throws(InputError) -> Int {
    var filled = 0
    while filled < batch.count {
      if cursor == end, try !advance() { break }
      guard try fill(batch, &filled) else { break }
    }
    return filled
  }

  private func advance() throws(InputError) -> Bool {
    guard let block = try blocks.next(line: line) else { return false }
    cursor = block.baseAddress!.assumingMemoryBound(to: UInt8.self)
    end = cursor + block.count
    return true
  }

  /// Parses until the batch is full or the block ends; false at a bad line behind some accesses of this batch.
  private func fill(_ batch: UnsafeMutableBufferPointer<pgk_access_v1>, _ filled: inout Int) throws(InputError) -> Bool {
    // SAFETY: a block ends with a line feed, at which every parser below stops, and LineBlocks.slack bytes may be read
    // behind it. `filled` stays below the batch's count.
    var at = cursor
    let end = end
    var number = line
    var index = filled
    let base = batch.baseAddress!
    defer {
      cursor = at
      line = number
      delivered &+= UInt32(truncatingIfNeeded: index - filled)
      filled = index
    }
    let wantsInstructions = stream != .data
    let wantsData = stream != .instruction
    var tag = delivered
    while at < end, index < batch.count {
      guard let parsed = LackeyParser.line(&at) else {
        if LackeyParser.passOver(&at) {
          number &+= 1
          continue
        }
        if index > 0 { return false }
        throw LackeyParser.problem(at, file: blocks.source.name, line: number)
      }
      number &+= 1
      counts.add(parsed)
      guard parsed.kind == UInt8(PGK_FETCH) ? wantsInstructions : wantsData else { continue }
      var access = parsed.access
      access.privilege = privilege
      access.flags = flags
      access.tag = tag
      tag &+= 1
      base[index] = access
      index &+= 1
    }
    return true
  }
}

extension LackeyTrace: AccessSource {}

/// The counters of a trace while it is read.
struct LackeyCounts {
  private var ofKind: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
  private var straddling: UInt64 = 0
  var pages = PageSet()

  @inline(__always)
  mutating func add(_ line: LackeyLine) {
    switch UInt32(line.kind) {
    case PGK_FETCH: ofKind.0 &+= 1
    case PGK_READ: ofKind.1 &+= 1
    case PGK_WRITE: ofKind.2 &+= 1
    default: ofKind.3 &+= 1
    }
    let mark = line.kind == UInt8(PGK_FETCH) ? PageSet.instruction : PageSet.data
    let page = line.address &>> LackeyLine.pageShift
    pages.insert(page, mark)
    if line.straddles {
      straddling &+= 1
      pages.insert(page &+ 1, mark)
    }
  }

  var statistics: TraceStatistics {
    var result = TraceStatistics()
    (result.instructions, result.loads, result.stores, result.modifies) = (ofKind.0, ofKind.1, ofKind.2, ofKind.3)
    result.pageStraddling = straddling
    result.distinctPages = pages.all
    result.distinctInstructionPages = pages.instructions
    result.distinctDataPages = pages.dataPages
    return result
  }
}
