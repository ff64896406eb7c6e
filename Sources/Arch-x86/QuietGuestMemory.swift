// A guest's tables when nothing but reading is to be done in either stage.
import CPagingKit
import PagingKit

/// Guest-physical memory behind second-stage tables that allow what is asked and need no flag set.
@frozen @usableFromInline struct QuietGuestMemory: QuietTables {
  @usableFromInline var rules: NestedRules
  @usableFromInline var tables: QuietMemory
  /// Whether reading a guest's entry counts as a write.
  @usableFromInline let writesTables: Bool
  /// Entries of first-stage tables.
  @usableFromInline var firstReads: UInt32 = 0

  @inline(__always) @usableFromInline
  init(_ parameters: UnsafePointer<NestedControls>, _ access: pgk_access_v1, _ memory: PhysicalMemory) {
    rules = NestedRules(parameters, access, isUserPage: true)
    writesTables = rules.isWritten(.tableRead)
    tables = QuietMemory(memory)
  }

  @inline(__always) @usableFromInline var reads: UInt32 { tables.reads &+ firstReads }
  @inline(__always) @usableFromInline var secondReads: UInt32 { tables.reads }

  @inline(__always) @usableFromInline
  mutating func load(_ slot: UInt64, byteCount: UInt64, _ entry: inout UInt64) -> Bool {
    var place = QuietPlace()
    guard find(slot, isWritten: writesTables, &place), place.rights.has(rules.parameters.pointee.tableRights) else { return false }
    firstReads &+= 1
    guard let pointer = tables.memory.fastPointer(place.address) else { return false }
    entry = byteCount == 8 ? pointer.load(as: UInt64.self) : UInt64(truncatingIfNeeded: pointer.load(as: UInt32.self))
    return true
  }

  /// The final address, and both stages in one result.
  @inline(__always) @usableFromInline mutating func complete(_ result: inout WalkResult) -> Bool {
    rules.isUserPage = result.rights.has(.user)
    let isWritten = rules.isWritten(.final)
    var place = QuietPlace()
    guard find(result.output, isWritten: isWritten, &place), rules.refusal(place.rights, .final) == .none else { return false }
    var output = SecondStageOutput()
    output.address = Address(place.address)
    output.pageShift = place.pageShift
    output.rights = rules.secondRights(isWritten ? place.rights.union(.dirty) : place.rights)
    combine(&result, output)
    return true
  }

  /// Through the second stage's tables, whatever its format.
  @inline(never) @usableFromInline
  mutating func find(_ address: UInt64, isWritten: Bool, _ place: inout QuietPlace) -> Bool {
    switch rules.parameters.pointee.kind {
    case .nptFourLevel: look(FourLevel.self, UnsafePointer(rules.parameters.pointee.controls), address, isWritten, &place)
    case .ept4: look(EPT4.self, UnsafePointer(rules.parameters.pointee.eptControls), address, isWritten, &place)
    case .nptFiveLevel: look(FiveLevel.self, UnsafePointer(rules.parameters.pointee.controls), address, isWritten, &place)
    case .ept5: look(EPT5.self, UnsafePointer(rules.parameters.pointee.eptControls), address, isWritten, &place)
    case .nptPAE: look(PAE.self, UnsafePointer(rules.parameters.pointee.controls), address, isWritten, &place)
    case .nptTwoLevel: look(TwoLevel.self, UnsafePointer(rules.parameters.pointee.controls), address, isWritten, &place)
    case .none: false
    }
  }

  @inline(__always) @usableFromInline
  mutating func look<Format: PageTableFormat>(
    _ format: Format.Type, _ controls: Format.Controls, _ address: UInt64, _ isWritten: Bool, _ place: inout QuietPlace
  ) -> Bool {
    guard address &>> min(Format.radix.inputBits, 52) == 0 else { return false }
    let root = WalkStart(table: rules.parameters.pointee.root, level: Format.radix.levelCount &- 1)
    let seen = Glance<Format>(address, from: root, isWritten: isWritten, controls, &tables)
    place.address = seen.output
    place.pageShift = seen.pageShift
    place.rights = seen.rights
    return seen.isPlain
  }
}

/// Where a guest-physical address lies, and what the second stage's entries allow there.
@frozen @usableFromInline struct QuietPlace {
  @usableFromInline var address: UInt64 = 0
  @usableFromInline var pageShift: UInt64 = 12
  @usableFromInline var rights: Rights = []
  @inline(__always) @usableFromInline init() {}
}
