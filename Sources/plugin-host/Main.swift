// The command line: verbs, each in its own file. All work is done by PagingHost.
import ArgumentParser
import Glibc
import PagingHost

@main
enum Main {
  static func main() {
    let status = run(Array(CommandLine.arguments.dropFirst()))
    exit(max(status, Session.status))
  }

  /// Exit status: 0 done, 1 a difference or a fault, 2 usage, 3 something asked for by name is bad or missing.
  private static func run(_ arguments: [String]) -> Int32 {
    do {
      var command = try PagingCommand.parseAsRoot(arguments)
      try command.run()
      return 0
    } catch {
      return Failure.report(error)
    }
  }
}

struct PagingCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "paging",
    abstract: "What does this address mean on that machine, and what did it cost to find out?",
    discussion: """
      Architectures are libraries that are found at run time: those named by --plugin, the folders in \
      PAGINGKIT_PLUGIN_PATH, the program's own folder, and ../lib/pagingkit from there.

      Exit status: 0 done; 1 a difference was found, or a walk ended in a fault; 2 usage; 3 something asked for by \
      name is bad or missing; 130 interrupted, with partial results.

      Example:
        paging arch
      """,
    version: "0.1.0",
    subcommands: [ArchCommand.self, WalkCommand.self, CallCommand.self, RunCommand.self, CompareCommand.self, VerifyCommand.self, ExplainInterceptCommand.self, BenchCommand.self])
}
