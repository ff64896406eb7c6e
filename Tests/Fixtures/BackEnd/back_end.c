/* A back end that translates nothing, true to the header unless a macro makes it lie. Tests build it with -D. */
#include "paging_plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef NAME
#define NAME "fixture"
#endif
#ifndef PLUGIN_ABI
#define PLUGIN_ABI PGK_ABI
#endif
#ifndef PLUGIN_SIZE
#define PLUGIN_SIZE sizeof(pgk_plugin_v1)
#endif
#ifndef ARCH_ABI
#define ARCH_ABI PGK_ABI
#endif
#ifndef ARCH_SIZE
#define ARCH_SIZE sizeof(pgk_arch_v1)
#endif
#ifndef OS_SIZE
#define OS_SIZE sizeof(pgk_os_v1)
#endif
#ifndef DESCRIPTION_SIZE
#define DESCRIPTION_SIZE sizeof(pgk_description_v1)
#endif
#ifndef VENDOR
#define VENDOR "tests"
#endif
#ifndef TITLE
#define TITLE "Fixture"
#endif
#ifndef ENTRY
#define ENTRY pgk_plugin_entry
#endif
#ifndef PLUGIN
#define PLUGIN &plugin
#endif
#ifndef ARCHS
#define ARCHS { &arch }
#endif
#ifndef RUN
#define RUN run
#endif
#ifndef DECODE_FAULTS
#define DECODE_FAULTS 0
#endif
#ifndef READ_FAULTS
#define READ_FAULTS 0
#endif
#ifndef INPUT_BITS
#define INPUT_BITS 32
#endif
#ifndef ROOT_SHIFT
#define ROOT_SHIFT 22
#endif
#ifndef ROOT_BITS
#define ROOT_BITS 10
#endif
#ifndef TABLE_MASK
#define TABLE_MASK 2
#endif
#ifndef FLAGS_HIGH
#define FLAGS_HIGH 11
#endif
#ifndef FLAGS_LOW
#define FLAGS_LOW 1
#endif
#ifndef FIRST_FORMAT
#define FIRST_FORMAT 0
#endif
#ifndef SECOND_FORMAT
#define SECOND_FORMAT PGK_NO_FORMAT
#endif
#ifndef SUPERVISOR
#define SUPERVISOR 1
#endif
#ifndef WRITABLE
#define WRITABLE 0xfffff000u
#endif
#ifndef SECOND_REGISTER
#define SECOND_REGISTER "mode"
#endif
#ifndef INTEGER_PRESET
#define INTEGER_PRESET "16"
#endif
#ifndef BOOLEAN_PRESET
#define BOOLEAN_PRESET "false"
#endif
#ifndef CHOICE_PRESET
#define CHOICE_PRESET "lru"
#endif
#ifndef FIRST_OUTCOME
#define FIRST_OUTCOME "finished"
#endif
#ifndef OUTCOME_COUNT
#define OUTCOME_COUNT 2
#endif
#ifndef WORD_COUNT
#define WORD_COUNT 1
#endif
#ifndef REGISTER_COUNT
#define REGISTER_COUNT 2
#endif
#ifndef COUNTERS
#define COUNTERS counters_info
#endif
#ifndef FLUSH_SIGNATURE
#define FLUSH_SIGNATURE "i32(ptr,u64,u32,ptr,ptr)"
#endif
#ifndef FLUSH_ARGUMENTS
#define FLUSH_ARGUMENTS 2
#endif
#ifndef FLUSH
#define FLUSH ((void (*)(void))flush)
#endif
#ifndef VERDICTS
#define VERDICTS (1u << PGK_VERDICT_REPLAY | 1u << PGK_VERDICT_REFLECT)
#endif
#ifndef CONTEXT_KEY
#define CONTEXT_KEY 1
#endif

struct pgk_unit {
  uint64_t registers[2];
  char message[128];
};

