// What the walk verb takes besides numbers.
import ArgumentParser
import PagingHost

/// `FILE@BASE`.
struct ImageArgument {
  let file: String
  let base: UInt64

  static func argument(_ text: String) throws -> ImageArgument {
    guard let at = text.lastIndex(of: "@"), at != text.startIndex else {
      throw ValidationError("expected FILE@BASE, found “\(text)”")
    }
    return ImageArgument(file: String(text[..<at]), base: try UInt64.argument(String(text[text.index(after: at)...])))
  }
}

/// `ADDRESS=VALUE`.
struct WordArgument {
  let address: UInt64
  let value: UInt64

  static func argument(_ text: String) throws -> WordArgument {
    let parts = text.split(separator: "=", omittingEmptySubsequences: false)
    guard parts.count == 2 else { throw ValidationError("expected ADDRESS=VALUE, found “\(text)”") }
    return WordArgument(address: try UInt64.argument(String(parts[0])), value: try UInt64.argument(String(parts[1])))
  }
}

enum VectorArgument {
  static func argument(_ text: String) throws -> VectorPlace {
    guard let place = VectorPlace(text) else {
      throw ValidationError("expected FILE:CASE or FILE:CASE:ACCESS, found “\(text)”")
    }
    return place
  }
}

enum OperationArgument: String, ExpressibleByArgument {
  case r, w, x, m

  var kind: UInt8 {
    switch self {
    case .r: AccessKind.read
    case .w: AccessKind.write
    case .x: AccessKind.fetch
    case .m: AccessKind.modify
    }
  }
}

struct SizeArgument: ExpressibleByArgument {
  let log2: UInt8

  init?(argument: String) {
    guard let count = Int(argument), (1...16).contains(count), count.nonzeroBitCount == 1 else { return nil }
    log2 = UInt8(count.trailingZeroBitCount)
  }
}
