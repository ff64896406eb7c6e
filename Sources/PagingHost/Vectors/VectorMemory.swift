import CPagingKit
import Glibc
import PagingKit

/// The physical memory of a vector file: zero but for the words that the case at hand names.
protocol VectorMemory: AnyObject {
  var map: PhysicalMapDescriptor { get }
  /// True if the eight bytes at a multiple of eight exist.
  func holds(_ address: UInt64) -> Bool
  func load(_ address: UInt64) -> UInt64
  func store(_ address: UInt64, _ value: UInt64)
  /// All that is not zero; nil where only named words can be looked at.
  var contents: [UInt64: UInt64]? { get }
  /// How many stores of units touched each word since `forgetStores`; updates of table entries are no stores.
  var stores: [UInt64: Int] { get }
  func forgetStores()
  /// Words near the named ones that are not zero although the named ones have been cleared. Clears them too.
  func takeStrays(near named: [UInt64]) -> [(address: UInt64, value: UInt64)]
}

extension VectorMemory {
  var contents: [UInt64: UInt64]? { nil }
  var stores: [UInt64: Int] { [:] }
  func forgetStores() {}
}

func makeMemory(_ memory: VectorHeader.Memory) throws(CaseProblem) -> any VectorMemory {
  switch memory {
  case .sparse: SparseMemory()
  case .windows(let windows): try WindowMemory(windows)
  }
}

/// Windows of memory that cost nothing where they are not touched.
final class WindowMemory: VectorMemory {
  let map: PhysicalMapDescriptor
  private let windows: [Range<UInt64>]
  private let bytes: MappedBytes

  init(_ windows: [Range<UInt64>]) throws(CaseProblem) {
    bytes = MappedBytes()
    for window in windows {
      guard bytes.add(window.count) else {
        throw .malformed(expected: "windows of \"ram\" that this system can reserve", found: hex(UInt64(window.count)) + " bytes")
      }
    }
    self.windows = windows
    let regions = zip(windows, bytes.parts).map { window, part in
      pgk_region_v1(
        base: window.lowerBound, length: UInt64(window.count), kind: UInt32(PGK_REGION_RAM), reserved: 0,
        bytes: part.baseAddress)
    }
    map = PhysicalMapDescriptor(regions, owner: bytes)
  }

  private func place(_ address: UInt64) -> UnsafeMutableRawPointer? {
    for (index, window) in windows.enumerated() where window.contains(address) && window.contains(address &+ 7) {
      return bytes.parts[index].baseAddress! + Int(address - window.lowerBound)
    }
    return nil
  }

  func holds(_ address: UInt64) -> Bool { place(address) != nil }

  func load(_ address: UInt64) -> UInt64 { place(address)!.load(as: UInt64.self) }

  func store(_ address: UInt64, _ value: UInt64) { place(address)!.storeBytes(of: value, as: UInt64.self) }

  /// Looks at the whole pages of the named words: a wrong update of an entry nearly always hits the table of a right one.
  func takeStrays(near named: [UInt64]) -> [(address: UInt64, value: UInt64)] {
    var strays: [(address: UInt64, value: UInt64)] = []
    var last: UInt64?
    for page in named.map({ $0 & ~0xfff }).sorted() where page != last {
      last = page
      for (index, window) in windows.enumerated() {
        let start = max(page, window.lowerBound)
        let end = min(page | 0xfff, window.upperBound - 1)
        guard start < end else { continue }
        let words = (bytes.parts[index].baseAddress! + Int(start - window.lowerBound)).assumingMemoryBound(to: UInt64.self)
        let count = Int(end - start + 1) / 8
        var anything: UInt64 = 0
        for word in 0..<count { anything |= words[word] }
        guard anything != 0 else { continue }
        for word in 0..<count where words[word] != 0 {
          strays.append((start + UInt64(word * 8), words[word]))
          words[word] = 0
        }
      }
    }
    return strays
  }
}

/// Anonymous memory that is reserved by address only, given back with this object.
private final class MappedBytes {
  private(set) var parts: [UnsafeMutableRawBufferPointer] = []

  func add(_ byteCount: Int) -> Bool {
    let start = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let start, start != MAP_FAILED else { return false }
    parts.append(UnsafeMutableRawBufferPointer(start: start, count: byteCount))
    return true
  }

  deinit { for part in parts { munmap(part.baseAddress, part.count) } }
}

/// The whole physical space, holding only what is not zero.
final class SparseMemory: VectorMemory {
  let map: PhysicalMapDescriptor
  private let words = SparseWords()

  init() {
    let everything = pgk_region_v1(
      base: 0, length: UInt64.max & ~15, kind: UInt32(PGK_REGION_CALLBACK), reserved: 0, bytes: nil)
    map = PhysicalMapDescriptor([everything], owner: words)
    // SAFETY: the map owns the words, and calls come only from units that keep the map.
    map.setCallbacks(
      context: Unmanaged.passUnretained(words).toOpaque(),
      load: { context, address, byteCount, value in
        value!.pointee = SparseWords.at(context).load(address, byteCount)
        return 0
      },
      store: { context, address, byteCount, value in
        let words = SparseWords.at(context)
        words.stores[address & ~7, default: 0] += 1
        words.store(address, byteCount, value)
        return 0
      },
      compareExchange: { context, address, byteCount, expected, desired in
        let words = SparseWords.at(context)
        guard words.load(address, byteCount) == expected else { return 1 }
        words.store(address, byteCount, desired)
        return 0
      })
  }

  func holds(_ address: UInt64) -> Bool { address < UInt64.max & ~15 }
  var contents: [UInt64: UInt64]? { words.words }
  var stores: [UInt64: Int] { words.stores }
  func forgetStores() { words.stores.removeAll(keepingCapacity: true) }
  func load(_ address: UInt64) -> UInt64 { words.load(address, 8) }
  func store(_ address: UInt64, _ value: UInt64) { words.store(address, 8, value) }

  func takeStrays(near named: [UInt64]) -> [(address: UInt64, value: UInt64)] {
    let strays = words.words.filter { $0.value != 0 }.map { (address: $0.key, value: $0.value) }
    words.words.removeAll(keepingCapacity: true)
    return strays.sorted { $0.address < $1.address }
  }
}

private final class SparseWords {
  var words: [UInt64: UInt64] = [:]
  var stores: [UInt64: Int] = [:]

  static func at(_ context: UnsafeMutableRawPointer?) -> SparseWords {
    Unmanaged<SparseWords>.fromOpaque(context!).takeUnretainedValue()
  }

  func load(_ address: UInt64, _ byteCount: UInt32) -> UInt64 {
    let word = words[address & ~7] ?? 0
    return byteCount == 8 ? word : word >> (address & 7 * 8) & (1 << UInt64(byteCount * 8) - 1)
  }

  func store(_ address: UInt64, _ byteCount: UInt32, _ value: UInt64) {
    guard byteCount < 8 else {
      words[address & ~7] = value
      return
    }
    let shift = address & 7 * 8
    let mask: UInt64 = (1 << UInt64(byteCount * 8) - 1) << shift
    words[address & ~7] = (words[address & ~7] ?? 0) & ~mask | value << shift & mask
  }
}