static int32_t refuse(pgk_unit *unit, int32_t code, const char *message) {
  snprintf(unit->message, sizeof unit->message, "%s", message);
  return code;
}

static pgk_unit *open_unit(const pgk_arch_v1 *self, const pgk_host_v1 *host, const pgk_physical_map_v1 *map,
                           const pgk_option_v1 *options, size_t count, pgk_error_v1 *error) {
  (void)self, (void)host, (void)map, (void)options, (void)count, (void)error;
  return calloc(1, sizeof(pgk_unit));
}

static void close_unit(pgk_unit *unit) { free(unit); }
static const char *message(pgk_unit *unit) { return unit->message; }
static int32_t set_map(pgk_unit *unit, const pgk_physical_map_v1 *map) { return (void)unit, (void)map, PGK_OK; }

static int32_t read_register(pgk_unit *unit, uint32_t index, uint64_t *value) {
  if (index >= 2) return refuse(unit, PGK_E_ARGUMENT, "no such register");
  *value = unit->registers[index];
  return PGK_OK;
}

static int32_t write_registers(pgk_unit *unit, const pgk_register_value_v1 *values, size_t count,
                               pgk_register_outcome_v1 *outcome) {
  memset(outcome, 0, sizeof *outcome);
  for (size_t i = 0; i < count; i++) {
    if (values[i].index >= 2) return refuse(unit, PGK_E_ARGUMENT, "no such register");
    unit->registers[values[i].index] = values[i].value;
  }
  return PGK_OK;
}

static int32_t regime(pgk_unit *unit) { return (void)unit, 0; }

static int64_t run(pgk_unit *unit, const pgk_access_v1 *accesses, pgk_value_v1 *values, pgk_result_v1 *results,
                   size_t count) {
  (void)unit, (void)values;
  for (size_t i = 0; i < count; i++) results[i] = (pgk_result_v1){ .output = accesses[i].address, .page_shift = 64 };
  return (int64_t)count;
}

static size_t pending(pgk_unit *unit, pgk_listed_v1 *list, size_t capacity) { return (void)unit, (void)list, (void)capacity, 0; }

static int64_t resume(pgk_unit *unit, const pgk_verdict_v1 *verdicts, size_t count, pgk_completion_v1 *completions,
                      size_t capacity) {
  (void)verdicts, (void)count, (void)completions, (void)capacity;
  return refuse(unit, PGK_E_PENDING, "nothing is pending");
}

static size_t counters(pgk_unit *unit, uint64_t *values, size_t capacity) {
  (void)unit;
  if (capacity > 0) values[0] = 0;
  return 1;
}

static int32_t reset(pgk_unit *unit, uint32_t what) { return (void)unit, (void)what, PGK_OK; }

static int64_t dump(pgk_unit *unit, uint32_t cache, pgk_cached_v1 *entries, size_t capacity) {
  return (void)unit, (void)cache, (void)entries, (void)capacity, 0;
}

static int32_t observe(pgk_unit *unit, const pgk_observer_v1 *observer) { return (void)unit, (void)observer, PGK_OK; }

static int64_t save(pgk_unit *unit, uint32_t what, uint8_t *bytes, size_t capacity) {
  (void)what;
  if (capacity >= sizeof unit->registers) memcpy(bytes, unit->registers, sizeof unit->registers);
  return sizeof unit->registers;
}

static int32_t restore(pgk_unit *unit, const uint8_t *bytes, size_t count) {
  if (count != sizeof unit->registers) return refuse(unit, PGK_E_STATE, "bytes of another length");
  memcpy(unit->registers, bytes, count);
  return PGK_OK;
}

static int32_t decode(pgk_unit *unit, uint32_t format, uint32_t level, const uint64_t *entries, pgk_entry_v1 *out,
                      size_t count) {
  (void)format, (void)level, (void)entries, (void)out, (void)count;
  return refuse(unit, PGK_E_UNSUPPORTED, "entries are not decoded");
}

