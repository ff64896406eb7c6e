// The rules that decide a step of a walk, for who asks why.
import CPagingKit
import PagingKit

/// Each rule in words, with the manual's section title.
enum Rule: Int, CaseIterable {
  case none, pointer, leaf, tlbHit, walkCache, updated, translated
  case canonical, notPresent, reservedBits, pointerBits, memoryType, contiguous, writeOnly, lastPointer, misaligned
  case read, write, execute, userPage, supervisorPage
  case accessed, dirty, shadowStack, entryHole, outputHole, tooWide, contention
  case guestWidth, guestUser, guestRead, guestWrite, guestExecute, guestAccessed, guestDirty

  var index: UInt32 { UInt32(rawValue) }

  /// The entry, as its format reads it, tells apart what one reason stands for.
  static func deciding(_ reason: FaultReason, stage: UInt8, kind: UInt32, entry: Entry = Entry(0), _ controls: EntryControls = EntryControls()) -> Rule {
    switch reason {
    case .none: deciding(kind: kind)
    case .nonCanonical: stage == 2 ? .guestWidth : .canonical
    case .notPresent, .invalid: .notPresent
    case .reserved: reserved(entry, controls)
    case .misconfigured: isPointer(entry) ? .lastPointer : .writeOnly
    case .misaligned: .misaligned
    case .readDenied: stage == 2 ? .guestRead : .read
    case .writeDenied: stage == 2 ? .guestWrite : .write
    case .executeDenied: stage == 2 ? .guestExecute : .execute
    case .privilege: stage == 2 ? .guestUser : .supervisorPage
    case .userPage: .userPage
    case .accessedClear: stage == 2 ? .guestAccessed : .accessed
    case .dirtyClear: stage == 2 ? .guestDirty : .dirty
    case .pageKind: .shadowStack
    case .entryHole: .entryHole
    case .outputHole: .outputHole
    case .tooWide: .tooWide
    case .contention: .contention
    default: .none
    }
  }

  private static func isPointer(_ entry: Entry) -> Bool { entry.bits & (Sv39.R.mask | Sv39.W.mask | Sv39.X.mask) == 0 }

  /// Which reserved bits or encoding. An entry of 4 bytes has none but those of a pointer.
  private static func reserved(_ entry: Entry, _ controls: EntryControls) -> Rule {
    if entry.has(Sv39.reserved) { return .reservedBits }
    let type = entry.bits & Sv39.PBMT.mask
    if type != 0 && (isPointer(entry) || type & controls.leafReserved != 0 || type == Sv39.PBMT.mask) { return .memoryType }
    return entry.has(Sv39.N) ? .contiguous : .pointerBits
  }

  private static func deciding(kind: UInt32) -> Rule {
    switch kind {
    case PGK_STEP_TABLE: .pointer
    case PGK_STEP_LEAF: .leaf
    case PGK_STEP_CACHED: .walkCache
    case PGK_STEP_UPDATED: .updated
    case PGK_STEP_TLB_HIT: .tlbHit
    case PGK_STEP_TRANSLATED: .translated
    default: .none
    }
  }

  private static let process = "Virtual Address Translation Process"
  private static let memory = "Addressing and Memory Protection"
  private static let guest = "Guest Physical Address Translation"
  private static let fence = "Supervisor Memory-Management Fence Instruction"

  var definition: NamedMeaning {
    switch self {
    case .none: NamedMeaning("nothing decided", Self.process)
    case .pointer: NamedMeaning("R, W and X are clear: the entry points to the next table", Self.process)
    case .leaf: NamedMeaning("R, W or X is set: a leaf", Self.process)
    case .tlbHit: NamedMeaning("an address-translation cache has it", Self.fence)
    case .walkCache: NamedMeaning("a cache of pointers has it", Self.fence)
    case .updated: NamedMeaning("A is set, and D for a store, before the access goes on", Self.process)
    case .translated: NamedMeaning("the translation is successful", Self.process)
    case .canonical: NamedMeaning("the bits above the virtual address must repeat its top bit", Self.memory)
    case .notPresent: NamedMeaning("V is clear", Self.process)
    case .reservedBits: NamedMeaning("bits 60:54 are reserved and must be zero", "Sv39: Page-Based 39-bit Virtual-Memory System")
    case .pointerBits: NamedMeaning("D, A and U are reserved in a pointer and must be zero", Self.memory)
    case .memoryType: NamedMeaning("PBMT must be zero in a pointer and where PBMTE is clear, and is never 3", "Svpbmt Extension for Page-Based Memory Types")
    case .contiguous: NamedMeaning("N must be zero, but for a leaf of the last table whose PPN[0] ends in 1000 where there is Svnapot", "Svnapot Extension for NAPOT Translation Contiguity")
    case .writeOnly: NamedMeaning("W without R is reserved, but for shadow-stack pages (W alone) where SSE is set", Self.memory)
    case .lastPointer: NamedMeaning("an entry of the last table must be a leaf", Self.process)
    case .misaligned: NamedMeaning("the page number of a superpage is not aligned to its size", Self.process)
    case .read: NamedMeaning("a load needs R, or X where MXR is set", Self.memory)
    case .write: NamedMeaning("a store or AMO needs W", Self.memory)
    case .execute: NamedMeaning("a fetch or HLVX needs X", Self.memory)
    case .userPage: NamedMeaning("the supervisor may not use user pages, unless loads and stores are let by SUM", Self.memory)
    case .supervisorPage: NamedMeaning("user mode needs U", Self.memory)
    case .accessed: NamedMeaning("A is clear and hardware does not set it", Self.process)
    case .dirty: NamedMeaning("D is clear at a store and hardware does not set it", Self.process)
    case .shadowStack: NamedMeaning("only shadow-stack instructions store to shadow-stack pages, and they use no others", "Shadow Stack Memory Protection")
    case .entryHole: NamedMeaning("no memory at the address of an entry", Self.process)
    case .outputHole: NamedMeaning("no memory at the address of the access", "Physical Memory Attributes")
    case .tooWide: NamedMeaning("the physical address is wider than the machine's", "Physical Memory Attributes")
    case .contention: NamedMeaning("the update of an entry lost against another writer too often", Self.process)
    case .guestWidth: NamedMeaning("the bits above the guest physical address must be zero", Self.guest)
    case .guestUser: NamedMeaning("every access of the second stage is a user's: U must be set", Self.guest)
    case .guestRead: NamedMeaning("the second stage needs R for a load and to read an entry", Self.guest)
    case .guestWrite: NamedMeaning("the second stage needs W for a store and to update an entry", Self.guest)
    case .guestExecute: NamedMeaning("the second stage needs X for a fetch or HLVX", Self.guest)
    case .guestAccessed: NamedMeaning("A of the second stage is clear and hardware does not set it", Self.guest)
    case .guestDirty: NamedMeaning("D of the second stage is clear at a store or update and hardware does not set it", Self.guest)
    }
  }
}
