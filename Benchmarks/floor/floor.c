/* SPDX-License-Identifier: Apache-2.0
 * The jobs of floor.h. Build with gcc -O3 -march=native. */
#if defined(__GNUC__) && !defined(__clang__)
/* Otherwise ways are moved by calls of memmove, which cost more than the move. */
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif
#define _GNU_SOURCE
#include "floor.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PRESENT 0x001u
#define LARGE 0x080u
#define MAPS (PRESENT | 0x066u) /* RW, US, A, D */
#define OUTPUT 0x000ffffffffff000ull
#define PAGE 4096ull
#define TOP_SHIFT 39
#define LEAF_SHIFT 12
#define INDEX_BITS 9

#define FIRST_ADDRESS 0x7f0000000000ull
#define NATIVE_OUTPUT 0x0000000100000000ull
#define NESTED_OUTPUT 0x0000004000000000ull
#define GUEST_TABLE_BYTES (4ull << 20) /* guest-physical, right behind the guest's memory */
#define IMAGE_CAPACITY (640ull << 20)
#define NOWHERE UINT64_MAX

/* Tags of one set stand most recent first; a tag is the key plus one, so that 0 is an empty way. */
enum { L1_SETS = 16, L1_WAYS = 4, L2_SETS = 128, L2_WAYS = 12 };
enum { PREFIX4_WAYS = 2, PREFIX3_WAYS = 4, PREFIX2_SETS = 8, PREFIX2_WAYS = 4 };

typedef struct floor_caches {
  uint64_t l1[L1_SETS * L1_WAYS], l2[L2_SETS * L2_WAYS];
  uint64_t prefix4[PREFIX4_WAYS], prefix3[PREFIX3_WAYS], prefix2[PREFIX2_SETS * PREFIX2_WAYS];
} floor_caches;

struct floor_private {
  uint64_t next_guest_table;
  floor_caches caches;
};

/* ---- Tables ---- */

static inline uint64_t *entry_at(const uint8_t *image, uint64_t slot) { return (uint64_t *)(void *)(image + slot); }

static inline uint64_t slot_of(uint64_t table, uint64_t address, int shift) {
  return table + (address >> shift & 511) * 8;
}

static uint64_t new_table(floor_state *state) {
  uint64_t table = state->image_bytes;
  state->image_bytes += PAGE;
  return table;
}

/* Maps one page in the tables at `root`. The image is large enough for every job: see fits(). */
static void map_page(floor_state *state, uint64_t root, uint64_t address, uint64_t output) {
  uint64_t table = root;
  for (int shift = TOP_SHIFT; shift > LEAF_SHIFT; shift -= INDEX_BITS) {
    uint64_t *entry = entry_at(state->image, slot_of(table, address, shift));
    if (!*entry) *entry = new_table(state) | MAPS;
    table = *entry & OUTPUT;
  }
  *entry_at(state->image, slot_of(table, address, LEAF_SHIFT)) = output | MAPS;
}

/* The walk that everything is measured against: four dependent loads, with the tests that no walk can leave out. */
static inline uint64_t walk(const uint8_t *image, uint64_t root, uint64_t address) {
  uint64_t entry, table = root;
  for (int shift = TOP_SHIFT; shift > LEAF_SHIFT; shift -= INDEX_BITS) {
    entry = *entry_at(image, slot_of(table, address, shift));
    if (__builtin_expect(!(entry & PRESENT), false)) return NOWHERE;
    if (__builtin_expect(entry & LARGE, false)) {
      uint64_t offset = (1ull << shift) - 1;
      return (entry & OUTPUT & ~offset) | (address & offset);
    }
    table = entry & OUTPUT;
  }
  entry = *entry_at(image, slot_of(table, address, LEAF_SHIFT));
  return entry & PRESENT ? (entry & OUTPUT) | (address & (PAGE - 1)) : NOWHERE;
}