static int32_t encode(pgk_unit *unit, uint32_t format, uint32_t level, pgk_entry_v1 *in, uint64_t *entries,
                      size_t count) {
  (void)format, (void)level, (void)in, (void)entries, (void)count;
  return refuse(unit, PGK_E_UNSUPPORTED, "entries are not encoded");
}

static int64_t read_faults(pgk_unit *unit, pgk_access_v1 *accesses, pgk_value_v1 *values, size_t known, size_t capacity) {
  return (void)unit, (void)accesses, (void)values, (void)known, (void)capacity, 0;
}

/* ---- Encoders */

static int32_t flush(pgk_unit *unit, uint64_t address, uint32_t identifier, pgk_access_v1 *access, pgk_value_v1 *value) {
  if (identifier > 4095) return refuse(unit, PGK_E_ARGUMENT, "identifier above 4095");
  *access = (pgk_access_v1){ .address = address, .kind = PGK_SPECIAL, .flags = PGK_HAS_VALUE };
  *value = (pgk_value_v1){ .low = identifier };
  return PGK_OK;
}

static int32_t probe(pgk_unit *unit, uint8_t way, int16_t offset, double scale, pgk_access_v1 *access,
                     pgk_value_v1 *value) {
  (void)unit;
  *access = (pgk_access_v1){ .address = way, .kind = PGK_SPECIAL };
  *value = (pgk_value_v1){ .low = (uint64_t)(int64_t)offset };
  memcpy(&value->high, &scale, sizeof scale);
  return PGK_OK;
}

/* ---- Description */

static const pgk_level_v1 levels[] = {
  { .name = "entry", .index_bits = 10, .shift = 12, .leaf = 1 },
  { .name = "pointer", .index_bits = ROOT_BITS, .shift = ROOT_SHIFT },
};
static const pgk_field_v1 fields[] = {
  { .name = "frame", .high = 31, .low = 12 },
  { .name = "flags", .high = FLAGS_HIGH, .low = FLAGS_LOW },
  { .name = "present", .high = 0, .low = 0 },
};
static const pgk_entry_layout_v1 layouts[] = {
  { "entry that maps a page", PGK_ENTRY_LEAF, 1, fields, 3 },
  { "entry that points to a table", PGK_ENTRY_TABLE, TABLE_MASK, fields, 3 },
};
static const pgk_format_v1 formats[] = { {
  .name = "two", .title = "Two levels", .reference = "the tests", .entry_bytes = 4, .stage = 1,
  .input_bits = INPUT_BITS, .output_bits = 32, .root_alignment_shift = 12, .attributes = PGK_ATTRIBUTE_READ,
  .levels = levels, .level_count = 2, .layouts = layouts, .layout_count = 2,
} };
static const pgk_regime_v1 regimes[] = {
  { .name = "two", .help = "", .first_format = FIRST_FORMAT, .second_format = SECOND_FORMAT, .user = 0,
    .supervisor = SUPERVISOR },
  { .name = "off", .help = "", .first_format = PGK_NO_FORMAT, .second_format = PGK_NO_FORMAT, .user = 0,
    .supervisor = 1 },
};
static const pgk_register_v1 registers[] = {
  { .name = "root", .help = "", .width = 32, .kind = PGK_REGISTER_CONTROL, .writable = WRITABLE },
  { .name = SECOND_REGISTER, .help = "", .width = 8, .kind = PGK_REGISTER_CONTROL, .writable = 1 },
};
static const char *const policies[] = { "lru", "random" };
static const pgk_option_info_v1 options[] = {
  { .name = "tlb.l1.sets", .help = "sets", .preset = INTEGER_PRESET, .kind = PGK_OPTION_GEOMETRY,
    .type = PGK_TYPE_INTEGER, .minimum = 1, .maximum = 4096 },
  { .name = "tlb.l1.ways", .help = "ways", .preset = "4", .kind = PGK_OPTION_GEOMETRY, .type = PGK_TYPE_INTEGER,
    .minimum = 0, .maximum = 64 },
  { .name = "large", .help = "large pages", .preset = BOOLEAN_PRESET, .kind = PGK_OPTION_FEATURE,
    .type = PGK_TYPE_BOOLEAN },
  { .name = "tlb.replacement", .help = "which way is given up", .preset = CHOICE_PRESET, .kind = PGK_OPTION_POLICY,
    .type = PGK_TYPE_CHOICE, .choices = policies, .choice_count = 2 },
};
static const pgk_privilege_v1 privileges[] = { { "user", "" }, { "kernel", "" } };
static const pgk_outcome_v1 outcomes[] = { { FIRST_OUTCOME, "", -1, 0 }, { "page fault", "", 14, 1 } };
static const pgk_name_v1 words[] = { { "cause", "" } };
static const pgk_name_v1 rules[] = { { "the entry is present", "Translation" } };
static const pgk_name_v1 counters_info[] = { { "accesses", "" } };
static const pgk_cache_v1 caches[] = { { "tlb.l1", "", PGK_CACHE_TLB, 1 } };
static const char *const flush_arguments[] = { "address", "identifier" };
static const char *const probe_arguments[] = { "way", "offset", "scale" };
static const pgk_encoder_v1 encoders[] = {
  { "flush", FLUSH_SIGNATURE, flush_arguments, FLUSH_ARGUMENTS, "forgets a page", FLUSH },
  { "probe", "i32(ptr,u8,i16,f64,ptr,ptr)", probe_arguments, 3, "", (void (*)(void))probe },
};
static const uint32_t context_key[] = { CONTEXT_KEY };

