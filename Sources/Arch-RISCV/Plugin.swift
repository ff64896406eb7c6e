// The one symbol that the library exports.
import CPagingKit
import PagingKit

/// Made once and immutable.
let plugin = PluginExport(vendor: "PagingKit", [RISCVUnit.self])

@c @implementation
public func pgk_plugin_entry(_ hostABI: UInt32) -> UnsafePointer<pgk_plugin_v1>? { plugin.entry(hostABI: hostABI) }