/* Guest tables lie in guest-physical memory: every slot is walked to before it is read. */
static inline uint64_t nested_walk(const uint8_t *image, uint64_t root, uint64_t guest_root, uint64_t address,
                                   uint64_t *references) {
  uint64_t table = guest_root;
  for (int shift = TOP_SHIFT; shift >= LEAF_SHIFT; shift -= INDEX_BITS) {
    uint64_t slot = walk(image, root, slot_of(table, address, shift));
    *references += 4 + 1;
    if (__builtin_expect(slot == NOWHERE, false)) return NOWHERE;
    uint64_t entry = *entry_at(image, slot);
    if (__builtin_expect(!(entry & PRESENT), false)) return NOWHERE;
    table = entry & OUTPUT;
  }
  *references += 4;
  return walk(image, root, table | (address & (PAGE - 1)));
}

/* ---- Preparing ---- */

static bool has(const floor_state *state, uint32_t tables, uint64_t span) {
  return state->tables == tables && state->span == span;
}

/* Leaves and what points to them, for both stages where there are two. */
static bool fits(uint64_t span) {
  return span >= PAGE && span % PAGE == 0 && span <= 1ull << 38 && 2 * (span >> 9) + (32ull << 20) <= IMAGE_CAPACITY;
}

static void start_tables(floor_state *state, uint32_t tables, uint64_t span, uint64_t output) {
  memset(state->image, 0, state->image_bytes);
  state->image_bytes = PAGE; /* no table at address 0 */
  state->root = new_table(state);
  state->guest_root = 0;
  state->first_address = FIRST_ADDRESS;
  state->span = span;
  state->output = output;
  state->tables = tables;
}

static int32_t prepare_native(floor_state *state, uint64_t span) {
  if (has(state, FLOOR_TABLES_NATIVE, span)) return 0;
  if (!fits(span)) return -1;
  start_tables(state, FLOOR_TABLES_NATIVE, span, NATIVE_OUTPUT);
  for (uint64_t at = 0; at < span; at += PAGE) map_page(state, state->root, FIRST_ADDRESS + at, NATIVE_OUTPUT + at);
  return 0;
}

/* As map_page, but the tables are the guest's, and so are the addresses in them. */
static void map_guest_page(floor_state *state, uint64_t address, uint64_t output) {
  uint64_t table = state->guest_root;
  for (int shift = TOP_SHIFT; shift >= LEAF_SHIFT; shift -= INDEX_BITS) {
    uint64_t slot = walk(state->image, state->root, slot_of(table, address, shift));
    uint64_t *entry = entry_at(state->image, slot);
    if (shift == LEAF_SHIFT) {
      *entry = output | MAPS;
    } else if (!*entry) {
      *entry = state->own->next_guest_table | MAPS;
      state->own->next_guest_table += PAGE;
    }
    table = *entry & OUTPUT;
  }
}

/* Guest-physical 0 to `span` is memory without bytes; the guest's tables follow and lie in the image. */
static int32_t prepare_nested(floor_state *state, uint64_t span) {
  if (has(state, FLOOR_TABLES_NESTED, span)) return 0;
  if (!fits(span) || span > 1ull << 30) return -1;
  start_tables(state, FLOOR_TABLES_NESTED, span, NESTED_OUTPUT);
  for (uint64_t at = 0; at < span; at += PAGE) map_page(state, state->root, at, NESTED_OUTPUT + at);
  for (uint64_t at = 0; at < GUEST_TABLE_BYTES; at += PAGE) map_page(state, state->root, span + at, new_table(state));
  state->guest_root = span;
  state->own->next_guest_table = span + PAGE;
  for (uint64_t at = 0; at < span; at += PAGE) map_guest_page(state, FIRST_ADDRESS + at, at);
  return 0;
}

/* The TLB jobs without tables translate nothing; only what the arrays do is measured. */
static int32_t prepare_none(floor_state *state, uint64_t span) {
  start_tables(state, FLOOR_TABLES_NONE, span, NATIVE_OUTPUT);
  return 0;
}

/* ---- Addresses ---- */

/* Xorshift of 64 bits with the shifts 13, 7, 17. */
static inline uint64_t next_random(uint64_t *seed) {
  uint64_t x = *seed;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return *seed = x;
}

static uint64_t random_addresses(const floor_state *state, uint64_t seed, uint64_t *addresses, size_t n) {
  for (size_t i = 0; i < n; i++) addresses[i] = state->first_address + next_random(&seed) % state->span;
  return seed;
}