static const pgk_description_v1 description = {
  .size = DESCRIPTION_SIZE, .abi = PGK_ABI, .name = NAME, .title = TITLE, .version = "1", .reference = "the tests",
  .formats = formats, .format_count = 1, .regimes = regimes, .regime_count = 2,
  .registers = registers, .register_count = REGISTER_COUNT, .options = options, .option_count = 4,
  .privileges = privileges, .privilege_count = 2, .outcomes = outcomes, .outcome_count = OUTCOME_COUNT,
  .words = words, .word_count = WORD_COUNT, .rules = rules, .rule_count = 1,
  .counters = COUNTERS, .counter_count = 1, .caches = caches, .cache_count = 1,
  .encoders = encoders, .encoder_count = 2, .verdicts = VERDICTS, .identifier_bits = 12,
  .context_key = context_key, .context_key_count = 1,
};
static const pgk_os_v1 os = {
  .size = OS_SIZE, .abi = PGK_ABI, .read_faults = READ_FAULTS, .decode_faults = DECODE_FAULTS,
};
static const pgk_arch_v1 arch = {
  .size = ARCH_SIZE, .abi = ARCH_ABI, .description = &description, .os = &os, .open = open_unit, .close = close_unit,
  .message = message, .set_map = set_map, .read_register = read_register, .write_registers = write_registers,
  .regime = regime, .run = RUN, .pending = pending, .resume = resume, .counters = counters, .reset = reset,
  .dump = dump, .observe = observe, .save = save, .restore = restore, .decode = decode, .encode = encode,
};
static const pgk_arch_v1 *const archs[] = ARCHS;
static const pgk_plugin_v1 plugin = {
  .size = PLUGIN_SIZE, .abi = PLUGIN_ABI, .vendor = VENDOR, .licence = "Apache-2.0", .archs = archs,
  .arch_count = sizeof archs / sizeof *archs,
};

/* Kept although a variant may not point to them. */
const void *const fixture_kept[] = { (const void *)read_faults, (const void *)run, (const void *)flush,
                                     (const void *)&plugin, (const void *)counters_info };

const pgk_plugin_v1 *ENTRY(uint32_t host_abi) { return host_abi == PGK_ABI ? PLUGIN : 0; }
