import CPagingKit
import PagingKit

/// How the toy performs accesses: in groups, listing what a stopped group could not finish.
extension ToyUnit {
  struct Stop: Error { var listed: pgk_listed_v1 }

  func run(
    _ accesses: UnsafePointer<pgk_access_v1>, _ values: UnsafeMutablePointer<pgk_value_v1>?,
    _ results: UnsafeMutablePointer<pgk_result_v1>, _ count: Int
  ) -> Int64 {
    guard pending.isEmpty else { return Int64(PGK_E_PENDING) }
    var done = 0
    while done < count, pending.isEmpty {
      let end = groupEnd(accesses, done, count)
      for i in done..<end {
        var value = values?[i] ?? pgk_value_v1()
        do throws(Stop) {
          if !pending.isEmpty { throw Stop(listed: judged(accesses[i], value)) }
          results[i] = try perform(accesses[i], &value)
          values?[i] = value
        } catch {
          pending.append(Item(listed: error.listed))
          results[i] = pgk_result_v1()
          results[i].outcome = UInt8(PGK_OUTCOME_LISTED)
        }
      }
      done = end
    }
    return Int64(done)
  }

  private func groupEnd(_ accesses: UnsafePointer<pgk_access_v1>, _ start: Int, _ count: Int) -> Int {
    var end = start + 1
    while end < count, end - start < groupLength, accesses[end - 1].flags & UInt8(PGK_END_OF_GROUP) == 0,
      accesses[end].kind != PGK_SPECIAL { end += 1 }
    return end
  }

  /// An access behind one that stopped: not performed, only judged.
  private func judged(_ access: pgk_access_v1, _ value: pgk_value_v1) -> pgk_listed_v1 {
    do {
      var outputs: [UInt64] = []
      for address in parts(of: access) { outputs.append(try translate(access, address).output) }
      let isDevice = access.kind != PGK_SPECIAL && access.flags & UInt8(PGK_TRANSLATE_ONLY) == 0
        && region(outputs[0])!.kind == PGK_REGION_DEVICE
      var item = listed(access, value, isDevice ? PGK_CLASS_DEVICE : PGK_CLASS_COLLATERAL)
      item.guest_physical = outputs[0]
      item.flags = UInt8(PGK_LISTED_HAS_GUEST_PHYSICAL)
      return item
    } catch {
      return listed(access, value, error)
    }
  }

  private func parts(of access: pgk_access_v1) -> [UInt64] {
    let last = access.address + (1 << UInt64(access.size_log2)) - 1
    return last >> 12 == access.address >> 12 ? [access.address] : [access.address, last & ~0xfff]
  }

  private func listed(_ access: pgk_access_v1, _ value: pgk_value_v1, _ class_: UInt32) -> pgk_listed_v1 {
    var item = pgk_listed_v1()
    item.access = access
    item.value = value
    item.fault_address = access.address
    item.slot = UInt64.max
    item.class_ = UInt8(class_)
    return item
  }

  private func listed(_ access: pgk_access_v1, _ value: pgk_value_v1, _ failure: Failure) -> pgk_listed_v1 {
    var item = listed(access, value, PGK_CLASS_GUEST_FAULT)
    item.fault_address = failure.address
    item.slot = failure.slot
    item.entry_reads = failure.reads
    item.outcome = failure.outcome.rawValue
    item.level = UInt8(failure.level)
    item.stage = 1
    count(.faults)
    return item
  }

  private func perform(_ access: pgk_access_v1, _ value: inout pgk_value_v1) throws(Stop) -> pgk_result_v1 {
    count(.accesses)
    if access.kind == PGK_SPECIAL { return performSpecial(access, &value) }
    var translations: [Translation] = []
    for address in parts(of: access) {
      do { translations.append(try translate(access, address)) } catch { throw Stop(listed: listed(access, value, error)) }
    }
    if access.flags & UInt8(PGK_TRANSLATE_ONLY) == 0 {
      if region(translations[0].output)!.kind == PGK_REGION_DEVICE {
        var item = listed(access, value, PGK_CLASS_DEVICE)
        item.guest_physical = translations[0].output
        item.flags = UInt8(PGK_LISTED_HAS_GUEST_PHYSICAL)
        throw Stop(listed: item)
      }
      move(access, translations, &value)
    }
    let first = translations[0]
    return pgk_result_v1(
      output: first.output, outcome: 0, level: UInt8(first.level), page_shift: UInt8(first.shift), rights: first.rights,
      entry_reads: translations.reduce(0) { $0 + $1.reads })
  }

