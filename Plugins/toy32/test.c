/* SPDX-License-Identifier: Apache-2.0
 *
 * Drives toy32 through the border alone: opens the library, makes units, and compares what they do with the manual at the
 * head of toy32.c. Usage: test ./libArch-toy32.so
 */
#include <paging_plugin.h>

#include <dlfcn.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures, checks;

#define CHECK(condition) check((condition), #condition, __LINE__)
#define EQUAL(found, expected) equal((uint64_t)(found), (uint64_t)(expected), #found, __LINE__)

static void check(bool holds, const char *text, int line) {
  checks++;
  if (holds) return;
  failures++;
  printf("test.c:%d: not so: %s\n", line, text);
}

static void equal(uint64_t found, uint64_t expected, const char *text, int line) {
  checks++;
  if (found == expected) return;
  failures++;
  printf("test.c:%d: %s is 0x%" PRIx64 ", expected 0x%" PRIx64 "\n", line, text, found, expected);
}

static uint64_t seed = 88172645463325252u;
static uint64_t random_bits(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  return seed ^= seed << 17;
}

/* ---- A small machine: 4 MiB of RAM at 0, a device, memory without bytes, and a hole behind them --------------------- */

#define RAM_BYTES (4u << 20)
#define ROOT 0x1000u
#define TABLE 0x2000u
#define DEVICE 0x10000000u
#define ADDRESS_ONLY 0x20000000u

enum { CONTROL, ROOT_REGISTER, ASID, FAULT_ADDRESS, FAULT_CAUSE, FAULT_COUNT };
enum { USER, SUPERVISOR };
enum { V = 1, L = 2, R = 4, W = 8, X = 16, U = 32, G = 64, A = 128, D = 256 };

static const pgk_arch_v1 *arch;
static uint8_t *ram;
static pgk_region_v1 regions[3];
static pgk_physical_map_v1 map;

static int outcome_named(const char *name) {
  for (size_t i = 0; i < arch->description->outcome_count; i++) {
    if (!strcmp(arch->description->outcomes[i].name, name)) return (int)i;
  }
  printf("no outcome %s\n", name);
  exit(1);
}

static uint64_t counter(pgk_unit *unit, const char *name) {
  uint64_t values[32];
  size_t count = arch->counters(unit, values, 32);
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(arch->description->counters[i].name, name)) return values[i];
  }
  printf("no counter %s\n", name);
  exit(1);
}

static uint32_t entry_at(uint32_t slot) {
  uint32_t entry;
  memcpy(&entry, ram + slot, 4);
  return entry;
}
static void set_entry(uint32_t slot, uint32_t entry) { memcpy(ram + slot, &entry, 4); }

/* Maps the page at `address` (below 4 MiB) with these bits, through the one table. */
static void map_page(uint32_t address, uint32_t output, uint32_t bits) {
  set_entry(ROOT, TABLE | V);
  set_entry(TABLE + (address >> 12) * 4, output | bits | V | L);
}

static void set_register(pgk_unit *unit, uint32_t index, uint64_t value) {
  pgk_register_value_v1 pair = {index, 0, value};
  pgk_register_outcome_v1 outcome;
  EQUAL(arch->write_registers(unit, &pair, 1, &outcome), PGK_OK);
}

static uint64_t get_register(pgk_unit *unit, uint32_t index) {
  uint64_t value = 0;
  EQUAL(arch->read_register(unit, index, &value), PGK_OK);
  return value;
}

static pgk_unit *open_unit(const pgk_option_v1 *options, size_t count) {
  pgk_error_v1 error;
  pgk_unit *unit = arch->open(arch, NULL, &map, options, count, &error);
  if (!unit) {
    printf("open: %s\n", error.message);
    exit(1);
  }
  return unit;
}

/* A unit with translation on over empty tables. */
static pgk_unit *fresh_unit(const char *grouping) {
  memset(ram, 0, RAM_BYTES);
  pgk_option_v1 option = {"grouping", grouping};
  pgk_unit *unit = open_unit(&option, 1);
  set_register(unit, ROOT_REGISTER, ROOT);
  set_register(unit, CONTROL, 1);
  return unit;
}

static pgk_access_v1 make(uint8_t kind, uint64_t address, uint8_t size_log2, uint8_t flags, uint32_t tag) {
  return (pgk_access_v1){address, kind, size_log2, SUPERVISOR, flags, tag};
}

/* Runs one access; true if it finished. */
static bool run_one(pgk_unit *unit, pgk_access_v1 access, pgk_value_v1 *value, pgk_result_v1 *result) {
  EQUAL(arch->run(unit, &access, value, result, 1), 1);
  return result->outcome != PGK_OUTCOME_LISTED;
}

static pgk_listed_v1 only_item(pgk_unit *unit) {
  pgk_listed_v1 item = {0};
  EQUAL(arch->pending(unit, &item, 1), 1);
  return item;
}

static pgk_completion_v1 answer(pgk_unit *unit, uint8_t kind, int64_t expected) {
  pgk_verdict_v1 verdict = {.kind = kind};
  pgk_completion_v1 completions[16] = {0};
  EQUAL(arch->resume(unit, &verdict, 1, completions, 16), expected);
  return completions[0];
}

static void discard(pgk_unit *unit) { EQUAL(arch->reset(unit, PGK_RESET_PENDING), PGK_OK); }

/* ---- Translations against the manual --------------------------------------------------------------------------------- */

typedef struct expectation {
  int outcome;
  uint32_t physical;
  uint8_t shift, rights;
} expectation;

/* The manual, read once more and without caches. Leaves are followed only inside RAM. */
static expectation judge(uint32_t address, uint8_t kind, uint8_t privilege, bool may_touch_user) {
  uint32_t entry = entry_at(ROOT + (address >> 22) * 4), shift = 22, zero = 0x3ff200;
  if (!(entry & V)) return (expectation){.outcome = outcome_named("not_present")};
  if (!(entry & L)) {
    if (entry & 0x3fc) return (expectation){.outcome = outcome_named("invalid_entry")};
    uint32_t table = entry & 0xfffff000;
    if (table >= RAM_BYTES) return (expectation){.outcome = outcome_named("bus_error")};
    entry = entry_at(table + (address >> 12 & 1023) * 4);
    shift = 12;
    zero = 0x200;
    if (!(entry & V)) return (expectation){.outcome = outcome_named("not_present")};
    if (!(entry & L)) return (expectation){.outcome = outcome_named("invalid_entry")};
  }
  if (entry & zero || (entry & W && !(entry & R))) return (expectation){.outcome = outcome_named("invalid_entry")};
  bool reads = kind == PGK_READ || kind == PGK_LOAD_LOCKED, fetches = kind == PGK_FETCH;
  bool allowed = reads ? entry & R : fetches ? entry & X : entry & W;
  if (privilege == USER) allowed = allowed && entry & U;
  else if (entry & U) allowed = allowed && !fetches && may_touch_user;
  if (!allowed) return (expectation){.outcome = outcome_named("protection")};
  uint32_t low = (1u << shift) - 1;
  uint32_t physical = (entry & 0xfffff000 & ~low) | (address & low);
  if (physical >= RAM_BYTES) return (expectation){.outcome = outcome_named("bus_error")};
  return (expectation){0, physical, (uint8_t)shift, entry >> 2 & 15};
}

