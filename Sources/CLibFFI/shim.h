#ifndef CLIBFFI_SHIM_H
#define CLIBFFI_SHIM_H
#include <ffi.h>

/* libffi's type descriptors are mutable globals, which Swift's language mode 6 does not import. Codes in the order of
 * the names in a signature string: void u8 u16 u32 u64 i8 i16 i32 i64 f64 ptr. */
static inline ffi_type *clibffi_type(int code) {
  switch (code) {
  case 1: return &ffi_type_uint8;
  case 2: return &ffi_type_uint16;
  case 3: return &ffi_type_uint32;
  case 4: return &ffi_type_uint64;
  case 5: return &ffi_type_sint8;
  case 6: return &ffi_type_sint16;
  case 7: return &ffi_type_sint32;
  case 8: return &ffi_type_sint64;
  case 9: return &ffi_type_double;
  case 10: return &ffi_type_pointer;
  default: return &ffi_type_void;
  }
}

static inline void clibffi_call(ffi_cif *cif, void (*function)(void), void *result, void **arguments) {
  ffi_call(cif, function, result, arguments);
}
#endif
