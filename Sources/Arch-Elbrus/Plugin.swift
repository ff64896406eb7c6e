// The one symbol that the library exports.
import CPagingKit
import PagingKit

let plugin = PluginExport(vendor: "PagingKit", [ElbrusUnit.self])

@c @implementation
public func pgk_plugin_entry(_ hostABI: UInt32) -> UnsafePointer<pgk_plugin_v1>? { plugin.entry(hostABI: hostABI) }
