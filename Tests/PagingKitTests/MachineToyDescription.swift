// A small architecture for the tests of the core, linked in. It has what the core must cope with: formats of several
// shapes, identifiers, groups that are listed whole, and a record of faults with a length of its own.
import CPagingKit
import PagingKit

/// What lives as long as the process, as descriptions must.
private func lasting<T>(_ items: [T]) -> UnsafePointer<T> {
  let buffer = UnsafeMutablePointer<T>.allocate(capacity: max(1, items.count))
  buffer.initialize(from: items, count: items.count)
  return UnsafePointer(buffer)
}

private func lasting(_ text: String) -> UnsafePointer<CChar> { lasting(Array(text.utf8CString)) }

private func named(_ names: [String]) -> UnsafePointer<pgk_name_v1> {
  lasting(names.map { pgk_name_v1(name: lasting($0), help: lasting("")) })
}

/// The toy's shapes: index bits of each level, level 0 first.
struct ToyFormat {
  var name: String
  var indexBits: [UInt8]
  var leaves: [Bool]
  var entryBytes: UInt8
  var outputBits: UInt8
  var isSignExtended = false
  var rootAlignmentShift: UInt8 = 12
  /// What an unused entry looks like.
  var absent: UInt64 = 0

  var inputBits: UInt8 { 12 + indexBits.reduce(0, +) }

  func shift(_ level: Int) -> UInt64 { 12 + indexBits[..<level].reduce(0) { $0 + UInt64($1) } }

  static let all = [
    ToyFormat(name: "two", indexBits: [10, 10], leaves: [true, true], entryBytes: 4, outputBits: 32),
    ToyFormat(
      name: "three", indexBits: [9, 9, 9], leaves: [true, true, true], entryBytes: 8, outputBits: 48,
      isSignExtended: true, absent: 0x200),
    ToyFormat(
      name: "narrow", indexBits: [9, 9, 2], leaves: [true, true, false], entryBytes: 8, outputBits: 40,
      rootAlignmentShift: 5),
    ToyFormat(
      name: "wide", indexBits: [9, 9, 11], leaves: [true, true, true], entryBytes: 8, outputBits: 40,
      rootAlignmentShift: 14),
  ]
}

enum ToyOutcome: UInt8, CaseIterable { case finished, absent, denied, nonCanonical, hole }

enum ToyCounter: Int, CaseIterable { case accesses, walks, entryReads, tlbHits, faults, invalidations, traps }

/// Bits of an entry, the same at every level.
enum ToyBits {
  static let valid: UInt64 = 1, leaf: UInt64 = 2
  static let attributeShift: UInt64 = 2  // read, write, execute, user, global, accessed, dirty follow
  static let address: UInt64 = 0xffff_ffff_f000
}

/// Addresses of special accesses.
enum ToySpecial {
  static let enable: UInt64 = 0x10, switchSpace: UInt64 = 0x11
  static let invalidatePage: UInt64 = 0x20, invalidateIdentifier: UInt64 = 0x21, invalidateAll: UInt64 = 0x22
  static let recordCount: UInt64 = 0x30, acknowledge: UInt64 = 0x31
  static let trapEntry: UInt64 = 0x40, trapReturn: UInt64 = 0x41
  static let record: UInt64 = 0x1000  // three words for each recorded operation
}

enum Toy {
  static let architecture = Architecture(table: lasting([table]))

  nonisolated(unsafe) private static let formats = lasting(ToyFormat.all.map { format in
    var f = pgk_format_v1()
    f.name = lasting(format.name)
    f.title = f.name
    f.reference = f.name
    f.entry_bytes = format.entryBytes
    f.stage = 1
    f.input_bits = format.inputBits
    f.output_bits = format.outputBits
    f.sign_extended = format.isSignExtended ? 1 : 0
    f.root_alignment_shift = format.rootAlignmentShift
    f.attributes = 0x7f
    f.levels = lasting(format.indexBits.indices.map { level in
      pgk_level_v1(
        name: lasting("L\(level)"), index_bits: format.indexBits[level], shift: UInt8(format.shift(level)),
        leaf: format.leaves[level] ? 1 : 0, reserved: 0, reserved2: 0)
    })
    f.level_count = format.indexBits.count
    return f
  })