/* Nine of ten within 200 KiB, nearly all others within 4 MiB, and one of a hundred from a run through memory. */
static uint64_t local_addresses(const floor_state *state, uint64_t seed, uint64_t *addresses, size_t n) {
  uint64_t run = state->first_address;
  for (size_t i = 0; i < n; i++) {
    uint64_t random = next_random(&seed), percent = random % 100;
    if (percent < 90) addresses[i] = state->first_address + (random >> 8) % (200u << 10);
    else if (percent < 99) addresses[i] = state->first_address + (random >> 8) % (4u << 20);
    else addresses[i] = run += 64;
  }
  return seed;
}

/* ---- Rounds ---- */

static void run_walks(floor_state *state, const uint64_t *addresses, size_t n, floor_counts *counts) {
  const uint8_t *image = state->image;
  uint64_t root = state->root, sum = 0;
  for (size_t i = 0; i < n; i++) sum += walk(image, root, addresses[i]);
  *counts = (floor_counts){.walks = n, .references = 4 * n, .checksum = sum};
}

/* Each address needs the last output, so that walks cannot overlap. Bit 3 changes no page. */
static void run_dependent_walks(floor_state *state, const uint64_t *addresses, size_t n, floor_counts *counts) {
  const uint8_t *image = state->image;
  uint64_t root = state->root, last = 0;
  for (size_t i = 0; i < n; i++) last = walk(image, root, addresses[i] ^ (last & 8));
  *counts = (floor_counts){.walks = n, .references = 4 * n, .checksum = last};
}

static void run_nested(floor_state *state, const uint64_t *addresses, size_t n, floor_counts *counts) {
  const uint8_t *image = state->image;
  uint64_t root = state->root, guest_root = state->guest_root, sum = 0, references = 0;
  for (size_t i = 0; i < n; i++) sum += nested_walk(image, root, guest_root, addresses[i], &references);
  *counts = (floor_counts){.walks = n, .references = references, .checksum = sum};
}

static inline uint64_t *set_of(uint64_t *array, uint32_t sets, uint32_t ways, uint64_t key) {
  return array + key % sets * ways;
}

static inline void insert(uint64_t *set, uint32_t way, uint64_t tag) {
  for (; way > 0; way--) set[way] = set[way - 1];
  set[0] = tag;
}

/* Looks up and makes most recent; a miss changes nothing. */
static inline bool find(uint64_t *array, uint32_t sets, uint32_t ways, uint64_t key) {
  uint64_t *set = set_of(array, sets, ways, key), tag = key + 1;
  uint32_t way = 0;
  while (way < ways && set[way] != tag) way++;
  if (way == ways) return false;
  insert(set, way, tag);
  return true;
}

/* Inserts in place of the oldest. */
static inline void fill(uint64_t *array, uint32_t sets, uint32_t ways, uint64_t key) {
  insert(set_of(array, sets, ways, key), ways - 1, key + 1);
}

/* Both at once: the oldest way needs no test, since it moves to the front or is replaced. */
static inline bool find_or_fill(uint64_t *array, uint32_t sets, uint32_t ways, uint64_t key) {
  uint64_t *set = set_of(array, sets, ways, key), tag = key + 1;
  uint32_t way = 0;
  while (way < ways - 1 && set[way] != tag) way++;
  bool hit = set[way] == tag;
  insert(set, way, tag);
  return hit;
}

/* All walk caches are looked up; only what the walk then reads is filled. Returns the entries read. */
static inline uint32_t shorten(floor_caches *caches, uint64_t page) {
  bool hit2 = find(caches->prefix2, PREFIX2_SETS, PREFIX2_WAYS, page >> 9);
  bool hit3 = find(caches->prefix3, 1, PREFIX3_WAYS, page >> 18);
  bool hit4 = find(caches->prefix4, 1, PREFIX4_WAYS, page >> 27);
  uint32_t reads = hit2 ? 1 : hit3 ? 2 : hit4 ? 3 : 4;
  if (reads > 1) fill(caches->prefix2, PREFIX2_SETS, PREFIX2_WAYS, page >> 9);
  if (reads > 2) fill(caches->prefix3, 1, PREFIX3_WAYS, page >> 18);
  if (reads > 3) fill(caches->prefix4, 1, PREFIX4_WAYS, page >> 27);
  return reads;
}

