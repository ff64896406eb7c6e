// One address through any back end: what a debugger or an emulator does to embed PagingKit.
//   cc -ISources/CPagingKit/include Examples/embed.c -o embed && ./embed .build/release/libArch-x86.so 0x401123
// The tables here are empty, so every address faults at the root; a real program lends its own memory.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "paging_plugin.h"

int main(int count, char **arguments) { /* LIBRARY ADDRESS */
  if (count != 3) return fprintf(stderr, "usage: %s LIBRARY ADDRESS\n", arguments[0]), 2;
  void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (!library) return fprintf(stderr, "%s\n", dlerror()), 3;
  pgk_plugin_entry_fn entry = (pgk_plugin_entry_fn)dlsym(library, "pgk_plugin_entry");
  const pgk_plugin_v1 *plugin = entry ? entry(PGK_ABI) : 0;
  if (!plugin) return 3;
  const pgk_arch_v1 *arch = plugin->archs[0];

  static _Alignas(4096) unsigned char bytes[1 << 20]; /* zeros */
  pgk_region_v1 ram = {0, sizeof bytes, PGK_REGION_RAM, 0, bytes};
  pgk_physical_map_v1 map = {sizeof map, PGK_ABI, &ram, 1, 0, 0, 0, 0};
  pgk_error_v1 error = {0};
  pgk_unit *unit = arch->open(arch, 0, &map, 0, 0, &error);
  if (!unit) return fprintf(stderr, "%s\n", error.message), 3;

  /* What a kernel does to turn translation on, with its root table at 0x10000. */
  pgk_access_v1 setup[16];
  pgk_value_v1 values[16];
  pgk_result_v1 results[16];
  int64_t steps = arch->os->enable_translation(unit, 0, 0x10000, 0, setup, values, 16);
  if (steps < 0 || arch->run(unit, setup, values, results, steps) != steps) return 3;

  uint8_t user = arch->description->regimes[0].user;
  pgk_access_v1 load = {strtoull(arguments[2], 0, 0), PGK_READ, 2, user, PGK_TRANSLATE_ONLY, 1};
  arch->run(unit, &load, 0, results, 1);
  pgk_listed_v1 fault;
  if (arch->pending(unit, &fault, 1)) {
    printf("%s: %s at level %d, entry at 0x%llx\n", arch->description->name,
           arch->description->outcomes[fault.outcome].name, fault.level, (unsigned long long)fault.slot);
  } else {
    printf("%s: 0x%llx\n", arch->description->name, (unsigned long long)results[0].output);
  }
  arch->close(unit);
}
