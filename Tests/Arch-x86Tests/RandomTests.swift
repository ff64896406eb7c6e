// Random processors, judged access by access. On a difference the seed and everything needed to see it is printed.
import CPagingKit
import Glibc
import PagingKit
import Testing

@testable import Arch_x86

let isNightly = getenv("NIGHTLY") != nil
let randomSeed = getenv("SEED").flatMap { UInt64(String(cString: $0)) } ?? 2026

/// Cases per run, by how much time there is.
func caseCount(_ count: UInt64) -> UInt64 {
  #if DEBUG
    return max(10, count / 10) * (isNightly ? 10 : 1)
  #else
    return count * (isNightly ? 20 : 1)
  #endif
}

/// A model: options of the unit, and what they mean to the judge.
struct Model: Sendable {
  var maxPhysical: UInt64 = 40
  var isAMD = false
  var isEager = false
  var hasPage1GiB = true
  var hasEPTExecuteOnly = true
  var hasEPT2MiB = true
  var hasEPT1GiB = true
  var hasAdvancedInformation = false

  var judged: JudgedProcessor {
    var processor = JudgedProcessor()
    processor.maxPhysical = maxPhysical
    processor.isAMD = isAMD
    processor.isEager = isEager
    processor.hasPage1GiB = hasPage1GiB
    processor.hasEPTExecuteOnly = hasEPTExecuteOnly
    processor.hasEPT2MiB = hasEPT2MiB
    processor.hasEPT1GiB = hasEPT1GiB
    return processor
  }

  func options(_ shape: Shape) -> [(String, String)] {
    let mode = switch shape.below {
    case .nothing: "native"
    case .nestedPaging: "npt"
    case .ept: "ept"
    }
    return [
      ("maxphyaddr", "\(maxPhysical)"), ("vendor", isAMD ? "amd" : "intel"), ("ad_policy", isEager ? "eager" : "commit"),
      ("page1gb", "\(hasPage1GiB)"), ("ept.execute_only", "\(hasEPTExecuteOnly)"), ("ept.page_2m", "\(hasEPT2MiB)"),
      ("ept.page_1g", "\(hasEPT1GiB)"), ("ept.advanced", "\(hasAdvancedInformation)"), ("mode", mode),
    ]
  }
}

/// One series of random cases.
struct RandomRun {
  let shape: Shape
  let model: Model
  /// With TLBs and walk caches.
  var isWarm = false
  /// Their options.
  var caches: [(String, String)] = []
  /// Whether an observer finds the guest-physical addresses.
  var isWatched = false

  /// The first difference in words, or nil.
  func firstDifference(cases: UInt64, stream: UInt64) throws -> String? {
    let windows = Windows()
    let processor = try Processor(model.options(shape) + (isWarm ? caches : Processor.noCaches), windows: windows)
    for number in 0..<cases {
      let seed = (randomSeed &+ stream << 40) &+ number &* 0x1_0001
      if let difference = try difference(seed, processor, isWatched: isWatched) { return "\(shape), \(model.options(shape)), seed \(seed): \(difference)" }
    }
    return nil
  }

  func registers(_ p: JudgedProcessor) -> [(String, UInt64)] {
    var list: [(String, UInt64)] = [
      ("cr0", p.cr0), ("cr3", p.cr3), ("cr4", p.cr4), ("efer", p.efer), ("rflags", p.rflags), ("pkru", p.pkru), ("pkrs", p.pkrs),
    ]
    switch shape.below {
    case .nothing: break
    case .nestedPaging: list += [("nested.ncr3", p.hostCR3), ("nested.cr4", p.hostCR4), ("nested.efer", p.hostEFER)]
    case .ept:
      list += [("ept.eptp", p.eptp), ("ept.mbec", p.hasModeBasedExecute ? 1 : 0)]
      if shape.first == .pae { list += p.pointers.enumerated().map { ("ept.pdptes.\($0)", $1) } }
    }
    return list
  }

