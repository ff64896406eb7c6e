// swift-tools-version: 6.3
import PackageDescription

/// A back end exports its entry symbol only, and carries a name that survives installation.
///
/// All back ends define the same symbol. The test program links several of them; it takes the first and uses none.
func backEnd(_ name: String) -> Target {
  .target(
    name: name,
    dependencies: ["PagingKit", "CPagingKit"],
    linkerSettings: [.unsafeFlags([
      "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/CPagingKit/plugin.map",
      "-Xlinker", "--allow-multiple-definition",
    ])])
}

let package = Package(
  name: "PagingKit",
  products: [
    .library(name: "PagingKitCore", targets: ["PagingKit"]),
    .library(name: "PagingHost", targets: ["PagingHost"]),
    .library(name: "Arch-x86", type: .dynamic, targets: ["Arch-x86"]),
    .library(name: "Arch-RISCV", type: .dynamic, targets: ["Arch-RISCV"]),
    .library(name: "Arch-Elbrus", type: .dynamic, targets: ["Arch-Elbrus"]),
    .executable(name: "paging", targets: ["plugin-host"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
  ],
  targets: [
    .target(name: "CPagingKit"),
    .systemLibrary(name: "CLibFFI", pkgConfig: "libffi", providers: [.apt(["libffi-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CLZMA", pkgConfig: "liblzma", providers: [.apt(["liblzma-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    // The header alone: the floor itself is loaded where it was built, see Benchmarks/floor.
    .systemLibrary(name: "CPagingFloor", path: "Benchmarks/floor"),
    .target(name: "PagingKit", dependencies: ["CPagingKit"]),
    backEnd("Arch-x86"),
    backEnd("Arch-RISCV"),
    backEnd("Arch-Elbrus"),
    .target(
      name: "PagingHost",
      dependencies: ["PagingKit", "CPagingKit", "CLibFFI", "CZlib", "CLZMA", "CZstd", "CPagingFloor", "TOMLKit"]),
    .executableTarget(
      name: "plugin-host",
      dependencies: ["PagingHost", .product(name: "ArgumentParser", package: "swift-argument-parser")]),
    .testTarget(name: "PagingKitTests", dependencies: ["PagingKit", "CPagingKit"]),
    .testTarget(name: "PagingHostTests", dependencies: ["PagingHost", "PagingKit", "CPagingKit"]),
    .testTarget(name: "ConformanceTests", dependencies: ["PagingHost", "PagingKit", "CPagingKit"]),
    .testTarget(
      name: "Arch-x86Tests", dependencies: ["Arch-x86", "PagingKit", "CPagingKit"], exclude: ["broken-rules.txt"]),
    .testTarget(
      name: "Arch-RISCVTests", dependencies: ["Arch-RISCV", "PagingKit", "CPagingKit"], exclude: ["broken-rules.txt"]),
    .testTarget(name: "Arch-ElbrusTests", dependencies: ["Arch-Elbrus", "PagingKit", "CPagingKit"]),
  ],
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx17
)