static void every_leaf_grants_what_the_manual_says(void) {
  for (uint32_t bits = 0; bits < 16; bits++) {
    for (uint32_t large = 0; large < 2; large++) {
      for (uint8_t kind = PGK_READ; kind <= PGK_FETCH; kind++) {
        for (uint32_t mode = 0; mode < 4; mode++) {
          pgk_unit *unit = fresh_unit("single");
          uint8_t privilege = mode & 1;
          set_register(unit, CONTROL, 1 | (mode & 2));
          if (large) set_entry(ROOT, bits << 2 | V | L);
          else map_page(0x5000, 0x5000, bits << 2);
          uint32_t slot = large ? ROOT : TABLE + 5 * 4;
          pgk_access_v1 access = {0x5008, kind, 2, privilege, PGK_TRANSLATE_ONLY, 7};
          pgk_result_v1 result;
          expectation expected = judge(0x5008, kind, privilege, mode & 2);
          for (int pass = 0; pass < 2; pass++) { /* walked, then from the TLB */
            EQUAL(arch->run(unit, &access, NULL, &result, 1), 1);
            if (expected.outcome == 0) {
              EQUAL(result.outcome, 0);
              EQUAL(result.output, expected.physical);
              EQUAL(result.page_shift, expected.shift);
              EQUAL(result.rights, expected.rights);
              EQUAL(result.entry_reads, pass ? 0 : large ? 1 : 2);
              bool writes = kind == PGK_WRITE || kind == PGK_MODIFY || kind == PGK_STORE_CONDITIONAL;
              EQUAL(entry_at(slot) & (A | D), writes ? A | D : A);
            } else {
              pgk_listed_v1 item = only_item(unit);
              EQUAL(item.outcome, expected.outcome);
              EQUAL(item.class_, PGK_CLASS_GUEST_FAULT);
              EQUAL(item.slot, slot);
              EQUAL(item.words[0], entry_at(slot));
              EQUAL(item.level, large);
              EQUAL(entry_at(slot) & (A | D), 0);
              discard(unit);
            }
          }
          arch->close(unit);
        }
      }
    }
  }
}

static void random_tables_translate_as_the_manual_says(void) {
  static const pgk_option_v1 absent[] = {{"tlb.l1.ways", "0"}, {"tlb.l2.ways", "0"}, {"pwc.level1.ways", "0"}};
  static const pgk_option_v1 odd[] = {{"tlb.l1.sets", "3"}, {"tlb.l2.ways", "0"}, {"pwc.level1.sets", "5"}};
  for (int round = 0; round < 60; round++) {
    memset(ram, 0, RAM_BYTES);
    for (uint32_t i = 0; i < 1024; i++) {
      uint32_t noise = (uint32_t)random_bits();
      uint32_t table = 0x4000 + (noise >> 8 & 7) * 4096;
      uint32_t leaf = (noise & 0x3f000f3c) | V | L;
      set_entry(ROOT + i * 4, noise & 7 ? table | V : noise & 0x70 ? leaf & 0x00400f3c : leaf);
    }
    for (uint32_t i = 0; i < 8 * 1024; i++) {
      uint32_t noise = (uint32_t)random_bits();
      set_entry(0x4000 + i * 4, (noise & 0x3ffd3c) | (noise >> 28 ? V | L : noise >> 24 & 3));
    }
    pgk_unit *unit = round % 3 == 0 ? open_unit(absent, 3) : round % 3 == 1 ? open_unit(odd, 3) : open_unit(NULL, 0);
    set_register(unit, ROOT_REGISTER, ROOT);
    for (int i = 0; i < 4000; i++) {
      if (i % 500 == 0) set_register(unit, CONTROL, 1 | (random_bits() & 2));
      bool may_touch_user = get_register(unit, CONTROL) & 2;
      uint32_t address = (uint32_t)random_bits() & (i % 2 ? 0xfffffff8 : 0x3fffff8);
      uint8_t kind = (uint8_t)(random_bits() % 6), privilege = random_bits() & 1;
      expectation expected = judge(address, kind, privilege, may_touch_user);
      pgk_access_v1 access = {address, kind, 3, privilege, PGK_TRANSLATE_ONLY, 0};
      pgk_result_v1 result;
      EQUAL(arch->run(unit, &access, NULL, &result, 1), 1);
      if (result.outcome == PGK_OUTCOME_LISTED) {
        EQUAL(only_item(unit).outcome, expected.outcome);
        discard(unit);
      } else {
        EQUAL(result.outcome, expected.outcome);
        EQUAL(result.output, expected.physical);
        EQUAL(result.rights, expected.rights);
      }
    }
    uint64_t served = counter(unit, "tlbL1Hits") + counter(unit, "tlbL2Hits") + counter(unit, "walks");
    EQUAL(counter(unit, "references"), served);
    arch->close(unit);
  }
}

static void translation_off_leaves_addresses_alone(void) {
  pgk_unit *unit = fresh_unit("single");
  set_register(unit, CONTROL, 0);
  pgk_result_v1 result;
  CHECK(run_one(unit, make(PGK_READ, 0x1234, 2, PGK_TRANSLATE_ONLY, 0), NULL, &result));
  EQUAL(result.output, 0x1234);
  EQUAL(result.page_shift, 64);
  EQUAL(arch->regime(unit), 1);
  CHECK(!run_one(unit, make(PGK_READ, 0x123456789, 2, PGK_TRANSLATE_ONLY, 0), NULL, &result));
  EQUAL(only_item(unit).outcome, outcome_named("address"));
  arch->close(unit);
}

/* ---- Data ------------------------------------------------------------------------------------------------------------- */

static void a_crossing_access_is_two_references_and_one_fault(void) {
  pgk_unit *unit = fresh_unit("single");
  map_page(0x5000, 0x9000, R | W);
  map_page(0x6000, 0x7000, R | W);
  pgk_value_v1 value = {0x1122334455667788, 0x99aabbccddeeff00, 0, {0, 0}, 0};
  pgk_result_v1 result;
  CHECK(run_one(unit, make(PGK_WRITE, 0x5ff9, 4, 0, 0), &value, &result));
  EQUAL(counter(unit, "references"), 2);
  EQUAL(result.output, 0x9ff9);
  EQUAL(ram[0x9ff9], 0x88);
  EQUAL(ram[0x9fff], 0x22);
  EQUAL(ram[0x7000], 0x11);
  EQUAL(ram[0x7008], 0x99);
  value = (pgk_value_v1){0};
  CHECK(run_one(unit, make(PGK_READ, 0x5ff9, 4, 0, 0), &value, &result));
  EQUAL(value.low, 0x1122334455667788);
  EQUAL(value.high, 0x99aabbccddeeff00);
  map_page(0x7000, 0x8000, R); /* read-only behind a writable page */
  CHECK(!run_one(unit, make(PGK_WRITE, 0x6ffe, 2, 0, 0), &value, &result));
  EQUAL(only_item(unit).fault_address, 0x7000);
  EQUAL(only_item(unit).access.address, 0x6ffe);
  EQUAL(ram[0x7ffe], 0);
  discard(unit);
  set_entry(ROOT + 1023 * 4, V | L | R | W); /* the last 4 MiB */
  CHECK(!run_one(unit, make(PGK_READ, 0xfffffffc, 3, 0, 0), &value, &result));
  EQUAL(only_item(unit).fault_address, 0x100000000);
  EQUAL(only_item(unit).outcome, outcome_named("address"));
  arch->close(unit);
}