  private func move(_ access: pgk_access_v1, _ translations: [Translation], _ value: inout pgk_value_v1) {
    var loaded: UInt64 = 0
    for i in 0..<UInt64(min(8, 1 << access.size_log2)) {
      let isSecond = translations.count > 1 && (access.address + i) >> 12 != access.address >> 12
      let output = isSecond ? translations[1].output + (access.address + i) & 0xfff : translations[0].output + i
      guard let place = bytes(output) else { continue }
      loaded |= UInt64(place.load(as: UInt8.self)) << (8 * i)
      if access.kind == PGK_WRITE || access.kind == PGK_MODIFY {
        place.storeBytes(of: UInt8(truncatingIfNeeded: value.low >> (8 * i)), as: UInt8.self)
      }
    }
    if access.kind != PGK_WRITE { value.low = loaded }
  }

  private func performSpecial(_ access: pgk_access_v1, _ value: inout pgk_value_v1) -> pgk_result_v1 {
    switch access.address {
    case ToySpecial.enable:
      (isOn, root, identifier, regime) = (true, value.low, value.high & 0xff, Int(value.high >> 8))
    case ToySpecial.switchSpace: (root, identifier) = (value.low, value.high)
    case ToySpecial.invalidatePage:
      count(.invalidations)
      tlb[Key(page: value.low >> 12, identifier: value.high)] = nil
      tlb[Key(page: value.low >> 12, identifier: .max)] = nil
    case ToySpecial.invalidateIdentifier:
      count(.invalidations)
      tlb = tlb.filter { $0.key.identifier != value.high }
    case ToySpecial.invalidateAll:
      count(.invalidations)
      tlb = [:]
    case ToySpecial.recordCount: value.low = UInt64(record.count)
    case ToySpecial.acknowledge: record = []
    case ToySpecial.trapEntry: count(.traps)
    case ToySpecial.trapReturn: break
    default: value = recordWord(Int(access.address - ToySpecial.record))
    }
    return pgk_result_v1()
  }

  private func recordWord(_ index: Int) -> pgk_value_v1 {
    let item = record[index / 3]
    var value = pgk_value_v1()
    switch index % 3 {
    case 0:
      value.low = item.access.address
      value.high = item.fault_address
    case 1:
      let a = item.access
      value.low = UInt64(a.kind) | UInt64(a.size_log2) << 8 | UInt64(a.privilege) << 16 | UInt64(a.flags) << 24 | UInt64(a.tag) << 32
      value.high = UInt64(item.outcome) | UInt64(item.class_) << 8
    default: value = item.value
    }
    return value
  }

  // MARK: Answers

  func resume(_ verdicts: UnsafePointer<pgk_verdict_v1>, _ count: Int, _ completions: UnsafeMutablePointer<pgk_completion_v1>) -> Int64 {
    guard !pending.isEmpty else { return Int64(PGK_E_PENDING) }
    for i in 0..<min(count, pending.count) where verdicts[i].kind != PGK_VERDICT_LEAVE { pending[i].answer = verdicts[i] }
    var done = 0
    while !isStubborn, let item = pending.first {
      let access = item.listed.access
      let kind = UInt32(item.answer?.kind ?? UInt8(PGK_VERDICT_REPLAY))
      var completion = pgk_completion_v1()
      completion.tag = access.tag
      completion.value = item.listed.value
      switch kind {
      case PGK_VERDICT_REFLECT:
        record.append(contentsOf: pending.map(\.listed))
        pending = []
        return Int64(done)
      case PGK_VERDICT_COMPLETE: completion.value = item.answer!.value
      case PGK_VERDICT_DROP: completion.result.outcome = UInt8(PGK_OUTCOME_DROPPED)
      default:
        do { completion.result = try perform(access, &completion.value) } catch {
          pending[0] = Item(listed: error.listed)
          return Int64(done)
        }
      }
      completions[done] = completion
      done += 1
      pending.removeFirst()
    }
    return Int64(done)
  }
}

