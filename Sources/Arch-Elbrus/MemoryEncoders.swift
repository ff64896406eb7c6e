// Loads and stores with all that qualifies them: MAS, channel, destination. With the MAS of a special operation they become
// that operation.
import CPagingKit
import PagingKit

extension ElbrusEncoders {
  private typealias Load = @convention(c) (
    Pointer, UInt64, UInt32, UInt32, UInt32, UInt32, UInt32, Int32, UInt32, UInt32, UInt32, UInt32, Pointer, Pointer
  ) -> Int32
  private typealias Store = @convention(c) (
    Pointer, UInt64, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt64, UInt64, UInt32, Pointer, Pointer
  ) -> Int32

  /// What both have.
  private struct Operands {
    var kind = PGK_READ
    var address: UInt64 = 0
    var size: UInt32 = 8
    var privilege: UInt32 = 0
    var isSpeculative = false
    var mas: UInt32 = 0
    var channel: UInt32 = 0
    var destination: UInt64?
    /// Packed, spill or fill, chain stack, stack clearing.
    var marks: [UInt32] = []

    var request: Request? {
      guard size.nonzeroBitCount == 1, size <= 16, privilege <= 1, mas <= 0x7f, channel <= 3, marks.allSatisfy({ $0 <= 1 }),
        destination ?? 0 <= 0xff, marks[0] == 0 || size == 16, kind == PGK_READ || channel & 1 == 1
      else { return nil }
      let qualifier = AccessQualifier(
        mas: UInt64(mas), channel: UInt64(channel), destination: destination, isPacked: marks[0] == 1
      ).with(isHalf: false, isSpillOrFill: marks[1] == 1, isChainStack: marks[2] == 1, isStackClearing: marks[3] == 1)
      var request = Request(pgk_access_v1())
      request.access.privilege = UInt8(privilege)
      request.access.flags = UInt8(PGK_HAS_VALUE) | (isSpeculative ? UInt8(PGK_SPECULATIVE) : 0)
      request.value.qualifier = qualifier.bits
      let isStore = kind == PGK_WRITE
      if AccessQualifier.isSpecial(mas: UInt64(mas), channel: UInt64(channel), isStore: isStore, isSpeculative: isSpeculative) {
        request.access.kind = UInt8(PGK_SPECIAL)
        request.access.size_log2 = 3
        request.access.address = UInt64(mas) | (isStore ? 0x100 : 0)
        request.value.high = address
      } else {
        request.access.kind = UInt8(kind)
        request.access.size_log2 = UInt8(size.trailingZeroBitCount)
        request.access.address = address
      }
      return request
    }
  }

  static let memory: [EncoderDefinition] = [
    EncoderDefinition(
      "load", "i32(ptr,u64,u32,u32,u32,u32,u32,i32,u32,u32,u32,u32,ptr,ptr)",
      ["va", "size", "priv", "spec", "mas", "chan", "dst", "packed", "s_f", "sru", "clw"],
      "a load of `size` bytes with its MAS and channel; dst -1 for none; s_f hardware fill, sru of the chain stack, clw stack clearing",
      function: { _, va, size, priv, spec, mas, chan, dst, packed, fill, chain, clearing, access, value in
        var operands = Operands(address: va, size: size, privilege: priv, isSpeculative: spec != 0, mas: mas, channel: chan)
        operands.destination = dst < 0 ? nil : UInt64(dst)
        operands.marks = [packed, fill, chain, clearing]
        return operands.request.map { deliver($0, access, value) } ?? PGK_E_ARGUMENT
      } as Load),
    EncoderDefinition(
      "store", "i32(ptr,u64,u32,u32,u32,u32,u32,u32,u32,u32,u64,u64,u32,ptr,ptr)",
      ["va", "size", "priv", "mas", "chan", "packed", "s_f", "sru", "clw", "data", "data_hi", "mask"],
      "a store of `size` bytes with its MAS and channel, 1 or 3; mask: bytes that are stored, 0 for all",
      function: { _, va, size, priv, mas, chan, packed, spill, chain, clearing, data, dataHigh, mask, access, value in
        var operands = Operands(kind: PGK_WRITE, address: va, size: size, privilege: priv, mas: mas, channel: chan)
        operands.marks = [packed, spill, chain, clearing]
        guard mask <= 0xffff, var request = operands.request else { return PGK_E_ARGUMENT }
        request.value.low = data
        if request.access.kind != UInt8(PGK_SPECIAL) {
          request.value.high = dataHigh
          request.value.mask = UInt16(mask)
        }
        return deliver(request, access, value)
      } as Store),
  ]
}