static void bytes_move_as_the_mask_says(void) {
  pgk_unit *unit = fresh_unit("single");
  set_register(unit, CONTROL, 0);
  memset(ram + 0x8000, 0x55, 16);
  pgk_value_v1 value = {0x0807060504030201, 0, 0x81, {0, 0}, 0};
  pgk_result_v1 result;
  CHECK(run_one(unit, make(PGK_WRITE, 0x8000, 3, 0, 0), &value, &result));
  EQUAL(ram[0x8000], 1);
  EQUAL(ram[0x8001], 0x55);
  EQUAL(ram[0x8007], 8);
  value = (pgk_value_v1){0xaa, 0, 0, {0, 0}, 0};
  CHECK(run_one(unit, make(PGK_MODIFY, 0x8000, 0, 0, 0), &value, &result));
  EQUAL(value.low, 1);
  EQUAL(ram[0x8000], 0xaa);
  CHECK(!run_one(unit, make(PGK_MODIFY, 0x8001, 1, 0, 0), &value, &result));
  EQUAL(only_item(unit).outcome, outcome_named("misaligned"));
  arch->close(unit);
}

static uint64_t store_conditionally(pgk_unit *unit, uint64_t address, uint64_t data) {
  pgk_value_v1 value = {data, 0, 0, {0, 0}, 0};
  pgk_result_v1 result;
  CHECK(run_one(unit, make(PGK_STORE_CONDITIONAL, address, 3, 0, 0), &value, &result));
  return value.low;
}

static void a_conditional_store_needs_its_reservation(void) {
  pgk_unit *unit = fresh_unit("single");
  set_register(unit, CONTROL, 0);
  pgk_value_v1 value = {0};
  pgk_result_v1 result;
  EQUAL(store_conditionally(unit, 0x8000, 1), 1);
  CHECK(run_one(unit, make(PGK_LOAD_LOCKED, 0x8000, 3, 0, 0), &value, &result));
  EQUAL(store_conditionally(unit, 0x8000, 7), 0);
  EQUAL(ram[0x8000], 7);
  EQUAL(store_conditionally(unit, 0x8000, 8), 1); /* used up */
  CHECK(run_one(unit, make(PGK_LOAD_LOCKED, 0x8000, 3, 0, 0), &value, &result));
  EQUAL(value.low, 7);
  ram[0x8003] = 1; /* another master */
  EQUAL(store_conditionally(unit, 0x8000, 9), 1);
  CHECK(run_one(unit, make(PGK_LOAD_LOCKED, 0x8000, 3, 0, 0), &value, &result));
  value = (pgk_value_v1){7, 0, 0, {0, 0}, 0};
  CHECK(run_one(unit, make(PGK_WRITE, 0x8000, 0, 0, 0), &value, &result)); /* its own store, of the same byte */
  EQUAL(store_conditionally(unit, 0x8000, 9), 1);
  arch->close(unit);
}

static void holes_devices_and_bare_addresses(void) {
  pgk_unit *unit = fresh_unit("single");
  map_page(0x5000, DEVICE, R | W);
  map_page(0x6000, ADDRESS_ONLY, R | W);
  map_page(0x7000, 0x70000000, R | W);
  pgk_value_v1 value = {0};
  pgk_result_v1 result;
  CHECK(!run_one(unit, make(PGK_READ, 0x5010, 2, 0, 77), &value, &result));
  pgk_listed_v1 item = only_item(unit);
  EQUAL(item.class_, PGK_CLASS_DEVICE);
  EQUAL(item.guest_physical, DEVICE + 0x10);
  CHECK(item.flags & PGK_LISTED_HAS_GUEST_PHYSICAL);
  EQUAL(counter(unit, "faults"), 0);
  pgk_verdict_v1 verdict = {.kind = PGK_VERDICT_COMPLETE, .value = {0xdead, 0, 0, {0, 0}, 0}};
  pgk_completion_v1 done;
  EQUAL(arch->resume(unit, &verdict, 1, &done, 1), 1);
  EQUAL(done.tag, 77);
  EQUAL(done.value.low, 0xdead);
  EQUAL(done.result.outcome, 0);
  CHECK(!run_one(unit, make(PGK_WRITE, 0x5010, 2, 0, 78), &value, &result));
  EQUAL(answer(unit, PGK_VERDICT_DROP, 1).result.outcome, PGK_OUTCOME_DROPPED);
  CHECK(run_one(unit, make(PGK_READ, 0x5010, 2, PGK_TRANSLATE_ONLY, 0), NULL, &result)); /* no data moves */
  CHECK(run_one(unit, make(PGK_READ, 0x6010, 2, PGK_TRANSLATE_ONLY, 0), NULL, &result));
  EQUAL(result.output, ADDRESS_ONLY + 0x10);
  CHECK(run_one(unit, make(PGK_WRITE, 0x6010, 2, 0, 0), &value, &result)); /* no bytes: the store is lost */
  CHECK(run_one(unit, make(PGK_READ, 0x6010, 2, 0, 0), &value, &result));
  EQUAL(value.low, 0xffffffff);
  CHECK(!run_one(unit, make(PGK_READ, 0x7010, 2, PGK_TRANSLATE_ONLY, 0), NULL, &result));
  EQUAL(only_item(unit).outcome, outcome_named("bus_error"));
  CHECK(only_item(unit).flags & PGK_LISTED_FINAL_ADDRESS);
  discard(unit);
  set_entry(ROOT + 4, 0x70000000 | V);
  CHECK(!run_one(unit, make(PGK_READ, 0x400000, 2, PGK_TRANSLATE_ONLY, 0), NULL, &result));
  item = only_item(unit);
  EQUAL(item.outcome, outcome_named("bus_error"));
  EQUAL(item.slot, 0x70000000);
  CHECK(!(item.flags & PGK_LISTED_FINAL_ADDRESS));
  arch->close(unit);
}

static void a_speculative_load_is_never_listed(void) {
  pgk_unit *unit = fresh_unit("single");
  pgk_value_v1 value = {42, 0, 0, {0, 0}, 0};
  pgk_result_v1 result;
  CHECK(run_one(unit, make(PGK_READ, 0x5000, 2, PGK_SPECULATIVE, 0), &value, &result));
  EQUAL(result.outcome, outcome_named("suppressed"));
  EQUAL(value.low, 42);
  CHECK(!arch->description->outcomes[result.outcome].fault);
  CHECK(!run_one(unit, make(PGK_WRITE, 0x5000, 2, PGK_SPECULATIVE, 0), &value, &result));
  arch->close(unit);
}

/* ---- Memory behind functions ------------------------------------------------------------------------------------------- */

static int interference; /* how many exchanges find that the entry has changed */

static int32_t load_word(void *context, uint64_t address, uint32_t count, uint64_t *value) {
  (void)context;
  CHECK(address % count == 0 && (count == 4 || count == 8));
  *value = 0;
  memcpy(value, ram + address, count);
  return 0;
}
static int32_t store_word(void *context, uint64_t address, uint32_t count, uint64_t value) {
  (void)context;
  CHECK(address % count == 0 && (count == 4 || count == 8));
  memcpy(ram + address, &value, count);
  return 0;
}
static int32_t exchange_word(void *context, uint64_t address, uint32_t count, uint64_t expected, uint64_t desired) {
  (void)context;
  if (interference-- > 0) return 1;
  CHECK(memcmp(ram + address, &expected, count) == 0);
  memcpy(ram + address, &desired, count);
  return 0;
}

