// The object behind the opaque handle, and the errors that cross the border.
import CPagingKit

/// What `pgk_unit *` points to.
final class UnitBox {
  let model: any UnitModel
  /// Why the last call was refused; lent to the host until the next call.
  private var text: [CChar] = [0]

  init(_ model: any UnitModel) { self.model = model }

  var message: UnsafePointer<CChar> { text.withUnsafeBufferPointer { $0.baseAddress! } }

  func refuse(_ refusal: Refusal) -> Int32 {
    text = Array(refusal.message.utf8CString)
    // SAFETY: `message` hands out the buffer of this array; nothing else holds it, so it stays where it is until the next refusal.
    return refusal.code
  }

  /// The code of a call that may be refused.
  func code(_ body: () throws(Refusal) -> Int64) -> Int64 {
    do throws(Refusal) {
      return try body()
    } catch {
      return Int64(refuse(error))
    }
  }

  func status(_ body: () throws(Refusal) -> Void) -> Int32 {
    do throws(Refusal) {
      try body()
      return PGK_OK
    } catch {
      return refuse(error)
    }
  }
}

func box(_ handle: OpaquePointer?) -> UnitBox {
  guard let handle else { fatalError("a PagingKit function was called without a unit") }
  return Unmanaged<UnitBox>.fromOpaque(UnsafeRawPointer(handle)).takeUnretainedValue()
}

/// The model behind a handle, for encoders.
public func unitModel<Model: UnitModel>(_ handle: UnsafeMutableRawPointer?, as type: Model.Type) -> Model {
  guard let model = box(handle.map { OpaquePointer($0) }).model as? Model else {
    fatalError("an encoder of \(Model.definition.name) was called with a unit of another architecture")
  }
  return model
}

/// Keeps an encoder's words for the host to ask for, and returns the code.
public func refuse(_ handle: UnsafeMutableRawPointer?, _ refusal: Refusal) -> Int32 {
  box(handle.map { OpaquePointer($0) }).refuse(refusal)
}

/// Writes what an encoder made to where the caller wants it.
public func deliver(
  _ request: Request, _ access: UnsafeMutableRawPointer?, _ value: UnsafeMutableRawPointer?
) -> Int32 {
  guard let access, let value else { return PGK_E_ARGUMENT }
  access.storeBytes(of: request.access, as: pgk_access_v1.self)
  value.storeBytes(of: request.value, as: pgk_value_v1.self)
  return PGK_OK
}
