/// Input that could not be read or understood: where, what was expected there, and what was found.
public struct InputError: Error, CustomStringConvertible, Sendable, Equatable {
  public enum Place: Sendable, Equatable {
    case file
    /// Lines count from 1.
    case line(UInt64)
    /// Bytes of the file as it is stored, compressed or not, count from 0.
    case byte(UInt64)
  }

  public let file: String
  public let place: Place
  public let expected: String
  public let found: String

  public init(file: String, place: Place, expected: String, found: String) {
    self.file = file
    self.place = place
    self.expected = expected
    self.found = found
  }

  public var description: String {
    let position = switch place {
    case .file: file
    case .line(let number): "\(file):\(number)"
    case .byte(let offset): "\(file), byte \(offset)"
    }
    return "\(position): expected \(expected), found \(found)"
  }
}

/// A piece of input as an error message can show it: printable, and not longer than a line.
func quoted(_ bytes: UnsafeRawBufferPointer) -> String {
  var text = "\""
  for byte in bytes.prefix(60) {
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"): text += "\\" + String(UnicodeScalar(byte))
    case 0x20..<0x7f: text += String(UnicodeScalar(byte))
    default: text += "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }
  }
  return text + (bytes.count > 60 ? "\"..." : "\"")
}