static void tables_may_lie_behind_functions_and_change_under_the_walk(void) {
  pgk_region_v1 region = {0, RAM_BYTES, PGK_REGION_CALLBACK, 0, NULL};
  pgk_physical_map_v1 slow = {sizeof slow, PGK_ABI, &region, 1, NULL, load_word, store_word, exchange_word};
  pgk_unit *unit = fresh_unit("single");
  EQUAL(arch->set_map(unit, &slow), PGK_OK);
  map_page(0x5000, 0x9000, R | W);
  memset(ram + 0x9000, 0x55, 32);
  pgk_value_v1 value = {0x0807060504030201, 0x100f0e0d0c0b0a09, 0x7ffe, {0, 0}, 0};
  pgk_result_v1 result;
  interference = 7;
  CHECK(run_one(unit, make(PGK_WRITE, 0x5003, 4, 0, 0), &value, &result));
  EQUAL(result.entry_reads, 2 + 7); /* each lost exchange walks again, from what the walk cache holds */
  EQUAL(ram[0x9003], 0x55);
  EQUAL(ram[0x9004], 2);
  EQUAL(ram[0x9011], 15);
  EQUAL(ram[0x9012], 0x55);
  value = (pgk_value_v1){0};
  CHECK(run_one(unit, make(PGK_READ, 0x5004, 3, 0, 0), &value, &result));
  EQUAL(value.low, 0x0908070605040302);
  map_page(0x6000, 0x9000, R | W);
  interference = 8;
  CHECK(!run_one(unit, make(PGK_WRITE, 0x6000, 3, 0, 0), &value, &result));
  EQUAL(only_item(unit).outcome, outcome_named("table_busy"));
  interference = 0;
  EQUAL(answer(unit, PGK_VERDICT_REPLAY, 1).result.outcome, 0);
  arch->close(unit);
}

/* ---- The list ------------------------------------------------------------------------------------------------------------ */

/* Four stores of one group; the pages of the second and the fourth are missing. */
static pgk_unit *listed_group(pgk_access_v1 accesses[4], pgk_value_v1 values[4], pgk_result_v1 results[4]) {
  pgk_unit *unit = fresh_unit("marked");
  map_page(0x10000, 0x20000, R | W);
  map_page(0x12000, 0x22000, R | W);
  for (uint32_t i = 0; i < 4; i++) {
    accesses[i] = make(PGK_WRITE, 0x10000 + i * 0x1000, 2, i == 3 ? PGK_END_OF_GROUP : 0, 100 + i);
    values[i] = (pgk_value_v1){0xa0 + i, 0, 0, {0, 0}, 0};
  }
  EQUAL(arch->run(unit, accesses, values, results, 4), 4);
  return unit;
}

static void a_group_is_listed_in_order_and_nothing_runs_ahead(void) {
  pgk_access_v1 accesses[4];
  pgk_value_v1 values[4];
  pgk_result_v1 results[4];
  pgk_unit *unit = listed_group(accesses, values, results);
  EQUAL(results[0].outcome, 0);
  for (int i = 1; i < 4; i++) EQUAL(results[i].outcome, PGK_OUTCOME_LISTED);
  EQUAL(ram[0x20000], 0xa0);
  EQUAL(ram[0x22000], 0); /* behind the fault */
  pgk_listed_v1 list[4];
  EQUAL(arch->pending(unit, NULL, 0), 3);
  EQUAL(arch->pending(unit, list, 4), 3);
  EQUAL(list[0].class_, PGK_CLASS_GUEST_FAULT);
  EQUAL(list[0].outcome, outcome_named("not_present"));
  EQUAL(list[1].class_, PGK_CLASS_COLLATERAL);
  EQUAL(list[1].outcome, 0);
  for (uint32_t i = 0; i < 3; i++) {
    EQUAL(list[i].access.tag, 101 + i);
    EQUAL(list[i].value.low, 0xa1 + i);
  }
  EQUAL(arch->run(unit, accesses, values, results, 4), PGK_E_PENDING);
  CHECK(strlen(arch->message(unit)) > 0);

  /* The first is completed by the map being repaired; the third faults anew and comes first, alone. */
  map_page(0x11000, 0x21000, R | W);
  pgk_completion_v1 done[3];
  EQUAL(arch->resume(unit, NULL, 0, done, 3), 2);
  EQUAL(done[0].tag, 101);
  EQUAL(done[1].tag, 102);
  EQUAL(ram[0x21000], 0xa1);
  EQUAL(ram[0x22000], 0xa2);
  EQUAL(only_item(unit).access.tag, 103);
  EQUAL(only_item(unit).class_, PGK_CLASS_GUEST_FAULT);
  EQUAL(only_item(unit).flags & PGK_LISTED_ANSWERED, 0);
  map_page(0x13000, 0x23000, R | W);
  answer(unit, PGK_VERDICT_REPLAY, 1);
  EQUAL(ram[0x23000], 0xa3);
  EQUAL(arch->pending(unit, NULL, 0), 0);
  EQUAL(arch->resume(unit, NULL, 0, done, 3), PGK_E_PENDING);
  arch->close(unit);
}

static void an_answer_behind_a_new_fault_stands(void) {
  pgk_access_v1 accesses[4];
  pgk_value_v1 values[4];
  pgk_result_v1 results[4];
  pgk_unit *unit = listed_group(accesses, values, results);
  /* Replayed without repair, the first is listed anew. Those behind keep what was said of them. */
  pgk_verdict_v1 verdicts[3] = {{.kind = PGK_VERDICT_REPLAY},
                                {.kind = PGK_VERDICT_REPLACE, .value = {0xee, 0, 0, {0, 0}, 0}},
                                {.kind = PGK_VERDICT_DROP}};
  pgk_completion_v1 done[3];
  pgk_listed_v1 list[3];
  EQUAL(arch->resume(unit, verdicts, 3, done, 3), 0);
  EQUAL(arch->pending(unit, list, 3), 3);
  EQUAL(list[0].access.tag, 101);
  EQUAL(list[0].flags & PGK_LISTED_ANSWERED, 0);
  CHECK(list[1].flags & PGK_LISTED_ANSWERED);
  CHECK(list[2].flags & PGK_LISTED_ANSWERED);
  EQUAL(list[1].class_, PGK_CLASS_COLLATERAL);

  pgk_verdict_v1 again[2] = {{.kind = PGK_VERDICT_REPLAY}, {.kind = PGK_VERDICT_DROP}};
  EQUAL(arch->resume(unit, again, 2, done, 3), PGK_E_VERDICT); /* an answer is final */
  EQUAL(arch->resume(unit, again, 1, done, 2), PGK_E_CAPACITY);
  EQUAL(arch->resume(unit, again, 1, done, 3), 0); /* still not repaired */
  map_page(0x11000, 0x21000, R | W);
  EQUAL(arch->resume(unit, again, 1, done, 3), 3);
  EQUAL(ram[0x21000], 0xa1);
  EQUAL(ram[0x22000], 0xee);
  EQUAL(done[2].result.outcome, PGK_OUTCOME_DROPPED);
  arch->close(unit);
}

static void refused_verdicts_change_nothing(void) {
  pgk_access_v1 accesses[4];
  pgk_value_v1 values[4];
  pgk_result_v1 results[4];
  pgk_unit *unit = listed_group(accesses, values, results);
  pgk_completion_v1 done[3];
  pgk_verdict_v1 unknown[2] = {{.kind = PGK_VERDICT_DROP}, {.kind = 7}};
  EQUAL(arch->resume(unit, unknown, 2, done, 3), PGK_E_VERDICT);
  pgk_verdict_v1 behind[2] = {{.kind = PGK_VERDICT_REFLECT}, {.kind = PGK_VERDICT_DROP}};
  EQUAL(arch->resume(unit, behind, 2, done, 3), PGK_E_VERDICT);
  pgk_verdict_v1 innocent[2] = {{.kind = PGK_VERDICT_DROP}, {.kind = PGK_VERDICT_REFLECT}};
  EQUAL(arch->resume(unit, innocent, 2, done, 3), PGK_E_VERDICT);
  pgk_verdict_v1 many[4] = {{0}};
  EQUAL(arch->resume(unit, many, 4, done, 4), PGK_E_ARGUMENT);
  pgk_listed_v1 list[3];
  EQUAL(arch->pending(unit, list, 3), 3);
  for (int i = 0; i < 3; i++) EQUAL(list[i].flags & PGK_LISTED_ANSWERED, 0);
  arch->close(unit);
}

