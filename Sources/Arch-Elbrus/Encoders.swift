// Operations that only this architecture has, exported as encoders: they check their arguments and perform nothing.
import CPagingKit
import PagingKit

enum ElbrusEncoders {
  typealias Pointer = UnsafeMutableRawPointer?
  private typealias Nothing = @convention(c) (Pointer, Pointer, Pointer) -> Int32
  private typealias One = @convention(c) (Pointer, UInt64, Pointer, Pointer) -> Int32
  private typealias Two = @convention(c) (Pointer, UInt64, UInt64, Pointer, Pointer) -> Int32
  private typealias Page = @convention(c) (Pointer, UInt64, UInt32, Pointer, Pointer) -> Int32
  private typealias Load = @convention(c) (Pointer, UInt64, UInt32, UInt32, UInt32, UInt32, UInt32, Pointer, Pointer) -> Int32
  private typealias Store = @convention(c) (Pointer, UInt64, UInt32, UInt32, UInt32, UInt32, UInt64, UInt64, Pointer, Pointer) -> Int32
  private typealias Links = @convention(c) (Pointer, UInt64, UInt32, UInt32, Pointer, Pointer) -> Int32

  static let all: [EncoderDefinition] = [
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
    EncoderDefinition("load", "i32(ptr,u64,u32,u32,u32,u32,u32,ptr,ptr)", ["va", "size_log2", "mas", "channel", "destination", "flags"], "a load with its MAS and channel; destination 256 for none; flags: 1 speculative, 2 privileged, 4 packed, 8 spill or fill, 16 chain stack, 32 stack clearing", function: { _, address, size, mas, channel, destination, flags, access, value in
      move(PGK_READ, address, size, mas, channel, destination, flags, 0, 0, access, value)
    } as Load),
    EncoderDefinition("store", "i32(ptr,u64,u32,u32,u32,u32,u64,u64,ptr,ptr)", ["va", "size_log2", "mas", "channel", "flags", "low", "high"], "a store with its MAS and channel, 1 or 3; flags as for load", function: { _, address, size, mas, channel, flags, low, high, access, value in
      channel & 1 == 0 ? PGK_E_ARGUMENT : move(PGK_WRITE, address, size, mas, channel, 256, flags, low, high, access, value)
    } as Store),
    EncoderDefinition("tlb_flush_all", "i32(ptr,ptr,ptr)", [], "TLBs and walk caches", function: { _, access, value in
      deliver(ElbrusUnit.request(.flushAll, address: FlushKind.allTLB), access, value)
    } as Nothing),
    EncoderDefinition("entry_probe", "i32(ptr,u64,ptr,ptr)", ["va"], "translation of an address as a word of attributes, or an error in bits 63:61; never faults", function: { _, address, access, value in
      deliver(ElbrusUnit.request(.probeEntry, address: address), access, value)
    } as One),
    EncoderDefinition("address_probe", "i32(ptr,u64,ptr,ptr)", ["va"], "physical address of an address, or an error in bits 63:61; never faults", function: { _, address, access, value in
      deliver(ElbrusUnit.request(.probeAddress, address: address), access, value)
    } as One),
  ]

  /// An ordinary access whose value carries what qualifies it.
  private static func move(
    _ kind: UInt32, _ address: UInt64, _ size: UInt32, _ mas: UInt32, _ channel: UInt32, _ destination: UInt32, _ flags: UInt32,
    _ low: UInt64, _ high: UInt64, _ access: Pointer, _ value: Pointer
  ) -> Int32 {
    let isSpecial = mas & 7 == 7 && mas != 7
    guard size <= 4, mas <= 0x7f, !isSpecial, channel <= 3, destination <= 256, flags < 64 else { return PGK_E_ARGUMENT }
    var request = Request(pgk_access_v1())
    request.access.address = address
    request.access.kind = UInt8(kind)
    request.access.size_log2 = UInt8(size)
    request.access.privilege = flags & 2 == 0 ? Privilege.user : Privilege.kernel
    request.access.flags = UInt8(PGK_HAS_VALUE) | (flags & 1 == 0 ? 0 : UInt8(PGK_SPECULATIVE))
    request.value.low = low
    request.value.high = high
    let plain = AccessQualifier(
      mas: UInt64(mas), channel: UInt64(channel), destination: destination == 256 ? nil : UInt64(destination), isPacked: flags & 4 != 0)
    request.value.qualifier = plain.bits | (flags >> 3) << 19
    return deliver(request, access, value)
  }

  private static func has(_ unit: Pointer, _ number: UInt64) -> Bool {
    let iset = unitModel(unit, as: ElbrusUnit.self).model.iset
    return ElbrusRegister.all.contains { $0.place == .memoryUnit(number) && $0.firstISET <= iset }
  }
}
