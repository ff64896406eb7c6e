// A guest's tables when nothing but reading is to be done in either stage.
import PagingKit

/// Guest-physical memory behind a second stage that lets entries be read and needs no flag set.
struct QuietGuest<Second: RISCVFormat>: QuietTables {
  // SAFETY: as OneStage.
  let parameters: UnsafePointer<SecondSetting>
  var tables: QuietMemory
  /// Entries of first-stage tables.
  var firstReads: UInt32 = 0

  @inline(__always)
  init(_ parameters: UnsafePointer<SecondSetting>, _ memory: PhysicalMemory) {
    self.parameters = parameters
    tables = QuietMemory(memory)
  }

  @inline(__always) var reads: UInt32 { tables.reads &+ firstReads }
  @inline(__always) var secondReads: UInt32 { tables.reads }

  @inline(__always)
  mutating func load(_ slot: UInt64, byteCount: UInt64, _ entry: inout UInt64) -> Bool {
    var output = SecondStageOutput()
    guard translate(slot, isWritten: false, &output), output.rights.has(.secondRead) else { return false }
    firstReads &+= 1
    var copy = QuietMemory(tables.memory)
    return copy.load(output.address.bits, byteCount: byteCount, &entry)
  }

  /// Where a guest physical address lies, if it is a user page whose flags are set already. What else its rights allow is
  /// the caller's to judge.
  @inline(never)
  mutating func translate(_ address: UInt64, isWritten: Bool, _ output: inout SecondStageOutput) -> Bool {
    guard address &>> Second.radix.inputBits == 0 else { return false }
    let root = WalkStart(table: parameters.pointee.root, level: Second.radix.levelCount &- 1)
    let seen = Glance<Second>(address, from: root, isWritten: isWritten, parameters.pointee.controls, &tables)
    guard seen.isPlain, seen.rights.has(.user) else { return false }
    output.address = Address(seen.output)
    output.pageShift = seen.pageShift
    output.rights = seen.rights
    return true
  }
}

extension TranslationCaches {
  /// No cache knows second-stage entries or entries by their addresses.
  @inline(__always) var hasOnlyPrefixes: Bool { !hasEntries && !hasSecondPrefix && nested.isAbsent }
}
