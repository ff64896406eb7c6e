// A Swift closure where C expects a function pointer.
import CLibFFI

/// What C handed to a callback, by position.
public struct CallbackArguments {
  let slots: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
  let types: [ForeignType]

  public var count: Int { types.count }

  /// The argument's pattern: integers widened by their sign, `f64` as its bits.
  public subscript(index: Int) -> UInt64 {
    precondition(types.indices.contains(index), "argument \(index) of \(types.count)")
    guard let slot = slots?[index] else { preconditionFailure("argument \(index) has no slot") }
    // Only as many bytes as the type has are there.
    return switch types[index] {
    case .void: 0
    case .u8, .i8: types[index].normalized(UInt64(slot.load(as: UInt8.self)))
    case .u16, .i16: types[index].normalized(UInt64(slot.load(as: UInt16.self)))
    case .u32, .i32: types[index].normalized(UInt64(slot.load(as: UInt32.self)))
    case .u64, .i64, .f64, .ptr: slot.load(as: UInt64.self)
    }
  }

  public func pointer(_ index: Int) -> UnsafeMutableRawPointer? {
    UnsafeMutableRawPointer(bitPattern: UInt(self[index]))
  }
}

/// A C function pointer made from a Swift closure.
///
/// The code lives as long as this object: take it back from whoever may call it, then let the object go, and never from
/// within its own call. The body runs on the caller's thread.
public final class Callback: @unchecked Sendable {
  // SAFETY: everything is written once, before the code pointer exists.
  /// Returns the result's pattern; what a `void` callback returns is ignored.
  public typealias Body = @Sendable (CallbackArguments) -> UInt64

  public let signature: Signature
  /// To be handed to C under the signature's type.
  public let code: UnsafeMutableRawPointer
  private let closure: UnsafeMutablePointer<ffi_closure>
  private let body: Body

  public init(_ signature: Signature, _ body: @escaping Body) throws(SignatureError) {
    var code: UnsafeMutableRawPointer?
    guard let memory = ffi_closure_alloc(MemoryLayout<ffi_closure>.size, &code), let code else {
      throw SignatureError(expected: "memory for a closure", found: "none: the system forbids executable memory")
    }
    self.signature = signature
    self.body = body
    self.code = code
    closure = memory.assumingMemoryBound(to: ffi_closure.self)
    // Unretained: the object owns the trampoline, not the other way round.
    let context = Unmanaged.passUnretained(self).toOpaque()
    let status = ffi_prep_closure_loc(closure, signature.interface, Self.trampoline, context, code)
    guard status == FFI_OK else {
      throw SignatureError(expected: "a type that libffi can answer", found: "status \(status.rawValue)")
    }
  }

  deinit { ffi_closure_free(closure) }

  private static let trampoline:
    @convention(c) (
      UnsafeMutablePointer<ffi_cif>?, UnsafeMutableRawPointer?, UnsafeMutablePointer<UnsafeMutableRawPointer?>?,
      UnsafeMutableRawPointer?
    ) -> Void = { _, result, slots, context in
      guard let context else { return }
      Unmanaged<Callback>.fromOpaque(context)._withUnsafeGuaranteedRef { callback in
        let signature = callback.signature
        let pattern = callback.body(CallbackArguments(slots: slots, types: signature.arguments))
        // A register wide, as libffi wants results narrower than one.
        if signature.result != .void { result?.storeBytes(of: signature.result.normalized(pattern), as: UInt64.self) }
      }
    }
}
