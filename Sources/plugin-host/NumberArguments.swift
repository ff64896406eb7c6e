// Numbers, assignments and sizes as they are typed.
import ArgumentParser
import PagingHost

extension UInt64 {
  /// An argument: decimal or 0x hexadecimal.
  static func argument(_ text: String) throws -> UInt64 {
    guard let value = IntegerText(text)?.unsigned else {
      throw ValidationError("expected a number such as 0x1000, found “\(text)”")
    }
    return value
  }
}

/// `NAME=VALUE` with a number.
struct NumberAssignment {
  let name: String
  let value: UInt64

  static func argument(_ text: String) throws -> NumberAssignment {
    guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
      throw ValidationError("expected NAME=NUMBER, found “\(text)”")
    }
    return NumberAssignment(
      name: String(text[..<equals]), value: try UInt64.argument(String(text[text.index(after: equals)...])))
  }
}

/// A count, as 1000000 or 1e6 or 4k.
enum CountArgument {
  static func argument(_ text: String) throws -> UInt64 {
    guard let value = CountText.value(text) else {
      throw ValidationError("expected a count such as 1000000 or 1e6, found “\(text)”")
    }
    return value
  }
}

extension Setting {
  static func argument(_ text: String) throws -> Setting {
    do { return try Setting(assignment: text) } catch { throw ValidationError("\(error)") }
  }
}

enum PageSizeArgument {
  /// log2 of the bytes.
  static func argument(_ text: String) throws -> Int {
    guard let shift = SizeText.shift(text) else {
      throw ValidationError("expected a page size such as 4KiB, 2MiB or 1GiB, found “\(text)”")
    }
    return shift
  }
}