/// What an operating system does on the toy.
enum ToyServices {
  typealias Accesses = UnsafeMutablePointer<pgk_access_v1>?
  typealias Values = UnsafeMutablePointer<pgk_value_v1>?

  static func special(_ address: UInt64, _ low: UInt64 = 0, _ high: UInt64 = 0, at i: Int = 0, _ a: Accesses, _ v: Values) {
    a![i] = pgk_access_v1(
      address: address, kind: UInt8(PGK_SPECIAL), size_log2: 3, privilege: 0,
      flags: UInt8(PGK_HAS_VALUE | PGK_END_OF_GROUP), tag: 0)
    v![i] = pgk_value_v1()
    v![i].low = low
    v![i].high = high
  }

  static let table: pgk_os_v1 = {
    var os = pgk_os_v1()
    os.size = UInt32(MemoryLayout<pgk_os_v1>.size)
    os.abi = PGK_ABI
    os.enable_translation = { _, regime, root, identifier, a, v, _ in
      special(ToySpecial.enable, root, UInt64(identifier) | UInt64(regime) << 8, a, v)
      return 1
    }
    os.switch_space = { _, root, identifier, a, v, _ in
      special(ToySpecial.switchSpace, root, UInt64(identifier), a, v)
      return 1
    }
    os.invalidate = { _, scope, address, byteCount, identifier, a, v, capacity in
      switch scope & 0xff {
      case PGK_SCOPE_PAGE, PGK_SCOPE_RANGE:
        let pages = scope & 0xff == PGK_SCOPE_PAGE ? 1 : Int(byteCount >> 12)
        guard pages <= 64 else {
          special(ToySpecial.invalidateIdentifier, 0, UInt64(identifier), a, v)
          return 1
        }
        guard pages <= capacity else { return Int64(PGK_E_CAPACITY) }
        for i in 0..<pages { special(ToySpecial.invalidatePage, address + UInt64(i) << 12, UInt64(identifier), at: i, a, v) }
        return Int64(pages)
      case PGK_SCOPE_IDENTIFIER: special(ToySpecial.invalidateIdentifier, 0, UInt64(identifier), a, v)
      default: special(ToySpecial.invalidateAll, 0, 0, a, v)
      }
      return 1
    }
    os.trap_entry = { _, a, v, _ in
      special(ToySpecial.trapEntry, 0, 0, a, v)
      return 1
    }
    os.trap_return = { _, a, v, _ in
      special(ToySpecial.trapReturn, 0, 0, a, v)
      return 1
    }
    os.read_faults = { _, a, v, known, capacity in
      if known == 0 { special(ToySpecial.recordCount, 0, 0, a, v) }
      guard known > 0 else { return 1 }
      guard known == 1 else { return 0 }
      let words = Int(v![0].low) * 3
      guard words <= capacity else { return Int64(PGK_E_CAPACITY) }
      for i in 0..<words { special(ToySpecial.record + UInt64(i), 0, 0, at: i, a, v) }
      return Int64(words)
    }
    os.decode_faults = { _, _, v, count, listed, capacity in
      let operations = (count - 1) / 3
      guard operations <= capacity else { return Int64(PGK_E_CAPACITY) }
      for i in 0..<operations {
        var item = pgk_listed_v1()
        let address = v![1 + 3 * i], word = v![2 + 3 * i]
        item.access = pgk_access_v1(
          address: address.low, kind: UInt8(word.low & 0xff), size_log2: UInt8(word.low >> 8 & 0xff),
          privilege: UInt8(word.low >> 16 & 0xff), flags: UInt8(word.low >> 24 & 0xff), tag: UInt32(word.low >> 32))
        item.fault_address = address.high
        item.outcome = UInt8(word.high & 0xff)
        item.class_ = UInt8(word.high >> 8)
        item.slot = UInt64.max
        item.value = v![3 + 3 * i]
        listed![i] = item
      }
      return Int64(operations)
    }
    os.reexecute = { _, listed, a, v, _ in
      a![0] = listed!.pointee.access
      v![0] = listed!.pointee.value
      return 1
    }
    os.acknowledge = { _, a, v, _ in
      special(ToySpecial.acknowledge, 0, 0, a, v)
      return 1
    }
    return os
  }()
}