  private func difference(_ seed: UInt64, _ machine: Processor, isWatched: Bool) throws -> String? {
    var scene = Scene(seed: seed, shape: shape, model: model.judged, windows: machine.windows)
    defer { scene.clear() }
    try machine.unit.reset(PGK_RESET_CACHES | PGK_RESET_REGISTERS | PGK_RESET_PENDING)
    let registers = registers(scene.processor)
    let load = try machine.set(registers)
    if shape.first == .pae && shape.below == .nothing {
      let pointers = Judge.pointers(scene.processor, JudgedMemory(word: machine.windows.word))
      if (pointers == nil) != (load == Named.generalProtection) { return "loading PDPTEs gave \(x86.outcomeName(load)); \(registers)" }
      guard let pointers else { return nil }
      scene.processor.pointers = pointers
    } else if load != 0 {
      return "loading registers gave \(x86.outcomeName(load)); \(registers)"
    }
    for number in 0..<5 {
      let (access, address, byteCount) = scene.access()
      let memory = JudgedMemory(word: machine.windows.word)
      let judge = Judge(scene.processor, memory, hasAdvancedInformation: model.hasAdvancedInformation)
      let expected = judge.rule(access, at: address, byteCount: byteCount)
      let found = try machine.perform(access, address, byteCount: byteCount, watching: isWatched)
      let text = "access \(number), \(access.privilege) \(access.kind) of \(byteCount) at \(hex(address)): "
        + "expected \(expected), \(memory.readCount) reads; found \(found.ruling), \(found.reads) reads"
      func report(_ more: String) -> String {
        let state = registers.map { "\($0.0) \(hex($0.1))" }.joined(separator: ", ")
        let tables = scene.words.keys.sorted().map { "[\(hex($0))] \(hex(scene.words[$0]!))" }.joined(separator: " ")
        return "\(more)\n  \(text)\n  \(state)\n  \(tables)"
      }
      if !expected.agrees(with: found.ruling, isWatched: isWatched) { return report("another answer") }
      if !isWarm && !memory.isTangled && memory.readCount != Int(found.reads) { return report("another number of reads") }
      for (address, value) in scene.words {
        let expected = memory.changed[address] ?? value
        let actual = machine.windows.load(address)
        if actual != expected { return report("word \(hex(address)) should be \(hex(expected)) and is \(hex(actual))") }
      }
      for (address, value) in memory.changed {
        if machine.windows.load(address) != value { return report("word \(hex(address)) should be \(hex(value))") }
        scene.words[address] = value
      }
    }
    return seed & 7 == 0 ? stray(scene, machine.windows) : nil
  }

  /// A word beside the tables' that was written.
  private func stray(_ scene: Scene, _ windows: Windows) -> String? {
    for page in Set(scene.words.keys.map { $0 & ~0xfff }) {
      for offset in stride(from: 0, to: 4096, by: 8) as StrideTo<UInt64> where scene.words[page + offset] == nil {
        if windows.load(page + offset) != 0 { return "a word at \(hex(page + offset)) that is no entry was written" }
      }
    }
    return nil
  }

}

extension Ruling {
  /// Whether what was found is what is ruled here; a guest-physical address that was reached only if it was watched.
  func agrees(with found: Ruling, isWatched: Bool = false) -> Bool {
    switch (self, found) {
    case (.reaches(let pa, let gpa), .reaches(let foundPA, let foundGPA)):
      return pa == foundPA && (!isWatched || gpa == foundGPA)
    case (.eptViolation(let qualification, let mask, let gpa, let linear), .eptViolation(let other, _, let otherGPA, let otherLinear)):
      return qualification == other & mask && gpa == otherGPA && linear == otherLinear
    default: return self == found
    }
  }
}

