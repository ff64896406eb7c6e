/// Numbers names, so that a name that comes again costs one look-up over its bytes and no string.
struct NameTable {
  private var places: [Int32]
  private var hashes: [UInt64] = []
  private(set) var names: [String] = []

  init() { places = [Int32](repeating: -1, count: 256) }

  var count: Int { names.count }

  /// The number of a name, a new one if it was not seen before.
  mutating func number(of bytes: UnsafeRawBufferPointer) -> Int {
    let hash = Self.hash(bytes)
    var place = Int(truncatingIfNeeded: hash) & (places.count - 1)
    while places[place] >= 0 {
      let number = Int(places[place])
      if hashes[number] == hash, Self.equal(names[number], bytes) { return number }
      place = (place + 1) & (places.count - 1)
    }
    places[place] = Int32(names.count)
    names.append(String(decoding: bytes, as: UTF8.self))
    hashes.append(hash)
    if names.count * 2 > places.count { grow() }
    return names.count - 1
  }

  mutating func number(of text: String) -> Int {
    var text = text
    return text.withUTF8 { number(of: UnsafeRawBufferPointer($0)) }
  }

  private static func equal(_ name: String, _ bytes: UnsafeRawBufferPointer) -> Bool {
    name.utf8.withContiguousStorageIfAvailable { UnsafeRawBufferPointer($0).elementsEqual(bytes) } ?? name.utf8.elementsEqual(bytes)
  }

  private mutating func grow() {
    places = [Int32](repeating: -1, count: places.count * 2)
    for (number, hash) in hashes.enumerated() {
      var place = Int(truncatingIfNeeded: hash) & (places.count - 1)
      while places[place] >= 0 { place = (place + 1) & (places.count - 1) }
      places[place] = Int32(number)
    }
  }

  /// FNV-1a, its upper half folded in.
  @inline(__always)
  private static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return hash ^ hash &>> 32
  }
}
