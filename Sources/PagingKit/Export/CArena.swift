// C copies of Swift data that live as long as the image: made once, never freed.

/// Copies strings and arrays into memory that is never released.
enum CArena {
  static func string(_ text: String) -> UnsafePointer<CChar> {
    let bytes = text.utf8CString
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
    for (i, byte) in bytes.enumerated() { (copy + i).initialize(to: byte) }
    return UnsafePointer(copy)
  }

  static func array<Element>(_ list: [Element]) -> UnsafePointer<Element> {
    let copy = UnsafeMutablePointer<Element>.allocate(capacity: max(1, list.count))
    for (i, element) in list.enumerated() { (copy + i).initialize(to: element) }
    return UnsafePointer(copy)
  }

  static func value<Value>(_ value: Value) -> UnsafePointer<Value> { array([value]) }
}
