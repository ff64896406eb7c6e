// Physical memory from raw images and single words. What neither covers exists, but has no bytes.
import CPagingKit
import Glibc
import PagingKit

final class GivenMemory {
  let map: PhysicalMapDescriptor
  let origin: [String]

  /// Bytes of the process behind a part of physical memory.
  private final class Parts {
    var list: [(base: UInt64, bytes: UnsafeMutableRawBufferPointer)] = []

    deinit { for part in list { munmap(part.bytes.baseAddress, part.bytes.count) } }

    func place(_ address: UInt64) -> UnsafeMutableRawPointer? {
      let part = list.first { address >= $0.base && address - $0.base < UInt64($0.bytes.count) }
      return part.map { $0.bytes.baseAddress! + Int(address - $0.base) }
    }
  }

  /// Words have 8 bytes, or 4 at an odd multiple of 4; they stand over what an image says.
  init(images: [(file: String, base: UInt64)], words: [(address: UInt64, value: UInt64)]) throws {
    let parts = Parts()
    for image in images { parts.list.append((image.base, try Self.bytes(ofFile: image.file, at: image.base))) }
    try Self.checkDisjoint(parts.list, images.map(\.file))
    for word in words.sorted(by: { $0.address < $1.address }) { try Self.store(word, parts) }
    map = PhysicalMapDescriptor(Self.regions(parts.list), owner: parts)
    origin =
      images.map { "memory at \(hex($0.base)) from \($0.file)" }
      + (words.isEmpty ? [] : ["\(words.count) word\(words.count == 1 ? "" : "s") of memory as given, zero around"])
  }

  private static func bytes(ofFile file: String, at base: UInt64) throws -> UnsafeMutableRawBufferPointer {
    let descriptor = open(file, O_RDONLY | O_CLOEXEC)
    defer { if descriptor >= 0 { close(descriptor) } }
    var status = stat()
    guard descriptor >= 0, fstat(descriptor, &status) == 0 else {
      throw InputError(file: file, place: .file, expected: "a memory image", found: String(cString: strerror(errno)))
    }
    guard status.st_mode & S_IFMT == S_IFREG, status.st_size > 0 else {
      throw InputError(file: file, place: .file, expected: "a file of bytes", found: status.st_size == 0 ? "an empty file" : "no regular file")
    }
    guard base % 16 == 0, base <= .max - UInt64(status.st_size) - 4096 else {
      throw WalkError.memory("\(file): expected a base that is a multiple of 16 and leaves room, found \(hex(base))")
    }
    // Private: what a walk writes stays in this process. Behind the end of the file, the last page is zero.
    let start = mmap(nil, Int(status.st_size), PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor, 0)
    guard let start, start != MAP_FAILED else {
      throw InputError(file: file, place: .file, expected: "a file that can be mapped", found: String(cString: strerror(errno)))
    }
    return UnsafeMutableRawBufferPointer(start: start, count: (Int(status.st_size) + 15) & ~15)
  }

  private static func checkDisjoint(_ parts: [(base: UInt64, bytes: UnsafeMutableRawBufferPointer)], _ files: [String]) throws {
    let sorted = zip(parts, files).sorted { $0.0.base < $1.0.base }
    for (lower, upper) in zip(sorted, sorted.dropFirst()) where upper.0.base - lower.0.base < UInt64(lower.0.bytes.count) {
      throw WalkError.memory("\(upper.1) at \(hex(upper.0.base)) overlaps \(lower.1) at \(hex(lower.0.base)); move one of them")
    }
  }

  private static func store(_ word: (address: UInt64, value: UInt64), _ parts: Parts) throws {
    guard word.address % 4 == 0, word.address <= 1 << 63 else {
      throw WalkError.memory("--word \(hex(word.address)): expected an address that is a multiple of 4")
    }
    let byteCount = word.address % 8 == 0 ? 8 : 4
    guard byteCount == 8 || word.value >> 32 == 0 else {
      throw WalkError.memory("--word \(hex(word.address)): expected at most 32 bits there, found \(hex(word.value))")
    }
    if parts.place(word.address) == nil { try addPage(around: word.address, parts) }
    guard let place = parts.place(word.address), parts.place(word.address + UInt64(byteCount) - 1) != nil else {
      throw WalkError.memory("--word \(hex(word.address)) reaches over the end of an image")
    }
    if byteCount == 8 {
      place.storeBytes(of: word.value, as: UInt64.self)
    } else {
      place.storeBytes(of: UInt32(truncatingIfNeeded: word.value), as: UInt32.self)
    }
  }

  /// The part of its page around an address that no image covers, zero.
  private static func addPage(around address: UInt64, _ parts: Parts) throws {
    var start = address & ~0xfff
    var end = start + 4096
    for part in parts.list {
      let partEnd = part.base + UInt64(part.bytes.count)
      if partEnd <= address { start = max(start, partEnd) }
      if part.base > address { end = min(end, part.base) }
    }
    let bytes = mmap(nil, Int(end - start), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let bytes, bytes != MAP_FAILED else { throw WalkError.memory("no memory for the word at \(hex(address))") }
    parts.list.append((start, UnsafeMutableRawBufferPointer(start: bytes, count: Int(end - start))))
  }

  private static func regions(_ parts: [(base: UInt64, bytes: UnsafeMutableRawBufferPointer)]) -> [pgk_region_v1] {
    var regions: [pgk_region_v1] = []
    var next: UInt64 = 0
    func addGap(upTo end: UInt64) {
      guard end > next else { return }
      regions.append(
        pgk_region_v1(base: next, length: end - next, kind: UInt32(PGK_REGION_ADDRESS_ONLY), reserved: 0, bytes: nil))
    }
    for part in parts.sorted(by: { $0.base < $1.base }) {
      addGap(upTo: part.base)
      let length = UInt64(part.bytes.count)
      regions.append(
        pgk_region_v1(base: part.base, length: length, kind: UInt32(PGK_REGION_RAM), reserved: 0, bytes: part.bytes.baseAddress))
      next = part.base + length
    }
    addGap(upTo: .max & ~15)
    return regions
  }
}