extension Scene {
  mutating func access() -> (JudgedAccess, UInt64, byteCount: UInt64) {
    var privileges: [JudgedAccess.Privilege] = [.supervisor, .supervisor, .supervisor, .user, .user, .user, .implicit]
    if processor.cr4 >> 23 & 1 == 1 && shape.first != nil { privileges += [.userShadowStack, .supervisorShadowStack, .userShadowStack] }
    var access = JudgedAccess(kind: pick([.read, .read, .write, .write, .modify, .fetch, .fetch]), privilege: pick(privileges))
    if access.isFetch && (access.isShadowStack || access.privilege == .implicit) { access.kind = .read }
    var address = pick(targets)
    switch random.next(below: 20) {
    case 0: address ^= 1 << random.next(below: shape.first?.isLong == true ? 64 : 32)
    case 1: address = address & ~0xfff | (0xff0 + random.next(below: 16))
    case 2: address ^= bits(30)
    default: address |= bits(12)
    }
    // What LAM does to implicit and shadow-stack accesses is not tested: they have no metadata.
    if shape.first?.isLong == true && chance(30) && (access.privilege == .supervisor || access.privilege == .user) {
      address ^= bits(15) << 48 & bits(63)
    }
    if shape.first?.isLong != true { address &= 0xffff_ffff }
    return (access, address, 1 << random.next(below: access.isFetch ? 5 : 5))
  }
}

private let guests: [TableKind?] = [nil, .twoLevel, .pae, .fourLevel, .fiveLevel]
private let oneStage: [Shape] = guests.map { Shape(first: $0) }
private let underNested: [Shape] = guests.flatMap { first in
  [TableKind.twoLevel, .pae, .fourLevel, .fiveLevel].map { Shape(first: first, second: $0) }
}
private let underEPT: [Shape] = guests.flatMap { first in [TableKind.ept4, .ept5].map { Shape(first: first, second: $0) } }
private let every: [Shape] = oneStage + underNested + underEPT

/// Models that differ in everything that has a rule.
private let models = [
  Model(), Model(maxPhysical: 52, isEager: true), Model(maxPhysical: 36, isAMD: true, hasPage1GiB: false),
  Model(maxPhysical: 46, isAMD: true, isEager: true), Model(maxPhysical: 32, hasEPTExecuteOnly: false, hasAdvancedInformation: true),
  Model(maxPhysical: 48, hasPage1GiB: false, hasEPT2MiB: false, hasEPT1GiB: false),
  Model(maxPhysical: 39, isEager: true, hasEPTExecuteOnly: false, hasEPT1GiB: false, hasAdvancedInformation: true),
]

@Suite struct `A random x86 processor` {
  private func check(_ shape: Shape, cases: UInt64, stream: UInt64, isWarm: Bool = false, isWatched: Bool = false, caches: [(String, String)] = []) throws {
    for (number, model) in models.enumerated() {
      let run = RandomRun(shape: shape, model: model, isWarm: isWarm, caches: caches, isWatched: isWatched)
      let difference = try run.firstDifference(cases: caseCount(cases), stream: stream * 64 + UInt64(number))
      #expect(difference == nil, "\(difference ?? "")")
    }
  }

  @Test(arguments: oneStage)
  func `translates as the manual's steps say`(_ shape: Shape) throws { try check(shape, cases: 400, stream: 0) }

  @Test(arguments: underNested)
  func `translates under nested paging as the manual's steps say`(_ shape: Shape) throws { try check(shape, cases: 120, stream: 1) }

  @Test(arguments: underEPT)
  func `translates under EPT as the manual's steps say`(_ shape: Shape) throws { try check(shape, cases: 240, stream: 2) }

  @Test(arguments: underNested + underEPT)
  func `names the guest-physical address that it reaches`(_ shape: Shape) throws {
    try check(shape, cases: 40, stream: 3, isWatched: true)
  }

  @Test(arguments: every)
  func `gives the same answers from its caches`(_ shape: Shape) throws {
    try check(shape, cases: 40, stream: 4, isWarm: true)
    let caches = [
      ("tlb.nested.ways", "4"), ("tlb.nested.sets", "3"), ("pwc.level4.ways", "2"), ("pwc2.level1.ways", "2"), ("pwc2.level2.ways", "2"),
      ("pwc2.level3.ways", "2"), ("pwc2.level4.ways", "2"), ("tlb.l1i.ways", "2"), ("entrycache.ways", "4"), ("entrycache.sets", "4"),
    ]
    try check(shape, cases: 40, stream: 5, isWarm: true, caches: caches)
  }
}