/* The walk on a miss loads all four levels: the walk caches are counted, not used to shorten it. */
static inline void tlb_round(floor_state *state, const uint64_t *addresses, size_t n, floor_counts *counts, bool walks) {
  floor_caches *caches = &state->own->caches;
  const uint8_t *image = state->image;
  uint64_t root = state->root;
  floor_counts c = {0};
  memset(caches, 0, sizeof *caches);
  for (size_t i = 0; i < n; i++) {
    uint64_t page = addresses[i] / PAGE;
    if (find_or_fill(caches->l1, L1_SETS, L1_WAYS, page)) {
      c.l1_hits++;
      continue;
    }
    if (find_or_fill(caches->l2, L2_SETS, L2_WAYS, page)) {
      c.l2_hits++;
      continue;
    }
    c.walks++;
    c.references += shorten(caches, page);
    if (walks) c.checksum += walk(image, root, addresses[i]);
  }
  *counts = c;
}

static void run_tlb_and_walks(floor_state *state, const uint64_t *addresses, size_t n, floor_counts *counts) {
  tlb_round(state, addresses, n, counts, true);
}

static void run_tlb(floor_state *state, const uint64_t *addresses, size_t n, floor_counts *counts) {
  tlb_round(state, addresses, n, counts, false);
}

/* ---- The library ---- */

#define GIB (1ull << 30)
#define COUNT FLOOR_ADDRESS_COUNT
#define NATIVE(walks, references) FLOOR_TABLES_NATIVE, 0, walks, references, prepare_native, random_addresses

static const floor_job jobs[] = {
  {"walk4_1GiB", "four-level walks, 1 GiB, independent", GIB, NATIVE(COUNT, 4 * COUNT), run_walks},
  {"walk4_1GiB_dep", "the same, each waits for the last", GIB, NATIVE(COUNT, 4 * COUNT), run_dependent_walks},
  {"tlb_pwc_rand1GiB", "two TLBs, walk caches, and a walk on a miss, 1 GiB", GIB, NATIVE(4169871, 8079468), run_tlb_and_walks},
  {"walk4_64GiB", "four-level walks, 64 GiB, independent", 64 * GIB, NATIVE(COUNT, 4 * COUNT), run_walks},
  {"walk4_64GiB_dep", "the same, each waits for the last", 64 * GIB, NATIVE(COUNT, 4 * COUNT), run_dependent_walks},
  {"tlb_pwc_rand64GiB", "two TLBs, walk caches, and a walk on a miss, 64 GiB", 64 * GIB, NATIVE(4193945, 12312288),
   run_tlb_and_walks},
  {"tlb_pwc_local", "TLBs and walk caches alone, addresses as of a program", 4ull << 20, FLOOR_TABLES_NONE, 0, 1024, 1028,
   prepare_none, local_addresses, run_tlb},
  {"nested4x4_1GiB", "two-dimensional walks, 1 GiB", GIB, FLOOR_TABLES_NESTED, 0, COUNT, 24 * COUNT, prepare_nested,
   random_addresses, run_nested},
  {"tlb_pwc_trace", "TLBs and walk caches alone, a recorded trace", 0, FLOOR_TABLES_NONE, 0, 0, 0, prepare_none, NULL, run_tlb},
};

#define EXPORT __attribute__((visibility("default")))

EXPORT uint32_t floor_version(void) { return FLOOR_VERSION; }

EXPORT const floor_job *floor_jobs(size_t *count) {
  *count = sizeof jobs / sizeof *jobs;
  return jobs;
}

EXPORT floor_state *floor_open(int32_t small_pages) {
  floor_state *state = calloc(1, sizeof *state);
  struct floor_private *own = calloc(1, sizeof *own);
  void *image = mmap(NULL, IMAGE_CAPACITY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (!state || !own || image == MAP_FAILED) {
    free(state);
    free(own);
    if (image != MAP_FAILED) munmap(image, IMAGE_CAPACITY);
    return NULL;
  }
  madvise(image, IMAGE_CAPACITY, small_pages ? MADV_NOHUGEPAGE : MADV_HUGEPAGE); /* a wish; the host may not grant it */
  state->image = image;
  state->own = own;
  return state;
}

EXPORT void floor_close(floor_state *state) {
  if (!state) return;
  munmap(state->image, IMAGE_CAPACITY);
  free(state->own);
  free(state);
}
