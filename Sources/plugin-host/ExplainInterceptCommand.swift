// paging explain-intercept: a small scenario, step by step.
import ArgumentParser
import PagingHost

struct ExplainInterceptCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain-intercept",
    abstract: "A small scenario step by step: groups, the list with its fields, the answers, and what they change.",
    discussion: """
      A script is text, one thing a line; # begins a remark. It says what the machine is (arch NAME, set OPTION VALUE, \
      start native|guest, reg NAME VALUE, mem ADDRESS WORD, dst NUMBER VALUE, page FORMAT ROOT INPUT OUTPUT [ro|absent]) and \
      then what is done: group with its operations behind it (r, w or x with NAME=VALUE, as the encoders load and store \
      take them), edit ITEM delete, edit ITEM NAME=VALUE, glaunch, reexec RECORD, write, reg, page, or any operation of \
      the architecture by name.

      Example:
        paging explain-intercept device-load.txt
      """)

  @Argument(help: ArgumentHelp("The script.", valueName: "FILE"))
  var file: String
  @OptionGroup var output: OutputOptions
  @OptionGroup var plugins: PluginOptions

  func run() throws {
    let catalogue = plugins.load()
    let story = try InterceptStory(file: file) { try catalogue.architecture(named: $0).architecture }
    output.write(story.json, else: story.text)
  }
}