static void write_protection_can_be_ignored_once(void) {
  pgk_unit *unit = fresh_unit("single");
  map_page(0x5000, 0x9000, R);
  pgk_value_v1 value = {5, 0, 0, {0, 0}, 0};
  pgk_result_v1 result;
  CHECK(!run_one(unit, make(PGK_WRITE, 0x5000, 0, 0, 0), &value, &result));
  answer(unit, PGK_VERDICT_REPLAY, 0); /* listed again */
  answer(unit, PGK_VERDICT_REPLAY_IGNORING_WRITE_PROTECTION, 1);
  EQUAL(ram[0x9000], 5);
  EQUAL(entry_at(TABLE + 5 * 4) & (A | D), A | D);
  value.low = 6;
  CHECK(!run_one(unit, make(PGK_WRITE, 0x5000, 0, 0, 0), &value, &result));
  EQUAL(ram[0x9000], 5);
  arch->close(unit);
}

/* ---- The guest's side ------------------------------------------------------------------------------------------------------ */

/* Fetches and decodes the fault record as an operating system does: again while it grows. */
static size_t read_record(pgk_unit *unit, pgk_listed_v1 *listed, size_t capacity) {
  pgk_access_v1 accesses[64];
  pgk_value_v1 values[64];
  pgk_result_v1 result;
  pgk_access_v1 more[64];
  pgk_value_v1 answers[64];
  size_t known = 0;
  for (;;) {
    memcpy(more, accesses, known * sizeof *more);
    memcpy(answers, values, known * sizeof *answers);
    int64_t count = arch->os->read_faults(unit, more, answers, known, 64);
    CHECK(count >= 0 && known + (size_t)count <= 64);
    if (count == 0) break;
    for (int64_t i = 0; i < count; i++) {
      CHECK(run_one(unit, more[i], &answers[i], &result));
      accesses[known] = more[i];
      values[known++] = answers[i];
    }
  }
  EQUAL(arch->os->decode_faults(unit, accesses, values, known, listed, 0), PGK_E_CAPACITY);
  int64_t items = arch->os->decode_faults(unit, accesses, values, known, listed, capacity);
  CHECK(items >= 0);
  return (size_t)items;
}

static void a_reflected_fault_takes_what_follows_with_it(void) {
  pgk_access_v1 accesses[4];
  pgk_value_v1 values[4];
  pgk_result_v1 results[4], result;
  pgk_unit *unit = listed_group(accesses, values, results);
  pgk_verdict_v1 verdict = {.kind = PGK_VERDICT_REFLECT};
  pgk_completion_v1 done[3];
  EQUAL(arch->resume(unit, &verdict, 1, done, 3), 3);
  EQUAL(done[0].result.outcome, outcome_named("not_present"));
  EQUAL(done[1].result.outcome, PGK_OUTCOME_DROPPED);
  EQUAL(done[2].result.outcome, PGK_OUTCOME_DROPPED);
  EQUAL(get_register(unit, FAULT_ADDRESS), 0x11000);
  EQUAL(get_register(unit, FAULT_CAUSE), (uint32_t)outcome_named("not_present") | PGK_WRITE << 4 | 1 << 9);
  EQUAL(get_register(unit, FAULT_COUNT), 3);
  EQUAL(ram[0x22000], 0);

  pgk_listed_v1 record[4];
  EQUAL(read_record(unit, record, 4), 3);
  EQUAL(record[0].class_, PGK_CLASS_GUEST_FAULT);
  EQUAL(record[0].fault_address, 0x11000);
  EQUAL(record[0].slot, TABLE + 0x11 * 4);
  EQUAL(record[1].class_, PGK_CLASS_COLLATERAL);
  for (uint32_t i = 0; i < 3; i++) {
    CHECK(memcmp(&record[i].access, &accesses[i + 1], sizeof accesses[0]) == 0);
    EQUAL(record[i].value.low, values[i + 1].low);
  }

  pgk_access_v1 access;
  pgk_value_v1 value;
  EQUAL(arch->os->acknowledge(unit, &access, &value, 1), 1);
  CHECK(run_one(unit, access, &value, &result));
  EQUAL(get_register(unit, FAULT_COUNT), 0);
  map_page(0x11000, 0x21000, R | W);
  map_page(0x13000, 0x23000, R | W);
  for (uint32_t i = 0; i < 3; i++) {
    EQUAL(arch->os->reexecute(unit, &record[i], &access, &value, 1), 1);
    CHECK(run_one(unit, access, &value, &result));
  }
  for (uint32_t i = 0; i < 4; i++) EQUAL(ram[0x20000 + i * 0x1000], 0xa0 + i);
  arch->close(unit);
}

static void a_fault_can_be_reflected_as_another(void) {
  pgk_unit *unit = fresh_unit("single");
  pgk_result_v1 result;
  CHECK(!run_one(unit, make(PGK_FETCH, 0x5000, 2, PGK_TRANSLATE_ONLY, 3), NULL, &result));
  pgk_verdict_v1 verdict = {.kind = PGK_VERDICT_REFLECT, .outcome = (uint8_t)outcome_named("protection"), .code = 0x52,
                            .fault_address = 0x5004, .words = {0x1234}};
  pgk_completion_v1 done;
  EQUAL(arch->resume(unit, &verdict, 1, &done, 1), 1);
  EQUAL(done.result.outcome, outcome_named("protection"));
  EQUAL(done.result.output, 0x5004);
  EQUAL(get_register(unit, FAULT_CAUSE), 0x52);
  pgk_listed_v1 record;
  EQUAL(read_record(unit, &record, 1), 1);
  EQUAL(record.words[0], 0x1234);
  arch->close(unit);
}

