// A guest's tables when nothing but reading is to be done in either stage.
import CPagingKit
import PagingKit

/// Guest-physical memory behind second-stage tables that allow what is asked and need no flag set.
@frozen @usableFromInline struct QuietGuestMemory: QuietTables {
  @usableFromInline var rules: NestedRules
  @usableFromInline var tables: QuietMemory
  /// Entries of first-stage tables.
  @usableFromInline var firstReads: UInt32 = 0

  @inline(__always) @usableFromInline
  init(_ parameters: UnsafePointer<NestedControls>, _ access: pgk_access_v1, _ memory: PhysicalMemory) {
    rules = NestedRules(parameters, access, isUserPage: true)
    tables = QuietMemory(memory)
  }

  @inline(__always) @usableFromInline var reads: UInt32 { tables.reads &+ firstReads }
  @inline(__always) @usableFromInline var secondReads: UInt32 { tables.reads }

  @inline(__always) @usableFromInline
  mutating func load(_ slot: UInt64, byteCount: UInt64, _ entry: inout UInt64) -> Bool {
    var output = SecondStageOutput()
    guard translate(slot, .tableRead, &output) else { return false }
    firstReads &+= 1
    guard let pointer = tables.memory.fastPointer(output.address.bits) else { return false }
    entry = byteCount == 8 ? pointer.load(as: UInt64.self) : UInt64(truncatingIfNeeded: pointer.load(as: UInt32.self))
    return true
  }

  /// The final address, and both stages in one result.
  @inline(__always) @usableFromInline mutating func complete(_ result: inout WalkResult) -> Bool {
    rules.isUserPage = result.rights.has(.user)
    var output = SecondStageOutput()
    guard translate(result.output, .final, &output) else { return false }
    combine(&result, output)
    return true
  }

  @inline(never) @usableFromInline
  mutating func translate(_ address: UInt64, _ purpose: Purpose, _ output: inout SecondStageOutput) -> Bool {
    switch rules.nested.kind {
    case .nptFourLevel: look(FourLevel.self, UnsafePointer(rules.nested.controls), address, purpose, &output)
    case .ept4: look(EPT4.self, UnsafePointer(rules.nested.eptControls), address, purpose, &output)
    case .nptFiveLevel: look(FiveLevel.self, UnsafePointer(rules.nested.controls), address, purpose, &output)
    case .ept5: look(EPT5.self, UnsafePointer(rules.nested.eptControls), address, purpose, &output)
    case .nptPAE: look(PAE.self, UnsafePointer(rules.nested.controls), address, purpose, &output)
    case .nptTwoLevel: look(TwoLevel.self, UnsafePointer(rules.nested.controls), address, purpose, &output)
    case .none: false
    }
  }

  @inline(__always) @usableFromInline
  mutating func look<Format: PageTableFormat>(
    _ format: Format.Type, _ controls: Format.Controls, _ address: UInt64, _ purpose: Purpose, _ output: inout SecondStageOutput
  ) -> Bool {
    guard address &>> min(Format.radix.inputBits, 52) == 0 else { return false }
    let isWritten = rules.isWritten(purpose)
    let root = WalkStart(table: rules.nested.root, level: Format.radix.levelCount &- 1)
    let seen = Glance<Format>(address, from: root, isWritten: isWritten, controls, &tables, path: nil)
    guard seen.isPlain, rules.refusal(seen.rights, purpose) == .none else { return false }
    output.address = Address(seen.output)
    output.pageShift = seen.pageShift
    output.collected = isWritten ? seen.rights.union(.dirty) : seen.rights
    output.rights = rules.secondRights(output.collected)
    return true
  }
}
