// Options that several verbs have.
import ArgumentParser
import PagingHost

/// What holds for the whole call, besides the verb's own result.
enum Session {
  /// A bad library that was asked for does not stop the work, but the work does not end as if nothing were.
  nonisolated(unsafe) static var status: Int32 = 0
}

struct PluginOptions: ParsableArguments {
  @Option(
    name: .customLong("plugin"),
    help: ArgumentHelp("A back end's library, or a folder of them; may be given several times.", valueName: "path"))
  var paths: [String] = []

  /// All back ends at hand. What is wrong with a library is said on standard error, and the others still work.
  func load() -> Catalogue {
    let catalogue = Catalogue.load(paths: paths)
    for problem in catalogue.problems {
      Console.warn("\(problem.wasAskedFor ? "error" : "warning"): \(problem)")
      if problem.wasAskedFor { Session.status = Failure.missing }
    }
    return catalogue
  }
}

struct OutputOptions: ParsableArguments {
  @Flag(name: .customLong("json"), help: "Print JSON instead of text.")
  var isJSON = false

  func write(_ json: @autoclosure () -> JSON, else text: @autoclosure () -> String) {
    Console.write(isJSON ? json().indented + "\n" : text())
  }
}
