// What a handler or a hypervisor does at the memory unit for the machine at hand: flushes that name the machine, probes,
// diagnostic reads, and the window onto the list of intercepts.
import CPagingKit
import PagingKit

extension ElbrusEncoders {
  private typealias MachinePage = @convention(c) (Pointer, UInt64, UInt32, UInt32, Pointer, Pointer) -> Int32
  private typealias MachineLinks = @convention(c) (Pointer, UInt64, UInt32, UInt32, UInt32, Pointer, Pointer) -> Int32

  static let hypervisor: [EncoderDefinition] = [
    EncoderDefinition("flush_page", "i32(ptr,u64,u32,u32,ptr,ptr)", ["va", "ctx", "gid"], "as tlb_page_flush, for the machine of a GID", function: { _, va, ctx, gid, access, value in
      guard ctx <= 0xfff, gid <= 0xfff else { return PGK_E_ARGUMENT }
      return flush(FlushOperand(page: va, context: UInt64(ctx)), FlushKind.page, gid, access, value)
    } as MachinePage),
    EncoderDefinition("flush_tlu", "i32(ptr,u64,u32,u32,u32,ptr,ptr)", ["va", "ctx", "gid", "level"], "as tlu_page_flush, for the machine of a GID", function: { unit, va, ctx, gid, level, access, value in
      guard ctx <= 0xfff, gid <= 0xfff, level <= 3 else { return PGK_E_ARGUMENT }
      guard unitModel(unit, as: ElbrusUnit.self).model.iset >= 6 else { return PGK_E_UNSUPPORTED }
      let operand = FlushOperand(walkCaches: va, context: UInt64(ctx), level: UInt64(level))
      return flush(operand, FlushKind.walkCaches, gid, access, value)
    } as MachineLinks),
    EncoderDefinition("flush_all", "i32(ptr,ptr,ptr)", [], "TLBs and walk caches of all machines", function: { _, access, value in
      deliver(ElbrusUnit.below(ElbrusUnit.request(.flushAll, address: FlushKind.allTLB)), access, value)
    } as Nothing),
    EncoderDefinition("probe", "i32(ptr,u64,ptr,ptr)", ["va"], "entry_probe, not intercepted", function: { _, va, access, value in
      deliver(ElbrusUnit.below(ElbrusUnit.request(.probeEntry, address: va)), access, value)
    } as One),
    EncoderDefinition("probe_address", "i32(ptr,u64,ptr,ptr)", ["va"], "address_probe, not intercepted", function: { _, va, access, value in
      deliver(ElbrusUnit.below(ElbrusUnit.request(.probeAddress, address: va)), access, value)
    } as One),
    EncoderDefinition("dtlb", "i32(ptr,u64,ptr,ptr)", ["address"], "diagnostic read of the TLB: bits 2:0 0 tag, 4:3 set, 28:21 line of a large page", function: { _, address, access, value in
      deliver(ElbrusUnit.below(ElbrusUnit.request(.readTLB, address: address)), access, value)
    } as One),
    EncoderDefinition("ptr_read", "i32(ptr,ptr,ptr)", [], "reads INTC_PTR_MU, how many double words INTC_INFO_MU has, and goes back to the first", function: { unit, access, value in
      window(unit, .readRegister, ElbrusUnit.pointerNumber, 0, access, value)
    } as Nothing),
    EncoderDefinition("info_read", "i32(ptr,ptr,ptr)", [], "reads the next double word of INTC_INFO_MU", function: { unit, access, value in
      window(unit, .readRegister, ElbrusUnit.windowNumber, 0, access, value)
    } as Nothing),
    EncoderDefinition("info_write", "i32(ptr,u64,ptr,ptr)", ["word"], "writes the next double word of INTC_INFO_MU", function: { unit, word, access, value in
      window(unit, .writeRegister, ElbrusUnit.windowNumber, word, access, value)
    } as One),
  ]

  private static func flush(
    _ operand: FlushOperand, _ kind: UInt64, _ machine: UInt32, _ access: Pointer, _ value: Pointer
  ) -> Int32 {
    var request = ElbrusUnit.below(ElbrusUnit.request(.flushPage, data: operand.bits, address: kind))
    request.value.qualifier = machine | ElbrusUnit.namesMachine
    return deliver(request, access, value)
  }

  private static func window(
    _ unit: Pointer, _ operation: Operation, _ number: UInt64, _ word: UInt64, _ access: Pointer, _ value: Pointer
  ) -> Int32 {
    guard unitModel(unit, as: ElbrusUnit.self).model.iset >= 6 else { return PGK_E_UNSUPPORTED }
    return deliver(ElbrusUnit.below(ElbrusUnit.request(operation, data: word, address: number << 4)), access, value)
  }
}