static void services_switch_spaces_and_invalidate(void) {
  memset(ram, 0, RAM_BYTES);
  pgk_unit *unit = open_unit(NULL, 0);
  map_page(0x5000, 0x9000, R);
  map_page(0x6000, 0xa000, R | G);
  set_entry(0x3000, V | 0x7000); /* a second space */
  set_entry(0x7000 + 5 * 4, 0xb000 | V | L | R);
  pgk_access_v1 accesses[80];
  pgk_value_v1 values[80];
  pgk_result_v1 results[80];
  int64_t count = arch->os->enable_translation(unit, 0, ROOT, 1, accesses, values, 80);
  EQUAL(arch->run(unit, accesses, values, results, (size_t)count), count);
  EQUAL(arch->regime(unit), 0);
  pgk_result_v1 result;
  pgk_access_v1 load = make(PGK_READ, 0x5000, 0, PGK_TRANSLATE_ONLY, 0), global = make(PGK_READ, 0x6000, 0, PGK_TRANSLATE_ONLY, 0);
  CHECK(run_one(unit, load, NULL, &result));
  EQUAL(result.output, 0x9000);
  CHECK(run_one(unit, global, NULL, &result));
  count = arch->os->switch_space(unit, 0x3000, 2, accesses, values, 80);
  EQUAL(arch->run(unit, accesses, values, results, (size_t)count), count);
  CHECK(run_one(unit, load, NULL, &result));
  EQUAL(result.output, 0xb000);
  CHECK(run_one(unit, global, NULL, &result)); /* global: every space sees it */
  EQUAL(result.output, 0xa000);

  set_entry(0x7000 + 5 * 4, 0xc000 | V | L | R);
  CHECK(run_one(unit, load, NULL, &result));
  EQUAL(result.output, 0xb000); /* stale: nothing was invalidated */
  count = arch->os->invalidate(unit, PGK_SCOPE_PAGE, 0x5000, 0, 2, accesses, values, 80);
  EQUAL(arch->run(unit, accesses, values, results, (size_t)count), 1);
  CHECK(run_one(unit, load, NULL, &result));
  EQUAL(result.output, 0xc000);
  set_entry(0x7000 + 6 * 4, 0xd000 | V | L | R | G);
  count = arch->os->invalidate(unit, PGK_SCOPE_PAGE, 0x6000, 0, 2, accesses, values, 80);
  EQUAL(arch->run(unit, accesses, values, results, (size_t)count), 1);
  CHECK(run_one(unit, global, NULL, &result)); /* gone, though space 1 had read it */
  EQUAL(result.output, 0xd000);
  count = arch->os->invalidate(unit, PGK_SCOPE_IDENTIFIER, 0, 0, 2, accesses, values, 80);
  EQUAL(arch->run(unit, accesses, values, results, (size_t)count), 1);
  CHECK(run_one(unit, global, NULL, &result)); /* global pages stay */
  EQUAL(result.entry_reads, 0);
  CHECK(run_one(unit, load, NULL, &result));
  EQUAL(result.entry_reads, 2);
  EQUAL(arch->os->invalidate(unit, PGK_SCOPE_RANGE, 0x5800, 0x1000, 2, accesses, values, 80), 2);
  EQUAL(arch->os->invalidate(unit, PGK_SCOPE_RANGE, 0, 1 << 30, 2, accesses, values, 80), 1);
  EQUAL(arch->os->invalidate(unit, PGK_SCOPE_RANGE, 0xfffff000, 0x40000, 2, accesses, values, 80), 1);
  EQUAL(arch->os->invalidate(unit, 9, 0, 0, 2, accesses, values, 80), PGK_E_ARGUMENT);
  EQUAL(arch->os->switch_space(unit, 0x3000, 256, accesses, values, 80), PGK_E_ARGUMENT);
  EQUAL(arch->os->switch_space(unit, 0x3001, 2, accesses, values, 80), PGK_E_UNKNOWN_BIT);
  EQUAL(arch->os->trap_entry(unit, accesses, values, 80), 0);
  EQUAL(counter(unit, "invalidations"), 3);
  arch->close(unit);
}

static void special_operations_are_the_supervisors(void) {
  pgk_unit *unit = fresh_unit("single");
  const pgk_description_v1 *d = arch->description;
  for (size_t i = 0; i < d->encoder_count; i++) {
    if (strcmp(d->encoders[i].name, "read_control")) continue;
    int32_t (*encode)(pgk_unit *, pgk_access_v1 *, pgk_value_v1 *) =
      (int32_t (*)(pgk_unit *, pgk_access_v1 *, pgk_value_v1 *))d->encoders[i].function;
    pgk_access_v1 access;
    pgk_value_v1 value;
    pgk_result_v1 result;
    EQUAL(encode(unit, &access, &value), PGK_OK);
    CHECK(run_one(unit, access, &value, &result));
    EQUAL(value.low, 1);
    access.privilege = USER;
    CHECK(!run_one(unit, access, &value, &result));
    EQUAL(only_item(unit).outcome, outcome_named("illegal"));
    discard(unit);
    access = (pgk_access_v1){UINT64_MAX, PGK_SPECIAL, 3, SUPERVISOR, 0, 0};
    CHECK(!run_one(unit, access, &value, &result));
    EQUAL(only_item(unit).outcome, outcome_named("illegal"));
    arch->close(unit);
    return;
  }
  CHECK(!"an encoder read_control");
}

/* ---- State ------------------------------------------------------------------------------------------------------------------ */

static void a_saved_unit_goes_on_as_the_first_would(void) {
  pgk_access_v1 accesses[4];
  pgk_value_v1 values[4];
  pgk_result_v1 results[4];
  pgk_unit *unit = listed_group(accesses, values, results);
  for (uint32_t what = 0; what <= PGK_SAVE_CACHES; what++) {
    int64_t count = arch->save(unit, what, NULL, 0);
    uint8_t *bytes = malloc((size_t)count), *again = malloc((size_t)count);
    EQUAL(arch->save(unit, what, bytes, (size_t)count), count);
    pgk_option_v1 option = {"grouping", "marked"};
    pgk_unit *other = open_unit(&option, 1);
    EQUAL(arch->restore(other, bytes, (size_t)count), PGK_OK);
    EQUAL(arch->save(other, what, again, (size_t)count), count);
    CHECK(memcmp(bytes, again, (size_t)count) == 0);
    pgk_listed_v1 first[3], second[3];
    EQUAL(arch->pending(unit, first, 3), 3);
    EQUAL(arch->pending(other, second, 3), 3);
    CHECK(memcmp(first, second, sizeof first) == 0);
    pgk_cached_v1 cached[8];
    EQUAL(arch->dump(other, 0, cached, 8), what ? arch->dump(unit, 0, NULL, 0) : 0);

    /* Damage is found wherever it is, and changes nothing. */
    for (int64_t at = 0; at < count; at += what ? 97 : 1) {
      bytes[at] ^= 0x10;
      EQUAL(arch->restore(other, bytes, (size_t)count), PGK_E_STATE);
      bytes[at] ^= 0x10;
    }
    for (int64_t length = 0; length < count; length += what ? 503 : 7) {
      EQUAL(arch->restore(other, bytes, (size_t)length), PGK_E_STATE);
    }
    EQUAL(arch->save(other, what, again, (size_t)count), count);
    CHECK(memcmp(bytes, again, (size_t)count) == 0);
    pgk_option_v1 smaller = {"tlb.l1.sets", "8"};
    pgk_unit *third = open_unit(&smaller, 1);
    EQUAL(arch->restore(third, bytes, (size_t)count), what ? PGK_E_STATE : PGK_OK);
    arch->close(third);
    arch->close(other);
    free(bytes);
    free(again);
  }
  arch->close(unit);
}

static uint64_t sum_of(const uint8_t *bytes, size_t count) {
  uint64_t sum = UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < count; i++) sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
  return sum;
}

