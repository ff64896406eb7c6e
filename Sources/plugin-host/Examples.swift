// Examples in help texts name an architecture that is really there: code and help texts name none themselves.
import PagingHost
import PagingKit

enum Examples {
  /// Replaces {ARCH} by the first architecture found, {CALL} by one of its operations with arguments.
  ///
  /// Libraries are looked for only where the text has an example that needs one.
  static func filled(_ text: String) -> String {
    guard text.contains("{") else { return text }
    let architecture = Catalogue.load().architectures.first?.architecture
    return replaced(replaced(text, "{ARCH}", architecture?.name ?? "ARCH"), "{CALL}", call(architecture))
  }

  private static func call(_ architecture: Architecture?) -> String {
    guard let architecture, let operation = try? OperationEncoder.all(of: architecture).first else { return "OPERATION ARGUMENT" }
    return ([operation.name] + operation.arguments.map { _ in "0x1000" }).joined(separator: " ")
  }

  private static func replaced(_ text: String, _ mark: String, _ value: String) -> String {
    var result = ""
    var rest = text[...]
    while let range = rest.firstRange(of: mark) {
      result += rest[..<range.lowerBound] + value
      rest = rest[range.upperBound...]
    }
    return result + rest
  }
}
