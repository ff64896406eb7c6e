// Whether a table keeps the promises of paging_plugin.h. Everything here is data: no function of the back end is called.
public import PagingKit
import CPagingKit

/// Checks one architecture's table and everything it points to.
public enum DescriptionCheck {
  /// What contradicts the border's rules or itself, one sentence each; empty if the table may be used.
  public static func problems(of architecture: Architecture) -> [String] {
    findings(of: architecture.table).map(\.description)
  }

  static func findings(of table: UnsafePointer<pgk_arch_v1>?) -> [Finding] {
    var memory = LentMemory()
    guard let arch = memory.descriptor(table, "pgk_arch_v1", size: \.size, abi: \.abi) else { return memory.findings }
    memory.checkFunctions(arch)
    if let os = memory.descriptor(arch.os, "pgk_os_v1", size: \.size, abi: \.abi) { memory.checkServices(os) }
    if let description = memory.descriptor(arch.description, "pgk_description_v1", size: \.size, abi: \.abi) {
      memory.checkDescription(description)
    }
    return memory.findings
  }
}

extension LentMemory {
  mutating func checkFunctions(_ arch: pgk_arch_v1) {
    function(arch.open, "open")
    function(arch.close, "close")
    function(arch.message, "message")
    function(arch.set_map, "set_map")
    function(arch.read_register, "read_register")
    function(arch.write_registers, "write_registers")
    function(arch.regime, "regime")
    function(arch.run, "run")
    function(arch.pending, "pending")
    function(arch.resume, "resume")
    function(arch.counters, "counters")
    function(arch.reset, "reset")
    function(arch.dump, "dump")
    function(arch.observe, "observe")
    function(arch.save, "save")
    function(arch.restore, "restore")
    function(arch.decode, "decode")
    function(arch.encode, "encode")
  }

  mutating func checkServices(_ os: pgk_os_v1) {
    function(os.enable_translation, "os.enable_translation", mayBeNull: true)
    function(os.switch_space, "os.switch_space", mayBeNull: true)
    function(os.invalidate, "os.invalidate", mayBeNull: true)
    function(os.trap_entry, "os.trap_entry", mayBeNull: true)
    function(os.trap_return, "os.trap_return", mayBeNull: true)
    function(os.read_faults, "os.read_faults", mayBeNull: true)
    function(os.decode_faults, "os.decode_faults", mayBeNull: true)
    function(os.reexecute, "os.reexecute", mayBeNull: true)
    function(os.acknowledge, "os.acknowledge", mayBeNull: true)
    function(os.enable_second_stage, "os.enable_second_stage", mayBeNull: true)
    require(
      (os.read_faults == nil) == (os.decode_faults == nil), "os.read_faults and os.decode_faults",
      expected: "both or neither", found: "one of them")
  }

  mutating func checkDescription(_ description: pgk_description_v1) {
    if let name = word(description.name, "name") {
      let isPlain = name == name.lowercased() && !name.contains("/")
      require(isPlain, "name", expected: "lower case without “/”", found: "“\(name)”")
    }
    _ = text(description.title, "title")
    _ = text(description.version, "version")
    _ = text(description.reference, "reference")
    checkFormats(description)
    checkRegisters(description)
    checkOptions(description)
    checkOutcomes(description)
    checkNames(description)
    checkCaches(description)
    checkEncoders(description)
    checkVerdicts(description)
  }

  private mutating func checkVerdicts(_ description: pgk_description_v1) {
    let verdicts = description.verdicts
    let known = UInt32(1) << PGK_VERDICT_COUNT - 1
    require(
      verdicts & ~known == 0, "verdicts", expected: "bits 0 to \(PGK_VERDICT_COUNT - 1)", found: hex(UInt64(verdicts)))
    for (bit, name) in [(PGK_VERDICT_REPLAY, "replay"), (PGK_VERDICT_REFLECT, "reflect")] {
      require(verdicts & (1 << bit) != 0, "verdicts", expected: "“\(name)” among them", found: hex(UInt64(verdicts)))
    }
    let bits = description.identifier_bits
    require(bits <= 32, "identifier_bits", expected: "at most 32", found: "\(bits)")
  }
}

func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
