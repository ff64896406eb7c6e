// paging arch: what was found, and what a back end says of itself.
import ArgumentParser
import PagingHost

struct ArchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "arch",
    abstract: "The back ends found, or one in full: formats as the manual's tables, registers, operations.",
    discussion: """
      Example:
        paging arch
        paging arch {ARCH}
      """)

  @Argument(help: ArgumentHelp("The architecture to describe; without it, all are listed.", valueName: "ARCH"))
  var architecture: String?
  @OptionGroup var output: OutputOptions
  @OptionGroup var plugins: PluginOptions

  func run() throws {
    let catalogue = plugins.load()
    guard let architecture else {
      let list = ArchitectureList(catalogue)
      return output.write(list.json, else: list.text)
    }
    let loaded = try catalogue.architecture(named: architecture)
    output.write(ArchitectureJSON(loaded).json, else: ArchitectureText(loaded).text)
  }
}
