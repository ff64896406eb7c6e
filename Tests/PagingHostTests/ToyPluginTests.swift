// The back end in C: built from its one file against the header alone, as a reader of Plugins/toy32 would.
import Foundation
import PagingKit
import Testing

@testable import PagingHost

@Suite struct `The back end in C` {
  private let folder = packageFolder + "/Plugins/toy32"

  /// The output of `make` in a copy of the folder, so that parallel runs do not meet.
  private func make(_ target: String, in copy: String) throws -> String {
    try FileManager.default.copyItem(atPath: folder + "/toy32.c", toPath: copy + "/toy32.c")
    try FileManager.default.copyItem(atPath: folder + "/test.c", toPath: copy + "/test.c")
    try FileManager.default.copyItem(atPath: folder + "/Makefile", toPath: copy + "/Makefile")
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["make", "-s", "-C", copy, "HEADERS=\(packageFolder)/Sources/CPagingKit/include", target]
    process.standardOutput = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    return text
  }

  @Test func `is accepted by the loader, with a description that keeps every promise`() throws {
    let copy = try LibraryFolder()
    _ = try make("all", in: copy.path)
    let found = catalogue(copy.file("libArch-toy32.so"))
    #expect(found.problems.isEmpty)
    let toy = try found.architecture(named: "toy32").architecture
    #expect(DescriptionCheck.problems(of: toy) == [])
    #expect(toy.encoderIndex(named: "tlb_invalidate_page") != nil)
  }

  @Test func `does what its manual says`() throws {
    let report = try make("check", in: LibraryFolder().path)
    #expect(report.hasSuffix(" checks, 0 failed\n"), "\(report)")
  }
}
