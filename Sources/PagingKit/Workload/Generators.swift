// Synthetic programs. The same parameters give the same accesses, everywhere and always.
public import CPagingKit

/// Reads memory from one end to the other, again and again.
public struct SequentialSource: AccessSource {
  let start: UInt64
  let byteCount: UInt64
  let stride: UInt64
  let template: AccessTemplate
  private var position: UInt64 = 0
  private var tag: UInt32 = 0

  public init(from start: Address<Virtual>, byteCount: UInt64, stride: UInt64 = 64, _ template: AccessTemplate) {
    precondition(stride > 0 && byteCount >= stride, "a stride of \(stride) bytes in \(byteCount)")
    self.start = start.bits
    self.byteCount = byteCount
    self.stride = stride
    self.template = template
  }

  public mutating func next(into buffer: UnsafeMutableBufferPointer<pgk_access_v1>) -> Int {
    for i in buffer.indices {
      buffer[i] = template.access(start &+ position, PGK_READ, tag: tag)
      tag &+= 1
      position &+= stride
      if position >= byteCount { position = 0 }
    }
    return buffer.count
  }
}

/// Reads and writes at random places of a number of pages.
public struct RandomSource: AccessSource {
  let start: UInt64
  let byteCount: UInt64
  /// Of 256 accesses, how many write.
  let writesOf256: UInt64
  let template: AccessTemplate
  private var random: SplitMix64
  private var tag: UInt32 = 0

  public init(
    from start: Address<Virtual>, pageCount: UInt64, pageShift: Int = 12, writesOf256: UInt64 = 64, seed: UInt64,
    _ template: AccessTemplate
  ) {
    precondition(pageCount > 0, "random accesses need a page")
    self.start = start.bits
    byteCount = pageCount << UInt64(pageShift)
    self.writesOf256 = writesOf256
    self.template = template
    random = SplitMix64(seed: seed)
  }

  public mutating func next(into buffer: UnsafeMutableBufferPointer<pgk_access_v1>) -> Int {
    let aligned = ~((UInt64(1) << UInt64(template.sizeShift)) &- 1)
    for i in buffer.indices {
      let address = start &+ random.next(below: byteCount) & aligned
      buffer[i] = template.access(address, random.next() & 0xff < writesOf256 ? PGK_WRITE : PGK_READ, tag: tag)
      tag &+= 1
    }
    return buffer.count
  }
}

/// Follows pointers through every node of a number of pages, in one random cycle: each read depends on the one before.
public struct PointerChaseSource: AccessSource {
  let start: UInt64
  let nodeShift: UInt64
  let template: AccessTemplate
  /// successor[n]: the node that node n points to.
  private let successor: [UInt32]
  private var node: UInt32 = 0
  private var tag: UInt32 = 0

  /// One node for each `1 << nodeShift` bytes.
  public init(
    from start: Address<Virtual>, nodeCount: Int, nodeShift: Int = 12, seed: UInt64, _ template: AccessTemplate
  ) {
    precondition(nodeCount > 0 && nodeCount <= Int(UInt32.max), "\(nodeCount) nodes")
    self.start = start.bits
    self.nodeShift = UInt64(nodeShift)
    self.template = template
    var random = SplitMix64(seed: seed)
    // Sattolo's shuffle: a permutation that is one cycle.
    var successor = (0..<UInt32(nodeCount)).map { $0 }
    for i in stride(from: nodeCount - 1, to: 0, by: -1) {
      successor.swapAt(i, Int(random.next(below: UInt64(i))))
    }
    self.successor = successor
  }

  public mutating func next(into buffer: UnsafeMutableBufferPointer<pgk_access_v1>) -> Int {
    for i in buffer.indices {
      buffer[i] = template.access(start &+ UInt64(node) << nodeShift, PGK_READ, tag: tag)
      tag &+= 1
      node = successor[Int(node)]
    }
    return buffer.count
  }
}