/* Bytes forged with the right checksum: whatever is accepted must be a unit that can be used. */
static void forged_state_is_refused_or_harmless(void) {
  pgk_access_v1 accesses[4], load = make(PGK_READ, 0x10000, 2, PGK_TRANSLATE_ONLY, 0);
  pgk_value_v1 values[4];
  pgk_result_v1 results[4];
  pgk_unit *unit = listed_group(accesses, values, results);
  pgk_verdict_v1 verdicts[3] = {{0}, {.kind = PGK_VERDICT_REPLACE}, {.kind = PGK_VERDICT_REFLECT}};
  pgk_completion_v1 done[8];
  arch->resume(unit, verdicts, 3, done, 8);
  int64_t count = arch->save(unit, PGK_SAVE_CACHES, NULL, 0);
  uint8_t *bytes = malloc((size_t)count), *forged = malloc((size_t)count);
  arch->save(unit, PGK_SAVE_CACHES, bytes, (size_t)count);
  pgk_option_v1 option = {"grouping", "marked"};
  pgk_unit *other = open_unit(&option, 1);
  int accepted = 0;
  for (int round = 0; round < 4000; round++) {
    memcpy(forged, bytes, (size_t)count);
    size_t head = round % 2 ? 1400 : (size_t)count;
    for (int i = 0; i <= round % 3; i++) forged[32 + random_bits() % (head - 32)] = (uint8_t)random_bits();
    uint64_t sum = sum_of(forged + 32, (size_t)count - 32);
    memcpy(forged + 24, &sum, 8);
    if (arch->restore(other, forged, (size_t)count) != PGK_OK) continue;
    accepted++;
    for (int i = 0; i < 4 && arch->pending(other, NULL, 0); i++) {
      int64_t ended = arch->resume(other, NULL, 0, done, 8);
      CHECK(ended >= 0 && ended <= 8);
    }
    arch->reset(other, PGK_RESET_PENDING);
    arch->run(other, &load, NULL, results, 1);
    arch->reset(other, PGK_RESET_PENDING);
  }
  CHECK(accepted > 0 && accepted < 4000);
  free(bytes);
  free(forged);
  arch->close(other);
  arch->close(unit);
}

static void caches_age_and_are_dumped_in_order(void) {
  memset(ram, 0, RAM_BYTES);
  pgk_option_v1 shape[] = {{"tlb.l1.sets", "1"}, {"tlb.l1.ways", "2"}, {"tlb.l2.sets", "1"}, {"tlb.l2.ways", "3"}};
  pgk_unit *unit = open_unit(shape, 4);
  set_register(unit, ROOT_REGISTER, ROOT);
  set_register(unit, CONTROL, 1);
  for (uint32_t page = 1; page <= 4; page++) map_page(page << 12, page << 16, R | W);
  pgk_result_v1 result;
  static const uint32_t order[] = {1, 2, 1, 3, 2, 4};
  for (size_t i = 0; i < 6; i++) CHECK(run_one(unit, make(PGK_READ, order[i] << 12, 0, PGK_TRANSLATE_ONLY, 0), NULL, &result));
  EQUAL(counter(unit, "tlbL1Hits"), 1);
  EQUAL(counter(unit, "tlbL2Hits"), 1);
  EQUAL(counter(unit, "walks"), 4);
  EQUAL(counter(unit, "walkCacheHits"), 3);
  EQUAL(counter(unit, "entryReads"), 5);
  pgk_cached_v1 cached[4];
  EQUAL(arch->dump(unit, 0, cached, 4), 2);
  EQUAL(cached[0].input, 0x4000);
  EQUAL(cached[1].input, 0x2000);
  EQUAL(arch->dump(unit, 1, cached, 4), 3);
  EQUAL(cached[0].input, 0x4000);
  EQUAL(cached[1].input, 0x2000);
  EQUAL(cached[2].input, 0x3000);
  EQUAL(cached[2].output, 0x30000);
  EQUAL(cached[2].page_shift, 12);
  EQUAL(arch->dump(unit, 2, cached, 4), 1);
  EQUAL(cached[0].output, TABLE);
  EQUAL(arch->dump(unit, 3, cached, 4), PGK_E_ARGUMENT);
  EQUAL(arch->reset(unit, PGK_RESET_CACHES | PGK_RESET_COUNTERS), PGK_OK);
  EQUAL(arch->dump(unit, 0, cached, 4), 0);
  EQUAL(counter(unit, "walks"), 0);
  EQUAL(arch->reset(unit, 0x80), PGK_E_ARGUMENT);
  arch->close(unit);
}

static pgk_step_v1 steps[32];
static size_t step_count;
static void keep_step(void *context, const pgk_access_v1 *access, const pgk_step_v1 *step) {
  (void)access;
  CHECK(context == steps);
  if (step_count < 32) steps[step_count++] = *step;
}

static void an_observer_sees_every_step(void) {
  pgk_unit *unit = fresh_unit("single");
  map_page(0x5000, 0x9000, R | W);
  pgk_observer_v1 observer = {sizeof observer, PGK_ABI, steps, keep_step};
  EQUAL(arch->observe(unit, &observer), PGK_OK);
  pgk_result_v1 result;
  static const uint8_t expected[] = {PGK_STEP_TABLE,   PGK_STEP_LEAF,       PGK_STEP_UPDATED, PGK_STEP_TRANSLATED,
                                     PGK_STEP_TLB_HIT, PGK_STEP_CACHED,     PGK_STEP_REFUSED};
  CHECK(run_one(unit, make(PGK_READ, 0x5008, 0, PGK_TRANSLATE_ONLY, 0), NULL, &result));
  CHECK(run_one(unit, make(PGK_READ, 0x5008, 0, PGK_TRANSLATE_ONLY, 0), NULL, &result));
  CHECK(!run_one(unit, make(PGK_READ, 0x6008, 0, PGK_TRANSLATE_ONLY, 0), NULL, &result));
  EQUAL(step_count, 7);
  for (size_t i = 0; i < 7; i++) EQUAL(steps[i].kind, expected[i]);
  EQUAL(steps[0].slot, ROOT);
  EQUAL(steps[0].output, TABLE);
  EQUAL(steps[2].entry, 0x9000u | V | L | R | W | A);
  EQUAL(steps[3].output, 0x9008);
  EQUAL(steps[4].output, 0x9008);
  EQUAL(steps[6].slot, TABLE + 6 * 4);
  EQUAL(arch->observe(unit, NULL), PGK_OK);
  answer(unit, PGK_VERDICT_DROP, 1);
  CHECK(run_one(unit, make(PGK_READ, 0x5008, 0, PGK_TRANSLATE_ONLY, 0), NULL, &result));
  EQUAL(step_count, 7);
  arch->close(unit);
}

static void entries_decode_and_encode(void) {
  pgk_unit *unit = fresh_unit("single");
  for (int i = 0; i < 20000; i++) {
    uint64_t entry = (uint32_t)random_bits() & ~0xc00u, back; /* software's bits have no neutral name */
    uint32_t level = i & 1;
    pgk_entry_v1 decoded;
    EQUAL(arch->decode(unit, 0, level, &entry, &decoded, 1), PGK_OK);
    if (decoded.kind == PGK_ENTRY_INVALID) {
      EQUAL(arch->encode(unit, 0, level, &decoded, &back, 1), PGK_E_ARGUMENT);
      continue;
    }
    EQUAL(arch->encode(unit, 0, level, &decoded, &back, 1), PGK_OK);
    EQUAL(back, decoded.kind == PGK_ENTRY_ABSENT ? 0 : entry);
    EQUAL(decoded.unexpressed, 0);
  }
  pgk_entry_v1 asked = {.output = 0x400000, .attributes = PGK_ATTRIBUTE_WRITE, .kind = PGK_ENTRY_LEAF,
                        .memory_type = PGK_MEMORY_DEVICE, .key = 3};
  uint64_t bits;
  EQUAL(arch->encode(unit, 0, 1, &asked, &bits, 1), PGK_OK);
  EQUAL(asked.unexpressed, PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_MEMORY_TYPE | PGK_ATTRIBUTE_KEY);
  EQUAL(bits, 0x400000u | V | L);
  asked.output = 0x1000;
  EQUAL(arch->encode(unit, 0, 1, &asked, &bits, 1), PGK_E_ARGUMENT); /* misaligned for 4 MiB */
  asked.kind = PGK_ENTRY_TABLE;
  EQUAL(arch->encode(unit, 0, 0, &asked, &bits, 1), PGK_E_ARGUMENT);
  EQUAL(arch->encode(unit, 0, 2, &asked, &bits, 1), PGK_E_ARGUMENT);
  asked.output = 0x100000000;
  EQUAL(arch->encode(unit, 0, 1, &asked, &bits, 1), PGK_E_ARGUMENT);
  arch->close(unit);
}

