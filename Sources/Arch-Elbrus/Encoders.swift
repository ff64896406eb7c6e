// Operations that only this architecture has, exported as encoders: they check their arguments and perform nothing.
import CPagingKit
import PagingKit

enum ElbrusEncoders {
  typealias Pointer = UnsafeMutableRawPointer?
  typealias Nothing = @convention(c) (Pointer, Pointer, Pointer) -> Int32
  typealias One = @convention(c) (Pointer, UInt64, Pointer, Pointer) -> Int32
  typealias Two = @convention(c) (Pointer, UInt64, UInt64, Pointer, Pointer) -> Int32
  typealias Page = @convention(c) (Pointer, UInt64, UInt32, Pointer, Pointer) -> Int32
  typealias Links = @convention(c) (Pointer, UInt64, UInt32, UInt32, Pointer, Pointer) -> Int32

  static let all: [EncoderDefinition] = registers + flushes + probes + memory + hypervisor

  private static let registers: [EncoderDefinition] = [
    EncoderDefinition("mmu_reg_read", "i32(ptr,u64,ptr,ptr)", ["number"], "reads a register of the memory unit by its number; the value's low half gets it", function: { unit, number, access, value in
      guard has(unit, number) else { return PGK_E_ARGUMENT }
      return deliver(ElbrusUnit.request(.readRegister, address: number << 4), access, value)
    } as One),
    EncoderDefinition("mmu_reg_write", "i32(ptr,u64,u64,ptr,ptr)", ["number", "value"], "writes a register of the memory unit by its number", function: { unit, number, data, access, value in
      guard has(unit, number) else { return PGK_E_ARGUMENT }
      return deliver(ElbrusUnit.request(.writeRegister, data: data, address: number << 4), access, value)
    } as Two),
    EncoderDefinition("core_mode_read", "i32(ptr,ptr,ptr)", [], "reads CORE_MODE of the control unit", function: { _, access, value in
      deliver(ElbrusUnit.request(.readControl), access, value)
    } as Nothing),
    EncoderDefinition("core_mode_write", "i32(ptr,u64,ptr,ptr)", ["value"], "writes CORE_MODE of the control unit", function: { _, data, access, value in
      deliver(ElbrusUnit.request(.writeControl, data: data), access, value)
    } as One),
  ]

  private static let flushes: [EncoderDefinition] = [
    EncoderDefinition("tlb_page_flush", "i32(ptr,u64,u32,ptr,ptr)", ["va", "context"], "last-level and negative TLB entries of a page, in one context and global; before v6 also the link that a page of the table window stands for", function: { _, address, context, access, value in
      guard context <= 0xfff else { return PGK_E_ARGUMENT }
      let operand = FlushOperand(page: address, context: UInt64(context))
      return deliver(ElbrusUnit.request(.flushPage, data: operand.bits, address: FlushKind.page), access, value)
    } as Page),
    EncoderDefinition("tlu_page_flush", "i32(ptr,u64,u32,u32,ptr,ptr)", ["va", "context", "level"], "walk-cache links (v6): level 1 found in a PMD, 2 in a PUD, 3 in a PGD, 0 all on the way to the address", function: { unit, address, context, level, access, value in
      guard context <= 0xfff, level <= 3 else { return PGK_E_ARGUMENT }
      guard unitModel(unit, as: ElbrusUnit.self).model.iset >= 6 else { return PGK_E_UNSUPPORTED }
      let operand = FlushOperand(walkCaches: address, context: UInt64(context), level: UInt64(level))
      return deliver(ElbrusUnit.request(.flushPage, data: operand.bits, address: FlushKind.walkCaches), access, value)
    } as Links),
    EncoderDefinition("tlb_flush_all", "i32(ptr,ptr,ptr)", [], "TLBs and walk caches", function: { _, access, value in
      deliver(ElbrusUnit.request(.flushAll, address: FlushKind.allTLB), access, value)
    } as Nothing),
  ]

  private static let probes: [EncoderDefinition] = [
    EncoderDefinition("entry_probe", "i32(ptr,u64,ptr,ptr)", ["va"], "translation of an address as a word of attributes, or an error in bits 63:61; never faults", function: { _, address, access, value in
      deliver(ElbrusUnit.request(.probeEntry, address: address), access, value)
    } as One),
    EncoderDefinition("address_probe", "i32(ptr,u64,ptr,ptr)", ["va"], "physical address of an address, or an error in bits 63:61; never faults", function: { _, address, access, value in
      deliver(ElbrusUnit.request(.probeAddress, address: address), access, value)
    } as One),
  ]

  private static func has(_ unit: Pointer, _ number: UInt64) -> Bool {
    let iset = unitModel(unit, as: ElbrusUnit.self).model.iset
    return ElbrusRegister.all.contains { $0.place == .memoryUnit(number) && $0.firstISET <= iset }
  }
}
