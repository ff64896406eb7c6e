import CPagingKit
import Glibc
import PagingKit
import Testing

@testable import PagingHost

@Suite struct `A signature` {
  @Test func `names its types in order`() throws {
    let signature = try Signature("i32(ptr, u8,i16 ,u64,f64)")
    #expect(signature.result == .i32)
    #expect(signature.arguments == [.ptr, .u8, .i16, .u64, .f64])
    #expect(try Signature("void()").arguments == [])
    #expect(try Signature("u64(void)").arguments == [])
  }

  @Test(arguments: ["", "i32", "i32(", "i32(ptr", "(ptr)", "i32(ptr,)", "i32(,)", "i32(void,ptr)", "i33()", "i32(f32)", "i32)(", "i32((ptr))"])
  func `that is malformed says what was expected`(text: String) {
    let error = #expect(throws: SignatureError.self) { try Signature(text) }
    #expect(error?.expected.isEmpty == false)
  }

  @Test func `has at most sixteen arguments`() {
    let many = "void(" + [String](repeating: "u64", count: 17).joined(separator: ",") + ")"
    #expect(throws: SignatureError(expected: "at most 16 arguments", found: "17")) { try Signature(many) }
  }

  @Test func `calls a C function with each type`() throws {
    let folder = try LibraryFolder()
    let file = try folder.build(
      "calls.so",
      source: """
        #include <stdint.h>
        int8_t narrow(int8_t a) { return a; }
        uint16_t wrap(uint16_t a) { return (uint16_t)(a + 1); }
        double scale(double a, int32_t b) { return a * b; }
        uint64_t far(uint64_t (*f)(uint8_t, int16_t, double, void *), void *p) { return f(250, -3, 0.5, p) + 1; }
        void nothing(uint64_t *p) { *p = 7; }
        """)
    let library = try #require(dlopen(file, RTLD_NOW | RTLD_LOCAL))
    func function(_ name: String) throws -> @convention(c) () -> Void {
      unsafeBitCast(try #require(dlsym(library, name)), to: (@convention(c) () -> Void).self)
    }
    #expect(try Signature("i8(i8)").call(function("narrow"), [0x80]) == UInt64(bitPattern: -128))
    #expect(try Signature("u16(u16)").call(function("wrap"), [0xffff]) == 0)
    let product = try Signature("f64(f64,i32)").call(function("scale"), [Double(1.25).bitPattern, UInt64(bitPattern: -4)])
    #expect(Double(bitPattern: product) == -5)

    var target: UInt64 = 0
    try withUnsafeMutablePointer(to: &target) { pointer in
      _ = try Signature("void(ptr)").call(function("nothing"), [UInt64(UInt(bitPattern: pointer))])
    }
    #expect(target == 7)

    // A closure called back with every width, its result used by C.
    let marker = UnsafeMutableRawPointer(bitPattern: 0x1230)
    let callback = try Callback(Signature("u64(u8,i16,f64,ptr)")) { arguments in
      guard arguments.count == 4, arguments[0] == 250, Int64(bitPattern: arguments[1]) == -3,
        Double(bitPattern: arguments[2]) == 0.5, arguments.pointer(3) == UnsafeMutableRawPointer(bitPattern: 0x1230)
      else { return 0 }
      return 41
    }
    let result = try Signature("u64(ptr,ptr)").call(
      function("far"), [UInt64(UInt(bitPattern: callback.code)), UInt64(UInt(bitPattern: marker))])
    #expect(result == 42)
    withExtendedLifetime(callback) {}
  }

  @Test func `refuses another number of arguments`() throws {
    let signature = try Signature("void(u64,u64)")
    #expect(throws: SignatureError(expected: "2 arguments", found: "1")) { try signature.call({}, [1]) }
  }

  @Test func `and its closures may be shared by threads`() async throws {
    let sum = try Callback(Signature("i64(i64,i64)")) { $0[0] &+ $0[1] }
    let signature = sum.signature
    let total = try await withThrowingTaskGroup(of: UInt64.self) { group in
      for task in 0..<4 {
        group.addTask {
          let code = unsafeBitCast(sum.code, to: (@convention(c) () -> Void).self)
          return try (0..<500).reduce(UInt64(task)) { total, _ in try signature.call(code, [total, 1]) }
        }
      }
      return try await group.reduce(0, +)
    }
    #expect(total == 0 + 1 + 2 + 3 + 4 * 500)
  }
}

@Suite struct `Integers as text` {
  @Test func `are decimal, hexadecimal or negative`() {
    #expect(IntegerText("42")?.unsigned == 42)
    #expect(IntegerText("0xffff_ffff_ffff_ffff")?.unsigned == .max)
    #expect(IntegerText("-0x10")?.signed == -16)
    #expect(IntegerText("-9223372036854775808")?.signed == .min)
    #expect(IntegerText("9223372036854775808")?.signed == nil)
    #expect(IntegerText("-1")?.unsigned == nil)
  }

  @Test(arguments: ["", "-", "0x", "+1", "--1", "1.0", "1e3", "_1", "1_", "0x_1", "0x-1", "18446744073709551616", "zwölf", " 1"])
  func `are nothing else`(text: String) { #expect(IntegerText(text) == nil) }
}

@Suite struct `An exported operation` {
  let architecture: Architecture
  let unit: Unit

  init() throws {
    architecture = try honestFixture()
    unit = try Unit(architecture, map: PhysicalMapDescriptor([]))
  }

  @Test func `is called by name with arguments as text`() throws {
    let flush = try OperationEncoder(architecture, named: "flush")
    #expect(flush.usage == "flush address:u64 identifier:u32")
    let (access, value) = try flush.encode(["0xfffffffffffff000", "4095"], for: unit)
    #expect(access.address == 0xffff_ffff_ffff_f000)
    #expect(access.kind == UInt8(PGK_SPECIAL))
    #expect(value.low == 4095)
  }

  @Test func `takes narrow, negative and fractional arguments`() throws {
    let (access, value) = try OperationEncoder(architecture, named: "probe").encode(["255", "-0x8000", "-2.5"], for: unit)
    #expect(access.address == 255)
    #expect(Int64(bitPattern: value.low) == -32768)
    #expect(Double(bitPattern: value.high) == -2.5)
  }

  @Test(arguments: [
    (["256", "0", "0"], "probe, argument way: expected a number from 0 to 255 (u8), found “256”"),
    (["-1", "0", "0"], "probe, argument way: expected a number from 0 to 255 (u8), found “-1”"),
    (["0", "32768", "0"], "probe, argument offset: expected a number from -32768 to 32767 (i16), found “32768”"),
    (["0", "0", "fast"], "probe, argument scale: expected a number (f64), found “fast”"),
    (["0", "0"], "probe: expected “probe way:u8 offset:i16 scale:f64”, found 2 arguments"),
  ])
  func `names the argument that is wrong`(texts: [String], message: String) throws {
    let probe = try OperationEncoder(architecture, named: "probe")
    let error = #expect(throws: EncoderError.self) { try probe.encode(texts, for: unit) }
    #expect(error?.description == message)
  }

  @Test func `gives the back end's own words when it refuses`() throws {
    let flush = try OperationEncoder(architecture, named: "flush")
    let error = #expect(throws: EncoderError.self) { try flush.encode(["0", "4096"], for: unit) }
    #expect(error?.description == "flush: refused by the back end: identifier above 4095")
  }

  @Test func `that does not exist lists those that do`() throws {
    let error = #expect(throws: UnknownName.self) { try OperationEncoder(architecture, named: "flash") }
    #expect(error?.description == "unknown operation “flash”: expected one of flush, probe")
  }
}