static void options_are_checked(void) {
  static const pgk_option_v1 bad[] = {{"tlb.l1.sets", "0"},   {"tlb.l1.ways", "65"},      {"tlb.l1.ways", "4x"},
                                      {"tlb.l1.ways", ""},    {"grouping", "some"},       {"largePages", "yes"},
                                      {"no.such.option", "1"}, {"tlb.l1.sets", "99999999999999999999"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    pgk_error_v1 error = {0};
    CHECK(!arch->open(arch, NULL, &map, &bad[i], 1, &error));
    EQUAL(error.code, PGK_E_ARGUMENT);
    CHECK(strstr(error.message, bad[i].name));
  }
  pgk_physical_map_v1 other = map;
  other.size = 4;
  CHECK(!arch->open(arch, NULL, &other, NULL, 0, NULL));
  memset(ram, 0, RAM_BYTES);
  pgk_option_v1 none[] = {{"largePages", "false"}, {"hardwareFlags", "false"}};
  pgk_unit *unit = open_unit(none, 2);
  set_register(unit, ROOT_REGISTER, ROOT);
  set_register(unit, CONTROL, 1);
  set_entry(ROOT + 4, V | L | R);
  map_page(0x5000, 0x9000, R | W | A);
  pgk_result_v1 result;
  CHECK(!run_one(unit, make(PGK_READ, 0x400000, 0, PGK_TRANSLATE_ONLY, 0), NULL, &result));
  EQUAL(only_item(unit).outcome, outcome_named("invalid_entry"));
  discard(unit);
  CHECK(run_one(unit, make(PGK_READ, 0x5000, 0, PGK_TRANSLATE_ONLY, 0), NULL, &result));
  CHECK(!run_one(unit, make(PGK_WRITE, 0x5000, 0, PGK_TRANSLATE_ONLY, 0), NULL, &result));
  EQUAL(only_item(unit).outcome, outcome_named("flag"));
  arch->close(unit);
}

static void bad_arguments_are_refused_before_anything_starts(void) {
  pgk_unit *unit = fresh_unit("single");
  map_page(0x5000, 0x9000, R | W);
  pgk_access_v1 batch[2] = {make(PGK_READ, 0x5000, 0, PGK_TRANSLATE_ONLY, 0), {.address = 0x5000, .kind = 9}};
  pgk_result_v1 results[2];
  pgk_value_v1 values[2] = {{0}};
  EQUAL(arch->run(unit, batch, NULL, results, 2), 1); /* what comes before the bad record counts */
  EQUAL(arch->run(unit, batch + 1, NULL, results, 1), PGK_E_ARGUMENT);
  batch[1] = (pgk_access_v1){0x5000, PGK_READ, 5, SUPERVISOR, 0, 0};
  EQUAL(arch->run(unit, batch + 1, values, results, 1), PGK_E_ARGUMENT);
  batch[1] = (pgk_access_v1){0x5000, PGK_READ, 0, 2, 0, 0};
  EQUAL(arch->run(unit, batch + 1, values, results, 1), PGK_E_ARGUMENT);
  batch[1] = (pgk_access_v1){0x5000, PGK_WRITE, 0, SUPERVISOR, 0, 0};
  EQUAL(arch->run(unit, batch + 1, NULL, results, 1), PGK_E_ARGUMENT); /* a store without values */
  values[0].low = 0x5a;
  EQUAL(arch->run(unit, batch + 1, values, results, 1), 1); /* its value needs no flag */
  EQUAL(ram[0x9000], 0x5a);
  EQUAL(arch->run(unit, batch, NULL, results, 0), 0);
  pgk_register_value_v1 pairs[2] = {{ASID, 0, 5}, {CONTROL, 0, 4}};
  pgk_register_outcome_v1 outcome;
  EQUAL(arch->write_registers(unit, pairs, 2, &outcome), PGK_E_UNKNOWN_BIT);
  CHECK(strstr(arch->message(unit), "control"));
  EQUAL(get_register(unit, ASID), 0);
  uint64_t value;
  EQUAL(arch->read_register(unit, 99, &value), PGK_E_ARGUMENT);
  arch->close(unit);
}

static void the_description_tiles_its_entries(void) {
  const pgk_format_v1 *format = &arch->description->formats[0];
  for (size_t i = 0; i < format->layout_count; i++) {
    uint64_t seen = 0;
    for (size_t f = 0; f < format->layouts[i].field_count; f++) {
      const pgk_field_v1 *field = &format->layouts[i].fields[f];
      uint64_t bits = (UINT64_C(2) << field->high) - (UINT64_C(1) << field->low);
      EQUAL(seen & bits, 0);
      seen |= bits;
    }
    EQUAL(seen, UINT32_MAX);
  }
}

int main(int count, char **arguments) {
  void *library = count == 2 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  if (!library) {
    printf("usage: test LIBRARY (%s)\n", count == 2 ? dlerror() : "one argument");
    return 2;
  }
  pgk_plugin_entry_fn entry;
  void *symbol = dlsym(library, "pgk_plugin_entry");
  memcpy(&entry, &symbol, sizeof entry);
  CHECK(entry(PGK_ABI + 1) == NULL);
  arch = entry(PGK_ABI)->archs[0];
  ram = aligned_alloc(4096, RAM_BYTES);
  regions[0] = (pgk_region_v1){0, RAM_BYTES, PGK_REGION_RAM, 0, ram};
  regions[1] = (pgk_region_v1){DEVICE, 0x1000, PGK_REGION_DEVICE, 0, NULL};
  regions[2] = (pgk_region_v1){ADDRESS_ONLY, 0x1000, PGK_REGION_ADDRESS_ONLY, 0, NULL};
  map = (pgk_physical_map_v1){sizeof map, PGK_ABI, regions, 3, NULL, NULL, NULL, NULL};

  every_leaf_grants_what_the_manual_says();
  random_tables_translate_as_the_manual_says();
  translation_off_leaves_addresses_alone();
  a_crossing_access_is_two_references_and_one_fault();
  bytes_move_as_the_mask_says();
  a_conditional_store_needs_its_reservation();
  holes_devices_and_bare_addresses();
  a_speculative_load_is_never_listed();
  tables_may_lie_behind_functions_and_change_under_the_walk();
  a_group_is_listed_in_order_and_nothing_runs_ahead();
  an_answer_behind_a_new_fault_stands();
  refused_verdicts_change_nothing();
  write_protection_can_be_ignored_once();
  a_reflected_fault_takes_what_follows_with_it();
  a_fault_can_be_reflected_as_another();
  services_switch_spaces_and_invalidate();
  special_operations_are_the_supervisors();
  a_saved_unit_goes_on_as_the_first_would();
  forged_state_is_refused_or_harmless();
  caches_age_and_are_dumped_in_order();
  an_observer_sees_every_step();
  entries_decode_and_encode();
  options_are_checked();
  bad_arguments_are_refused_before_anything_starts();
  the_description_tiles_its_entries();

  free(ram);
  printf("%d checks, %d failed\n", checks, failures);
  return failures != 0;
}