  nonisolated(unsafe) private static let regimes = lasting(ToyFormat.all.indices.map {
    pgk_regime_v1(
      name: lasting(ToyFormat.all[$0].name), help: lasting(""), first_format: UInt8($0),
      second_format: UInt8(PGK_NO_FORMAT), user: 1, supervisor: 0, reserved: 0)
  })

  nonisolated(unsafe) private static let description: UnsafePointer<pgk_description_v1> = {
    var d = pgk_description_v1()
    d.size = UInt32(MemoryLayout<pgk_description_v1>.size)
    d.abi = PGK_ABI
    d.name = lasting("toy")
    d.title = d.name
    d.version = d.name
    d.reference = d.name
    d.formats = formats
    d.format_count = ToyFormat.all.count
    d.regimes = regimes
    d.regime_count = ToyFormat.all.count
    d.privileges = lasting(["supervisor", "user"].map { pgk_privilege_v1(name: lasting($0), help: lasting("")) })
    d.privilege_count = 2
    d.outcomes = lasting(ToyOutcome.allCases.map {
      pgk_outcome_v1(name: lasting("\($0)"), help: lasting(""), number: -1, fault: $0 == .finished ? 0 : 1)
    })
    d.outcome_count = ToyOutcome.allCases.count
    d.counters = named(ToyCounter.allCases.map { "\($0)" })
    d.counter_count = ToyCounter.allCases.count
    d.caches = lasting([pgk_cache_v1(name: lasting("tlb"), help: lasting(""), kind: PGK_CACHE_TLB, stage: 1)])
    d.cache_count = 1
    d.verdicts = 0x7f
    d.identifier_bits = 4
    return lasting([d])
  }()

  nonisolated(unsafe) private static let table: pgk_arch_v1 = {
    var t = pgk_arch_v1()
    t.size = UInt32(MemoryLayout<pgk_arch_v1>.size)
    t.abi = PGK_ABI
    t.description = description
    t.os = lasting([ToyServices.table])
    t.open = { _, _, map, options, count, error in
      var unit = ToyUnit(map!)
      for i in 0..<count {
        let name = String(cString: options![i].name), value = String(cString: options![i].value)
        guard unit.set(name, value) else {
          error!.pointee.code = PGK_E_ARGUMENT
          return nil
        }
      }
      return OpaquePointer(Unmanaged.passRetained(unit).toOpaque())
    }
    t.close = { Unmanaged<ToyUnit>.fromOpaque(UnsafeRawPointer($0!)).release() }
    t.message = { UnsafePointer(toy($0).message) }
    t.regime = { Int32(toy($0).regime) }
    t.run = { unit, accesses, values, results, count in toy(unit).run(accesses!, values, results!, count) }
    t.pending = { unit, list, capacity in
      let pending = toy(unit).pending
      for (i, item) in pending.prefix(capacity).enumerated() { list![i] = item.listed }
      return pending.count
    }
    t.resume = { unit, verdicts, count, completions, _ in toy(unit).resume(verdicts!, count, completions!) }
    t.counters = { unit, values, capacity in
      for i in 0..<min(capacity, ToyCounter.allCases.count) { values![i] = toy(unit).counts[i] }
      return ToyCounter.allCases.count
    }
    t.reset = { unit, what in
      if what & PGK_RESET_COUNTERS != 0 { toy(unit).counts = ToyUnit.noCounts }
      return 0
    }
    t.dump = { unit, _, entries, capacity in toy(unit).dump(entries, capacity) }
    t.observe = { unit, observer in
      toy(unit).observer = observer?.pointee
      return 0
    }
    t.decode = { _, format, level, bits, entries, count in
      for i in 0..<count { entries![i] = ToyUnit.decode(bits![i], Int(format), Int(level)) }
      return 0
    }
    t.encode = { unit, format, level, entries, bits, count in
      for i in 0..<count {
        guard let value = ToyUnit.encode(&entries![i], Int(format), Int(level)) else {
          toy(unit).say("level \(level) of \(ToyFormat.all[Int(format)].name) cannot hold \(hexText(entries![i].output))")
          return PGK_E_ARGUMENT
        }
        bits![i] = value
      }
      return 0
    }
    return t
  }()
}

func toy(_ handle: OpaquePointer?) -> ToyUnit { Unmanaged<ToyUnit>.fromOpaque(UnsafeRawPointer(handle!)).takeUnretainedValue() }

func hexText(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
