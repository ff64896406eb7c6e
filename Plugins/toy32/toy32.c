/* SPDX-License-Identifier: Apache-2.0
 *
 * toy32: a complete back end in one C file, to be read as an example. The machine is invented, and this is its manual.
 *
 * Translation   Addresses have 32 bits. With control.EN clear they are physical. With EN set, two tables of 1024 entries
 *               of 4 bytes give the physical address: bits 31:22 index the root table, bits 21:12 the last one. Pages are
 *               4 KiB, or 4 MiB where the root table holds a leaf. An access of up to 16 bytes may cross a page.
 *
 * Entries       31          12 11 10 9 8 7 6 5 4 3 2 1 0
 *               page number     SW   0 D A G U X W R L V   leaf (at level 1 bits 21:12 are zero)
 *               table number    SW   0 ................0 V  table, L clear
 *               V clear: absent, and the other bits are software's. Bits marked 0 must be zero. W without R is refused.
 *
 * Rights        Only the leaf's bits count. User software needs U. Supervisor software never fetches from a page with U,
 *               and reads and writes it only while control.SUA is set. A modify needs W, as a write does.
 *
 * Flags         The walk sets A on every access and D on every write that nothing refuses, by compare-and-exchange. An
 *               entry that changes under the walk restarts it; after eight times the access ends with table_busy.
 *
 * Caches        TLBs hold leaves, the walk cache holds table entries of level 1 by address bits 31:22. Both are tagged
 *               with the address space identifier, which a leaf with G ignores. Rights are judged again on every hit. A
 *               write that hits a leaf without D walks. No register write invalidates anything.
 *
 * Faults        A refused access, and all that has not started of its group, is listed. A fault that is delivered to the
 *               guest fills the record: fault_address, fault_cause, and one item of four parts for each operation that
 *               went with it, in order (special operation read_record). A later delivery overwrites the record.
 *               fault_cause: 3:0 outcome, 6:4 kind of access, 7 user, 8 level of the entry, 9 address of the access itself.
 *
 * Specials      The address of a special access is operation << 32 | argument. They are the supervisor's.
 *
 * How the file is laid out: description (data), unit and physical memory, caches, translation, accesses, lists and
 * verdicts, registers and encoders, services for an operating system, state, entries, opening, and the table of functions.
 */
#include <paging_plugin.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Tables and values are little-endian, and this file moves them as bytes: it needs a little-endian host."
#endif

/* The translation loop is compiled twice, with and without observer; this makes the constant reach the innermost line. */
#define INLINE static inline __attribute__((always_inline))
#define COLD static __attribute__((noinline, cold))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ==== Description: the machine as data ============================================================================= */

#define ENTRY_V 0x001u
#define ENTRY_L 0x002u
#define ENTRY_R 0x004u
#define ENTRY_W 0x008u
#define ENTRY_X 0x010u
#define ENTRY_U 0x020u
#define ENTRY_G 0x040u
#define ENTRY_A 0x080u
#define ENTRY_D 0x100u
#define ENTRY_RIGHTS_SHIFT 2 /* R, W, X, U stand in the order of PGK_RIGHT_... */
#define ENTRY_PAGE 0xfffff000u
#define LEAF_ZERO 0x00000200u
#define LARGE_LEAF_ZERO 0x003ff200u
#define TABLE_ZERO 0x000003fcu

#define PAGE_SHIFT(level) (12u + 10u * (level))
#define PAGE_BYTES(level) (UINT64_C(1) << PAGE_SHIFT(level))

static const pgk_field_v1 leaf_fields[] = {
  {"page", 31, 12, 0, 0}, {"SW", 11, 10, 0, 0}, {"zero", 9, 9, 0, 0}, {"D", 8, 8, 0, 0}, {"A", 7, 7, 0, 0}, {"G", 6, 6, 0, 0},
  {"U", 5, 5, 0, 0},      {"X", 4, 4, 0, 0},    {"W", 3, 3, 0, 0},    {"R", 2, 2, 0, 0}, {"L", 1, 1, 0, 0}, {"V", 0, 0, 0, 0},
};
static const pgk_field_v1 large_leaf_fields[] = {
  {"page", 31, 22, 0, 0}, {"zero", 21, 12, 0, 0}, {"SW", 11, 10, 0, 0}, {"zero", 9, 9, 0, 0}, {"D", 8, 8, 0, 0},
  {"A", 7, 7, 0, 0},      {"G", 6, 6, 0, 0},      {"U", 5, 5, 0, 0},    {"X", 4, 4, 0, 0},    {"W", 3, 3, 0, 0},
  {"R", 2, 2, 0, 0},      {"L", 1, 1, 0, 0},      {"V", 0, 0, 0, 0},
};
static const pgk_field_v1 table_fields[] = {
  {"table", 31, 12, 0, 0}, {"SW", 11, 10, 0, 0}, {"zero", 9, 2, 0, 0}, {"L", 1, 1, 0, 0}, {"V", 0, 0, 0, 0},
};

static const pgk_entry_layout_v1 layouts[] = {
  {"leaf of 4 KiB", PGK_ENTRY_LEAF, 1u << 0, leaf_fields, COUNT_OF(leaf_fields)},
  {"leaf of 4 MiB", PGK_ENTRY_LEAF, 1u << 1, large_leaf_fields, COUNT_OF(large_leaf_fields)},
  {"table", PGK_ENTRY_TABLE, 1u << 1, table_fields, COUNT_OF(table_fields)},
};

static const pgk_level_v1 levels[] = {{"page entry", 10, 12, 1, 0, 0}, {"root entry", 10, 22, 1, 0, 0}};

#define LEAF_ATTRIBUTES                                                                                                  \
  (PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_EXECUTE | PGK_ATTRIBUTE_USER | PGK_ATTRIBUTE_GLOBAL |        \
   PGK_ATTRIBUTE_ACCESSED | PGK_ATTRIBUTE_DIRTY)

static const pgk_format_v1 formats[] = {{
  .name = "2level",
  .title = "toy32 two-level tables",
  .reference = "toy32 manual, Entries",
  .entry_bytes = 4,
  .stage = 1,
  .input_bits = 32,
  .output_bits = 32,
  .root_alignment_shift = 12,
  .attributes = LEAF_ATTRIBUTES,
  .levels = levels,
  .level_count = COUNT_OF(levels),
  .layouts = layouts,
  .layout_count = COUNT_OF(layouts),
}};

enum { PRIVILEGE_USER, PRIVILEGE_SUPERVISOR };
static const pgk_privilege_v1 privileges[] = {
  [PRIVILEGE_USER] = {"user", "programs"},
  [PRIVILEGE_SUPERVISOR] = {"supervisor", "the operating system; special operations are its own"},
};

enum { REGIME_PAGED, REGIME_BARE };
static const pgk_regime_v1 regimes[] = {
  [REGIME_PAGED] = {"2level", "control.EN is set", 0, PGK_NO_FORMAT, PRIVILEGE_USER, PRIVILEGE_SUPERVISOR, 0},
  [REGIME_BARE] = {"bare", "control.EN is clear: addresses are physical", PGK_NO_FORMAT, PGK_NO_FORMAT, PRIVILEGE_USER,
                   PRIVILEGE_SUPERVISOR, 0},
};

#define CONTROL_EN 1u
#define CONTROL_SUA 2u

enum { REG_CONTROL, REG_ROOT, REG_ASID, REG_FAULT_ADDRESS, REG_FAULT_CAUSE, REG_FAULT_COUNT, REGISTER_COUNT };
static const pgk_register_v1 registers[] = {
  [REG_CONTROL] = {"control", "0 EN: translation is on; 1 SUA: the supervisor may read and write user pages", 32,
                   PGK_REGISTER_CONTROL, CONTROL_EN | CONTROL_SUA, 0},
  [REG_ROOT] = {"root", "physical address of the root table", 32, PGK_REGISTER_CONTROL, ENTRY_PAGE, 0},
  [REG_ASID] = {"asid", "identifier of the address space", 8, PGK_REGISTER_CONTROL, 0xff, 0},
  [REG_FAULT_ADDRESS] = {"fault_address", "first byte that the last delivered fault refused", 64, PGK_REGISTER_CONTROL,
                         UINT64_MAX, 0},
  [REG_FAULT_CAUSE] = {"fault_cause", "3:0 outcome, 6:4 kind, 7 user, 8 level, 9 address of the access itself", 32,
                       PGK_REGISTER_CONTROL, 0x3ff, 0},
  [REG_FAULT_COUNT] = {"fault_count", "operations in the fault record; writing 0 says that it was taken", 32,
                       PGK_REGISTER_CONTROL, 0, 0},
};
static const uint32_t context_key[] = {REG_CONTROL};

enum {
  OPTION_LARGE_PAGES, OPTION_HARDWARE_FLAGS, OPTION_GROUPING, OPTION_L1_SETS, OPTION_L1_WAYS, OPTION_L2_SETS,
  OPTION_L2_WAYS, OPTION_WALK_SETS, OPTION_WALK_WAYS, OPTION_COUNT
};
enum { GROUPING_SINGLE, GROUPING_MARKED };
static const char *const groupings[] = {[GROUPING_SINGLE] = "single", [GROUPING_MARKED] = "marked"};

#define SETS(name, preset) {name, "sets", preset, PGK_OPTION_GEOMETRY, PGK_TYPE_INTEGER, 1, 65536, NULL, 0}
#define WAYS(name, preset) {name, "ways of a set; 0: absent", preset, PGK_OPTION_GEOMETRY, PGK_TYPE_INTEGER, 0, 64, NULL, 0}
static const pgk_option_info_v1 options[] = {
  [OPTION_LARGE_PAGES] = {"largePages", "the root table may hold leaves of 4 MiB", "true", PGK_OPTION_FEATURE,
                          PGK_TYPE_BOOLEAN, 0, 0, NULL, 0},
  [OPTION_HARDWARE_FLAGS] = {"hardwareFlags", "the walk sets A and D; otherwise one that is missing is a fault", "true",
                             PGK_OPTION_POLICY, PGK_TYPE_BOOLEAN, 0, 0, NULL, 0},
  [OPTION_GROUPING] = {"grouping", "groups end at every access, or where an access is marked", "single", PGK_OPTION_POLICY,
                       PGK_TYPE_CHOICE, 0, 0, groupings, COUNT_OF(groupings)},
  [OPTION_L1_SETS] = SETS("tlb.l1.sets", "16"),
  [OPTION_L1_WAYS] = WAYS("tlb.l1.ways", "4"),
  [OPTION_L2_SETS] = SETS("tlb.l2.sets", "128"),
  [OPTION_L2_WAYS] = WAYS("tlb.l2.ways", "12"),
  [OPTION_WALK_SETS] = SETS("pwc.level1.sets", "8"),
  [OPTION_WALK_WAYS] = WAYS("pwc.level1.ways", "4"),
};

enum {
  OUTCOME_FINISHED, OUTCOME_ABSENT, OUTCOME_PROTECTION, OUTCOME_INVALID_ENTRY, OUTCOME_FLAG, OUTCOME_ADDRESS,
  OUTCOME_MISALIGNED, OUTCOME_BUS_ERROR, OUTCOME_TABLE_BUSY, OUTCOME_ILLEGAL, OUTCOME_DEVICE, OUTCOME_SUPPRESSED,
  OUTCOME_COUNT
};
static const pgk_outcome_v1 outcomes[] = {
  [OUTCOME_FINISHED] = {"finished", "nothing refused the access", -1, 0},
  [OUTCOME_ABSENT] = {"not_present", "an entry has V clear", OUTCOME_ABSENT, 1},
  [OUTCOME_PROTECTION] = {"protection", "the leaf does not grant the access", OUTCOME_PROTECTION, 1},
  [OUTCOME_INVALID_ENTRY] = {"invalid_entry", "an entry is not one of the format", OUTCOME_INVALID_ENTRY, 1},
  [OUTCOME_FLAG] = {"flag", "A or D is missing and the walk may not set it", OUTCOME_FLAG, 1},
  [OUTCOME_ADDRESS] = {"address", "the address has more than 32 bits", OUTCOME_ADDRESS, 1},
  [OUTCOME_MISALIGNED] = {"misaligned", "an atomic access is not naturally aligned", OUTCOME_MISALIGNED, 1},
  [OUTCOME_BUS_ERROR] = {"bus_error", "there is no memory at the physical address", OUTCOME_BUS_ERROR, 1},
  [OUTCOME_TABLE_BUSY] = {"table_busy", "the entry changed under the walk too often", OUTCOME_TABLE_BUSY, 1},
  [OUTCOME_ILLEGAL] = {"illegal", "no such special operation, or not for this privilege", OUTCOME_ILLEGAL, 1},
  [OUTCOME_DEVICE] = {"device", "a device answers at the physical address", -1, 1},
  [OUTCOME_SUPPRESSED] = {"suppressed", "a refused speculative load or fetch: its destination is unchanged", -1, 0},
};

static const pgk_name_v1 words[] = {{"entry", "the entry that decided, as it was read; 0 if none was"}};

enum {
  RULE_GRANTED, RULE_BARE, RULE_TABLE, RULE_LEAF, RULE_WALK_CACHE, RULE_TLB, RULE_ACCESSED, RULE_DIRTY, RULE_ADDRESS,
  RULE_ABSENT, RULE_NO_TABLE, RULE_ZERO, RULE_WRITE_ONLY, RULE_NO_LARGE_LEAF, RULE_USER, RULE_SUPERVISOR_FETCH,
  RULE_SUPERVISOR_DATA, RULE_READ, RULE_WRITE, RULE_EXECUTE, RULE_FLAG, RULE_BUSY, RULE_NO_TABLE_MEMORY, RULE_NO_MEMORY,
  RULE_ALIGNMENT, RULE_DEVICE, RULE_COUNT
};
/* What a rule refuses with is in the second table, so that a rule and its outcome cannot part. */
static const pgk_name_v1 rules[] = {
  [RULE_GRANTED] = {"nothing refuses the access", "Rights"},
  [RULE_BARE] = {"control.EN is clear: the address is physical", "Translation"},
  [RULE_TABLE] = {"L is clear: the entry points to a table", "Entries"},
  [RULE_LEAF] = {"L is set: the entry maps a page", "Entries"},
  [RULE_WALK_CACHE] = {"the walk cache holds the entry of level 1", "Caches"},
  [RULE_TLB] = {"a TLB holds the leaf", "Caches"},
  [RULE_ACCESSED] = {"an access sets A", "Flags"},
  [RULE_DIRTY] = {"a write sets D", "Flags"},
  [RULE_ADDRESS] = {"addresses have 32 bits", "Translation"},
  [RULE_ABSENT] = {"V is clear: the entry is absent", "Entries"},
  [RULE_NO_TABLE] = {"an entry of level 0 cannot point to a table", "Entries"},
  [RULE_ZERO] = {"a bit that must be zero is set", "Entries"},
  [RULE_WRITE_ONLY] = {"W needs R", "Entries"},
  [RULE_NO_LARGE_LEAF] = {"this model has no leaves of 4 MiB", "Entries"},
  [RULE_USER] = {"user software needs U", "Rights"},
  [RULE_SUPERVISOR_FETCH] = {"the supervisor does not fetch from a page with U", "Rights"},
  [RULE_SUPERVISOR_DATA] = {"the supervisor needs control.SUA for a page with U", "Rights"},
  [RULE_READ] = {"a read needs R", "Rights"},
  [RULE_WRITE] = {"a write or modify needs W", "Rights"},
  [RULE_EXECUTE] = {"a fetch needs X", "Rights"},
  [RULE_FLAG] = {"A or D is missing, and hardwareFlags is off", "Flags"},
  [RULE_BUSY] = {"the entry changed under the walk eight times", "Flags"},
  [RULE_NO_TABLE_MEMORY] = {"there is no memory where the entry should be", "Translation"},
  [RULE_NO_MEMORY] = {"there is no memory at the physical address", "Translation"},
  [RULE_ALIGNMENT] = {"an atomic access is naturally aligned", "Translation"},
  [RULE_DEVICE] = {"a device answers at the physical address", "Translation"},
};
static const uint8_t outcome_of_rule[RULE_COUNT] = {
  [RULE_ADDRESS] = OUTCOME_ADDRESS,
  [RULE_ABSENT] = OUTCOME_ABSENT,
  [RULE_NO_TABLE] = OUTCOME_INVALID_ENTRY,
  [RULE_ZERO] = OUTCOME_INVALID_ENTRY,
  [RULE_WRITE_ONLY] = OUTCOME_INVALID_ENTRY,
  [RULE_NO_LARGE_LEAF] = OUTCOME_INVALID_ENTRY,
  [RULE_USER] = OUTCOME_PROTECTION,
  [RULE_SUPERVISOR_FETCH] = OUTCOME_PROTECTION,
  [RULE_SUPERVISOR_DATA] = OUTCOME_PROTECTION,
  [RULE_READ] = OUTCOME_PROTECTION,
  [RULE_WRITE] = OUTCOME_PROTECTION,
  [RULE_EXECUTE] = OUTCOME_PROTECTION,
  [RULE_FLAG] = OUTCOME_FLAG,
  [RULE_BUSY] = OUTCOME_TABLE_BUSY,
  [RULE_NO_TABLE_MEMORY] = OUTCOME_BUS_ERROR,
  [RULE_NO_MEMORY] = OUTCOME_BUS_ERROR,
  [RULE_ALIGNMENT] = OUTCOME_MISALIGNED,
  [RULE_DEVICE] = OUTCOME_DEVICE,
};

enum {
  COUNTER_ACCESSES, COUNTER_REFERENCES, COUNTER_L1_HITS, COUNTER_L2_HITS, COUNTER_WALKS, COUNTER_ENTRY_READS,
  COUNTER_WALK_CACHE_HITS, COUNTER_UPDATES, COUNTER_FAULTS, COUNTER_INVALIDATIONS, COUNTER_COUNT
};
static const pgk_name_v1 counters[] = {
  [COUNTER_ACCESSES] = {"accesses", "accesses that were tried, special ones too; one that is replayed counts again"},
  [COUNTER_REFERENCES] = {"references", "TLB look-ups: one for each page of an access"},
  [COUNTER_L1_HITS] = {"tlbL1Hits", "references that the first TLB served"},
  [COUNTER_L2_HITS] = {"tlbL2Hits", "references that the second TLB served"},
  [COUNTER_WALKS] = {"walks", "references that no TLB served"},
  [COUNTER_ENTRY_READS] = {"entryReads", "table entries read"},
  [COUNTER_WALK_CACHE_HITS] = {"walkCacheHits", "walks that began below the root table"},
  [COUNTER_UPDATES] = {"updates", "entries in which A or D was set"},
  [COUNTER_FAULTS] = {"faults", "accesses refused and listed"},
  [COUNTER_INVALIDATIONS] = {"invalidations", "invalidating operations performed"},
};

enum { CACHE_L1, CACHE_L2, CACHE_WALK, CACHE_COUNT };
static const pgk_cache_v1 caches[] = {
  [CACHE_L1] = {"tlb.l1", "first TLB, for data and fetches", PGK_CACHE_TLB, 1},
  [CACHE_L2] = {"tlb.l2", "second TLB", PGK_CACHE_TLB, 1},
  [CACHE_WALK] = {"pwc", "table entries of level 1", PGK_CACHE_PREFIX, 1},
};

#define VERDICTS ((1u << PGK_VERDICT_COUNT) - 1)

/* ==== Unit and physical memory ====================================================================================== */

/* A cached entry is the entry itself with its tag: V tells a used slot, G a global one, D a dirty one. */
typedef struct cached_entry {
  uint32_t tag; /* address >> PAGE_SHIFT(level) */
  uint32_t entry;
  uint8_t level;
  uint8_t asid;
  uint16_t reserved;
} cached_entry;

/* Set-associative and least recently used; the ways of a set stand most recent first, unused ones last. */
typedef struct entry_cache {
  uint32_t sets, ways;
  cached_entry *entries;
} entry_cache;

/* A pending operation with the answer that software gave it, or an operation in the fault record. */
typedef struct operation {
  pgk_listed_v1 listed;
  pgk_verdict_v1 answer;
} operation;

typedef struct operation_list {
  operation *items;
  size_t count, capacity;
} operation_list;

/* What load_locked leaves behind. Another master's store is seen by the bytes having changed. */
typedef struct reservation {
  uint64_t physical;
  uint8_t data[16];
  uint32_t byte_count; /* 0: none */
  uint32_t reserved;
} reservation;

struct pgk_unit {
  const pgk_physical_map_v1 *map;
  size_t last_region; /* where the last address was found: a hint, checked on use */
  uint64_t registers[REGISTER_COUNT];
  uint64_t counters[COUNTER_COUNT];
  int64_t settings[OPTION_COUNT];
  entry_cache caches[CACHE_COUNT];
  reservation reservation;
  operation_list pending;
  operation_list record;
  pgk_observer_v1 observer;
  char message[256];
};

/* Refuses a call: keeps the reason for message() and returns the code. */
COLD __attribute__((format(printf, 3, 4))) int32_t refuse(pgk_unit *unit, int32_t code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(unit->message, sizeof unit->message, format, arguments);
  va_end(arguments);
  return code;
}

/* Makes room for `count` operations; false if there is no memory, and nothing has changed. */
static bool reserve(operation_list *list, size_t count) {
  if (count <= list->capacity) return true;
  if (count > SIZE_MAX / sizeof *list->items) return false;
  operation *items = realloc(list->items, count * sizeof *items);
  if (!items) return false;
  list->items = items;
  list->capacity = count;
  return true;
}

INLINE bool region_covers(const pgk_region_v1 *region, uint64_t address) {
  return address - region->base < region->length;
}

static const pgk_region_v1 *search_region(pgk_unit *unit, uint64_t address) {
  const pgk_region_v1 *regions = unit->map->regions;
  size_t low = 0, high = unit->map->region_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (regions[middle].base <= address) low = middle + 1;
    else high = middle;
  }
  if (low == 0 || !region_covers(&regions[low - 1], address)) return NULL;
  unit->last_region = low - 1;
  return &regions[low - 1];
}

/* The region at a physical address, or null for a hole. */
INLINE const pgk_region_v1 *region_at(pgk_unit *unit, uint64_t address) {
  if (unit->last_region < unit->map->region_count) {
    const pgk_region_v1 *region = &unit->map->regions[unit->last_region];
    if (region_covers(region, address)) return region;
  }
  return search_region(unit, address);
}

/* Reads a table entry; false if there is no memory for tables. Slots are aligned, so they lie in one region. */
INLINE bool load_entry(pgk_unit *unit, uint64_t slot, uint32_t *entry) {
  const pgk_region_v1 *region = region_at(unit, slot);
  if (!region) return false;
  if (region->kind == PGK_REGION_RAM) {
    memcpy(entry, (const uint8_t *)region->bytes + (slot - region->base), sizeof *entry);
    return true;
  }
  uint64_t value = 0;
  if (region->kind != PGK_REGION_CALLBACK || unit->map->load(unit->map->context, slot, 4, &value) != 0) return false;
  *entry = (uint32_t)value;
  return true;
}

enum exchange { EXCHANGE_DONE, EXCHANGE_LOST, EXCHANGE_NO_MEMORY };

/* Replaces a table entry if it still is what was read. */
static enum exchange exchange_entry(pgk_unit *unit, uint64_t slot, uint32_t expected, uint32_t desired) {
  const pgk_region_v1 *region = region_at(unit, slot);
  if (!region) return EXCHANGE_NO_MEMORY;
  if (region->kind == PGK_REGION_RAM) {
    uint32_t *place = (uint32_t *)(void *)((uint8_t *)region->bytes + (slot - region->base));
    bool done = __atomic_compare_exchange_n(place, &expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return done ? EXCHANGE_DONE : EXCHANGE_LOST;
  }
  if (region->kind != PGK_REGION_CALLBACK) return EXCHANGE_NO_MEMORY;
  int32_t answer = unit->map->compare_exchange(unit->map->context, slot, 4, expected, desired);
  return answer < 0 ? EXCHANGE_NO_MEMORY : answer == 0 ? EXCHANGE_DONE : EXCHANGE_LOST;
}

/* Moves bytes of one region through the map's functions, which know aligned words only. */
static bool move_by_callback(const pgk_physical_map_v1 *map, uint64_t physical, uint8_t *data, uint32_t count,
                             uint16_t mask, bool is_store) {
  for (uint32_t at = 0; at < count;) {
    uint64_t address = (physical + at) & ~UINT64_C(3);
    uint32_t within = (uint32_t)(physical + at - address);
    uint32_t length = 4 - within < count - at ? 4 - within : count - at;
    uint64_t word = 0;
    if (map->load(map->context, address, 4, &word) != 0) return false;
    uint8_t bytes[4];
    memcpy(bytes, &word, sizeof bytes);
    for (uint32_t i = 0; i < length; i++) {
      if (!is_store) data[at + i] = bytes[within + i];
      else if (mask >> (at + i) & 1) bytes[within + i] = data[at + i];
    }
    if (is_store) {
      word = 0;
      memcpy(&word, bytes, sizeof bytes);
      if (map->store(map->context, address, 4, word) != 0) return false;
    }
    at += length;
  }
  return true;
}

/* ==== Caches ========================================================================================================= */

INLINE bool cached_matches(const cached_entry *slot, uint32_t tag, uint32_t level, uint32_t asid) {
  return slot->tag == tag && slot->level == level && (slot->entry & ENTRY_V) &&
         (slot->asid == asid || (slot->entry & ENTRY_G));
}

INLINE cached_entry *cache_set(const entry_cache *cache, uint32_t tag) {
  return cache->entries + (size_t)(tag % cache->sets) * cache->ways;
}

/* Makes way `way` of a set the most recent, with these contents. */
INLINE void cache_promote(cached_entry *set, uint32_t way, cached_entry value) {
  for (; way > 0; way--) set[way] = set[way - 1];
  set[0] = value;
}

/* The entry for an address, made most recent; null on a miss. */
INLINE const cached_entry *cache_find(entry_cache *cache, uint32_t address, uint32_t level, uint32_t asid) {
  uint32_t tag = address >> PAGE_SHIFT(level);
  cached_entry *set = cache_set(cache, tag);
  for (uint32_t way = 0; way < cache->ways; way++) {
    if (cached_matches(&set[way], tag, level, asid)) {
      cache_promote(set, way, set[way]);
      return set;
    }
  }
  return NULL;
}

/* Inserts as most recent. An entry that already answers for the address is replaced, otherwise the oldest goes. */
INLINE void cache_fill(entry_cache *cache, cached_entry value) {
  if (cache->ways == 0) return;
  cached_entry *set = cache_set(cache, value.tag);
  uint32_t way = 0;
  while (way < cache->ways - 1 && !cached_matches(&set[way], value.tag, value.level, value.asid)) way++;
  cache_promote(set, way, value);
}

/* What an invalidation takes. */
typedef struct drop_request {
  bool every_identifier, one_address;
  uint32_t address, asid;
} drop_request;

static bool drop_takes(const drop_request *request, const cached_entry *slot) {
  if (request->every_identifier) return true;
  bool is_global = slot->entry & ENTRY_G;
  if (!request->one_address) return slot->asid == request->asid && !is_global;
  return slot->tag == request->address >> PAGE_SHIFT(slot->level) && (slot->asid == request->asid || is_global);
}

/* Drops what is asked from one set and closes the gaps, so that the order of the others stays. */
static void drop_from_set(cached_entry *set, uint32_t ways, const drop_request *request) {
  uint32_t kept = 0;
  for (uint32_t way = 0; way < ways && (set[way].entry & ENTRY_V); way++) {
    if (!drop_takes(request, &set[way])) set[kept++] = set[way];
  }
  memset(set + kept, 0, (ways - kept) * sizeof *set);
}

static void caches_drop(pgk_unit *unit, drop_request request) {
  for (uint32_t i = 0; i < CACHE_COUNT; i++) {
    entry_cache *cache = &unit->caches[i];
    if (cache->ways == 0) continue;
    if (request.one_address) {
      for (uint32_t level = 0; level < COUNT_OF(levels); level++) {
        drop_from_set(cache_set(cache, request.address >> PAGE_SHIFT(level)), cache->ways, &request);
      }
      continue;
    }
    for (uint32_t set = 0; set < cache->sets; set++) {
      drop_from_set(cache->entries + (size_t)set * cache->ways, cache->ways, &request);
    }
  }
}

/* ==== Translation ==================================================================================================== */

#define WALK_ATTEMPTS 8

/* One page of an access, translated or refused. */
typedef struct translation {
  uint64_t physical;
  uint64_t slot;  /* of the entry that decided, PGK_NO_ENTRY if none was read */
  uint32_t entry; /* its value, 0 if none was read */
  uint32_t entry_reads;
  uint8_t rule; /* RULE_GRANTED, or what refused */
  uint8_t level;
  uint8_t page_shift;
  uint8_t rights;
  bool by_tables; /* an entry decided, not the address alone */
  bool in_tables; /* the address that failed is that of a table entry */
} translation;

/* Which right a kind of access needs, and the rule that says so. */
static const uint8_t right_of_kind[PGK_KIND_COUNT] = {
  [PGK_READ] = PGK_RIGHT_READ,         [PGK_WRITE] = PGK_RIGHT_WRITE,
  [PGK_MODIFY] = PGK_RIGHT_WRITE,      [PGK_LOAD_LOCKED] = PGK_RIGHT_READ,
  [PGK_STORE_CONDITIONAL] = PGK_RIGHT_WRITE, [PGK_FETCH] = PGK_RIGHT_EXECUTE,
};
static const uint8_t rule_of_right[PGK_RIGHT_EXECUTE + 1] = {
  [PGK_RIGHT_READ] = RULE_READ, [PGK_RIGHT_WRITE] = RULE_WRITE, [PGK_RIGHT_EXECUTE] = RULE_EXECUTE,
};

INLINE bool is_write(const pgk_access_v1 *access) { return right_of_kind[access->kind] == PGK_RIGHT_WRITE; }

INLINE uint32_t entry_rights(uint32_t entry) { return entry >> ENTRY_RIGHTS_SHIFT & 15; }

/* What an entry of a level is: RULE_TABLE, RULE_LEAF, or the rule that refuses it. */
INLINE uint32_t entry_rule(const pgk_unit *unit, uint32_t entry, uint32_t level) {
  if (!(entry & ENTRY_V)) return RULE_ABSENT;
  if (!(entry & ENTRY_L)) {
    if (level == 0) return RULE_NO_TABLE;
    return entry & TABLE_ZERO ? RULE_ZERO : RULE_TABLE;
  }
  if (level == 1 && !unit->settings[OPTION_LARGE_PAGES]) return RULE_NO_LARGE_LEAF;
  if (entry & (level == 1 ? LARGE_LEAF_ZERO : LEAF_ZERO)) return RULE_ZERO;
  if ((entry & (ENTRY_W | ENTRY_R)) == ENTRY_W) return RULE_WRITE_ONLY;
  return RULE_LEAF;
}

/* Judges collected rights with privilege and control register: RULE_GRANTED, or what refuses. */
INLINE uint32_t judge(const pgk_unit *unit, const pgk_access_v1 *access, uint32_t rights, bool ignores_write_protection) {
  if (access->privilege == PRIVILEGE_USER) {
    if (!(rights & PGK_RIGHT_USER)) return RULE_USER;
  } else if (rights & PGK_RIGHT_USER) {
    if (access->kind == PGK_FETCH) return RULE_SUPERVISOR_FETCH;
    if (!(unit->registers[REG_CONTROL] & CONTROL_SUA)) return RULE_SUPERVISOR_DATA;
  }
  uint32_t right = right_of_kind[access->kind];
  if (rights & right || (ignores_write_protection && right == PGK_RIGHT_WRITE)) return RULE_GRANTED;
  return rule_of_right[right];
}

/* Tells the observer; `watched` is a constant in every loop, so without observer this is nothing. */
INLINE void tell(pgk_unit *unit, bool watched, const pgk_access_v1 *access, uint8_t kind, uint32_t rule, uint32_t level,
                 uint64_t slot, uint64_t entry, uint64_t input, uint64_t output) {
  if (!watched) return;
  pgk_step_v1 step = {slot, entry, input, output, rule, kind, (uint8_t)level, 1, 0};
  unit->observer.step(unit->observer.context, access, &step);
}

INLINE bool refused(pgk_unit *unit, bool watched, const pgk_access_v1 *access, uint64_t address, translation *t,
                    uint32_t rule) {
  t->rule = (uint8_t)rule;
  tell(unit, watched, access, PGK_STEP_REFUSED, rule, t->level, t->slot, t->entry, address, 0);
  return false;
}

/* Takes the page from a leaf. */
INLINE void take_leaf(translation *t, uint32_t address, uint32_t leaf, uint32_t level) {
  t->level = (uint8_t)level;
  t->by_tables = true;
  t->page_shift = (uint8_t)PAGE_SHIFT(level);
  t->rights = (uint8_t)entry_rights(leaf);
  uint32_t offset_mask = (uint32_t)PAGE_BYTES(level) - 1;
  t->physical = (leaf & ENTRY_PAGE & ~offset_mask) | (address & offset_mask);
}

INLINE void fill_tlbs(pgk_unit *unit, uint32_t address, uint32_t level, uint32_t leaf) {
  cached_entry value = {address >> PAGE_SHIFT(level), leaf, (uint8_t)level, (uint8_t)unit->registers[REG_ASID], 0};
  cache_fill(&unit->caches[CACHE_L1], value);
  cache_fill(&unit->caches[CACHE_L2], value);
}

enum walk_end { WALK_GRANTED, WALK_REFUSED, WALK_LOST };

/* From the root, or from where the walk cache points, to a leaf that grants the access, with A and D set in it. */
INLINE enum walk_end walk_once(pgk_unit *unit, bool watched, const pgk_access_v1 *access, uint32_t address,
                               translation *t, bool ignores_write_protection) {
  uint32_t asid = (uint32_t)unit->registers[REG_ASID];
  uint32_t table = (uint32_t)unit->registers[REG_ROOT], level = 1, entry = 0, rule;
  const cached_entry *cached = cache_find(&unit->caches[CACHE_WALK], address, 1, asid);
  if (cached) {
    unit->counters[COUNTER_WALK_CACHE_HITS]++;
    tell(unit, watched, access, PGK_STEP_CACHED, RULE_WALK_CACHE, 1, PGK_NO_ENTRY, cached->entry, address,
         cached->entry & ENTRY_PAGE);
    table = cached->entry & ENTRY_PAGE;
    level = 0;
  }
  for (;; level--) {
    t->slot = table + (address >> PAGE_SHIFT(level) & 1023) * UINT64_C(4);
    t->level = (uint8_t)level;
    t->by_tables = true;
    if (!load_entry(unit, t->slot, &entry)) {
      t->entry = 0;
      t->in_tables = true;
      refused(unit, watched, access, address, t, RULE_NO_TABLE_MEMORY);
      return WALK_REFUSED;
    }
    t->entry = entry;
    t->entry_reads++;
    unit->counters[COUNTER_ENTRY_READS]++;
    rule = entry_rule(unit, entry, level);
    if (rule != RULE_TABLE) break;
    table = entry & ENTRY_PAGE;
    tell(unit, watched, access, PGK_STEP_TABLE, RULE_TABLE, level, t->slot, entry, address, table);
    cached_entry pointer = {address >> PAGE_SHIFT(1), entry, 1, (uint8_t)asid, 0};
    cache_fill(&unit->caches[CACHE_WALK], pointer);
  }
  if (rule == RULE_LEAF) {
    tell(unit, watched, access, PGK_STEP_LEAF, RULE_LEAF, level, t->slot, entry, address, entry & ENTRY_PAGE);
    rule = judge(unit, access, entry_rights(entry), ignores_write_protection);
  }
  uint32_t flags = ENTRY_A | (is_write(access) ? ENTRY_D : 0);
  if (rule == RULE_GRANTED && (entry & flags) != flags && !unit->settings[OPTION_HARDWARE_FLAGS]) rule = RULE_FLAG;
  if (rule != RULE_GRANTED) {
    refused(unit, watched, access, address, t, rule);
    return WALK_REFUSED;
  }
  if ((entry & flags) != flags) {
    switch (exchange_entry(unit, t->slot, entry, entry | flags)) {
    case EXCHANGE_DONE: break;
    case EXCHANGE_LOST: return WALK_LOST;
    case EXCHANGE_NO_MEMORY:
      t->in_tables = true;
      refused(unit, watched, access, address, t, RULE_NO_TABLE_MEMORY);
      return WALK_REFUSED;
    }
    unit->counters[COUNTER_UPDATES]++;
    entry |= flags;
    tell(unit, watched, access, PGK_STEP_UPDATED, is_write(access) ? RULE_DIRTY : RULE_ACCESSED, level, t->slot, entry,
         address, entry & ENTRY_PAGE);
  }
  fill_tlbs(unit, address, level, entry);
  take_leaf(t, address, entry, level);
  tell(unit, watched, access, PGK_STEP_TRANSLATED, RULE_GRANTED, level, PGK_NO_ENTRY, 0, address, t->physical);
  return WALK_GRANTED;
}

INLINE bool walk(pgk_unit *unit, bool watched, const pgk_access_v1 *access, uint32_t address, translation *t,
                 bool ignores_write_protection) {
  unit->counters[COUNTER_WALKS]++;
  for (uint32_t attempt = 0; attempt < WALK_ATTEMPTS; attempt++) {
    enum walk_end end = walk_once(unit, watched, access, address, t, ignores_write_protection);
    if (end != WALK_LOST) return end == WALK_GRANTED;
  }
  return refused(unit, watched, access, address, t, RULE_BUSY);
}

/* The leaf for an address from a TLB, tried with both page sizes; null on a miss. */
INLINE const cached_entry *tlb_find(pgk_unit *unit, uint32_t cache, uint32_t address) {
  uint32_t asid = (uint32_t)unit->registers[REG_ASID];
  const cached_entry *found = cache_find(&unit->caches[cache], address, 0, asid);
  return found ? found : cache_find(&unit->caches[cache], address, 1, asid);
}

/* Translates one page of an access: false if something refuses it, and `t` says what. */
INLINE bool translate(pgk_unit *unit, bool watched, const pgk_access_v1 *access, uint64_t wide_address, translation *t,
                      bool ignores_write_protection) {
  *t = (translation){.slot = PGK_NO_ENTRY};
  if (wide_address >> 32) return refused(unit, watched, access, wide_address, t, RULE_ADDRESS);
  uint32_t address = (uint32_t)wide_address;
  if (!(unit->registers[REG_CONTROL] & CONTROL_EN)) {
    t->physical = address;
    t->page_shift = 64;
    t->rights = PGK_RIGHT_READ | PGK_RIGHT_WRITE | PGK_RIGHT_EXECUTE | PGK_RIGHT_USER;
    tell(unit, watched, access, PGK_STEP_TRANSLATED, RULE_BARE, 0, PGK_NO_ENTRY, 0, address, address);
    return true;
  }
  unit->counters[COUNTER_REFERENCES]++;
  uint32_t cache = CACHE_L1;
  const cached_entry *found = tlb_find(unit, CACHE_L1, address);
  if (!found) {
    cache = CACHE_L2;
    found = tlb_find(unit, CACHE_L2, address);
  }
  if (!found) return walk(unit, watched, access, address, t, ignores_write_protection);
  cached_entry leaf = *found;
  uint32_t rule = judge(unit, access, entry_rights(leaf.entry), ignores_write_protection);
  /* The entry in memory must learn of the first write. */
  if (rule == RULE_GRANTED && is_write(access) && !(leaf.entry & ENTRY_D)) {
    return walk(unit, watched, access, address, t, ignores_write_protection);
  }
  unit->counters[cache == CACHE_L1 ? COUNTER_L1_HITS : COUNTER_L2_HITS]++;
  if (cache == CACHE_L2) {
    /* A global leaf keeps the identifier that it was read with. */
    cache_fill(&unit->caches[CACHE_L1], leaf);
  }
  take_leaf(t, address, leaf.entry, leaf.level);
  tell(unit, watched, access, PGK_STEP_TLB_HIT, RULE_TLB, leaf.level, PGK_NO_ENTRY, leaf.entry, address, t->physical);
  return rule == RULE_GRANTED || refused(unit, watched, access, address, t, rule);
}

/* ==== Accesses ======================================================================================================= */

/* The bytes of an access lie in one or two pieces, parted at a multiple of 16. Pages and regions end at such multiples,
 * so a piece lies in one page and in one region. */
typedef struct piece {
  uint64_t physical;
  const pgk_region_v1 *region;
  uint32_t first, count; /* of the access's bytes */
} piece;

static bool move_piece(pgk_unit *unit, const piece *p, uint8_t *data, uint16_t mask, bool is_store) {
  if (p->region->kind == PGK_REGION_CALLBACK) {
    return move_by_callback(unit->map, p->physical, data + p->first, p->count, (uint16_t)(mask >> p->first), is_store);
  }
  if (p->region->kind == PGK_REGION_ADDRESS_ONLY) { /* no bytes: reads as ones, a store is lost */
    if (!is_store) memset(data + p->first, 0xff, p->count);
    return true;
  }
  uint8_t *memory = (uint8_t *)p->region->bytes + (p->physical - p->region->base);
  if (!is_store) {
    memcpy(data + p->first, memory, p->count);
    return true;
  }
  for (uint32_t i = 0; i < p->count; i++) {
    if (mask >> (p->first + i) & 1) memory[i] = data[p->first + i];
  }
  return true;
}

static bool move_bytes(pgk_unit *unit, const piece *pieces, uint32_t count, uint8_t *data, uint16_t mask, bool is_store) {
  for (uint32_t i = 0; i < count; i++) {
    if (!move_piece(unit, &pieces[i], data, mask, is_store)) return false;
  }
  return true;
}

/* A store of this unit to reserved bytes ends the reservation. */
static void end_reservation_at(pgk_unit *unit, const piece *pieces, uint32_t count) {
  const reservation *held = &unit->reservation;
  for (uint32_t i = 0; i < count && held->byte_count; i++) {
    if (pieces[i].physical < held->physical + held->byte_count && held->physical < pieces[i].physical + pieces[i].count) {
      unit->reservation = (reservation){0};
    }
  }
}

/* Whether a conditional store may store: the reservation is for its bytes, and they are what was loaded. */
static bool reservation_holds(const pgk_unit *unit, const piece *p, const uint8_t *now, uint32_t size) {
  const reservation *held = &unit->reservation;
  return held->byte_count == size && held->physical == p->physical && memcmp(held->data, now, size) == 0;
}

static void deliver(pgk_value_v1 *value, const uint8_t data[16]) {
  *value = (pgk_value_v1){0};
  memcpy(&value->low, data, 8);
  memcpy(&value->high, data + 8, 8);
}

/* Moves the data of a translated access; false if memory failed. */
static bool move_data(pgk_unit *unit, const pgk_access_v1 *access, const piece *pieces, uint32_t count,
                      pgk_value_v1 *value) {
  uint32_t size = 1u << access->size_log2;
  uint16_t mask = is_write(access) && value->mask ? value->mask : UINT16_MAX;
  uint8_t given[16], found[16] = {0};
  memcpy(given, &value->low, 8);
  memcpy(given + 8, &value->high, 8);
  if (access->kind != PGK_WRITE && !move_bytes(unit, pieces, count, found, UINT16_MAX, false)) return false;
  switch (access->kind) {
  case PGK_WRITE:
    end_reservation_at(unit, pieces, count);
    return move_bytes(unit, pieces, count, given, mask, true);
  case PGK_MODIFY:
    end_reservation_at(unit, pieces, count);
    if (!move_bytes(unit, pieces, count, given, mask, true)) return false;
    break;
  case PGK_LOAD_LOCKED:
    unit->reservation = (reservation){.physical = pieces[0].physical, .byte_count = size};
    memcpy(unit->reservation.data, found, size);
    break;
  case PGK_STORE_CONDITIONAL: {
    bool holds = reservation_holds(unit, &pieces[0], found, size);
    unit->reservation = (reservation){0};
    if (holds && !move_bytes(unit, pieces, count, given, mask, true)) return false;
    *value = (pgk_value_v1){.low = holds ? 0 : 1};
    return true;
  }
  default: break;
  }
  deliver(value, found);
  return true;
}

static bool special(pgk_unit *unit, const pgk_access_v1 *access, pgk_value_v1 *value);

/* Whether the value that comes with an access is meant: that of a store always is. */
INLINE bool has_value(const pgk_access_v1 *access) { return access->flags & PGK_HAS_VALUE || is_write(access); }

/* Why an access did not finish, in the terms of the list. */
typedef struct failure {
  const translation *page;
  uint64_t address; /* first byte refused */
  uint64_t physical;
  uint32_t entry_reads;
  uint8_t outcome;
} failure;

/* Writes the list item of an access that did not finish, and its result. True if a speculative access ends so instead. */
COLD bool list_or_suppress(pgk_unit *unit, const pgk_access_v1 *access, const pgk_value_v1 *value, failure why,
                           pgk_result_v1 *result, pgk_listed_v1 *listed) {
  *result = (pgk_result_v1){why.address, PGK_OUTCOME_LISTED, why.page->level, 0, 0, why.entry_reads};
  if (access->flags & PGK_SPECULATIVE && (access->kind == PGK_READ || access->kind == PGK_FETCH)) {
    result->outcome = OUTCOME_SUPPRESSED;
    return true;
  }
  bool is_device = why.outcome == OUTCOME_DEVICE;
  if (!is_device) unit->counters[COUNTER_FAULTS]++;
  bool is_final = !why.page->in_tables;
  *listed = (pgk_listed_v1){
    .access = *access,
    .fault_address = why.address,
    .guest_physical = is_device ? why.physical : 0,
    .slot = why.page->slot,
    .entry_reads = why.entry_reads,
    .code = why.outcome | (uint32_t)access->kind << 4 | (access->privilege == PRIVILEGE_USER ? 1u << 7 : 0) |
            (uint32_t)why.page->level << 8 | (is_final ? 1u << 9 : 0),
    .class_ = is_device ? PGK_CLASS_DEVICE : PGK_CLASS_GUEST_FAULT,
    .outcome = why.outcome,
    .stage = why.page->by_tables ? 1 : 0,
    .level = why.page->level,
    .flags = (uint8_t)((is_final ? PGK_LISTED_FINAL_ADDRESS : 0) | (is_device ? PGK_LISTED_HAS_GUEST_PHYSICAL : 0)),
    .word_count = COUNT_OF(words),
    .words = {why.page->entry},
  };
  if (value && has_value(access)) {
    listed->value = *value;
    listed->flags |= PGK_LISTED_HAS_VALUE;
  }
  return false;
}

/* Finds the regions of an access; RULE_GRANTED, or the rule that ends it, with `culprit` the piece concerned. A hole is
 * found before a device, so that no device sees half an access. */
INLINE uint32_t place_pieces(pgk_unit *unit, piece *pieces, uint32_t count, bool moves_data, uint32_t *culprit) {
  uint32_t rule = RULE_GRANTED;
  for (uint32_t i = 0; i < count; i++) {
    const pgk_region_v1 *region = region_at(unit, pieces[i].physical);
    pieces[i].region = region;
    if (!region) {
      *culprit = i;
      return RULE_NO_MEMORY;
    }
    if (moves_data && region->kind == PGK_REGION_DEVICE && rule == RULE_GRANTED) {
      *culprit = i;
      rule = RULE_DEVICE;
    }
  }
  return rule;
}

/* Performs one access: true if it is finished, with its result and value; otherwise `listed` says why not. */
INLINE bool perform(pgk_unit *unit, bool watched, const pgk_access_v1 *access, pgk_value_v1 *value, pgk_result_v1 *result,
                    pgk_listed_v1 *listed, bool ignores_write_protection) {
  translation pages[2] = {{.slot = PGK_NO_ENTRY}};
  unit->counters[COUNTER_ACCESSES]++;
  if (access->kind == PGK_SPECIAL) {
    *result = (pgk_result_v1){0};
    if (special(unit, access, value)) return true;
    failure why = {&pages[0], access->address, 0, 0, OUTCOME_ILLEGAL};
    return list_or_suppress(unit, access, value, why, result, listed);
  }
  uint64_t address = access->address;
  uint32_t size = 1u << access->size_log2, room = 16 - (uint32_t)(address & 15);
  piece pieces[2] = {{.first = 0, .count = size < room ? size : room}, {.first = room, .count = size - room}};
  uint32_t piece_count = size <= room ? 1 : 2, page = 0, entry_reads, rule, culprit = 0;
  bool is_atomic = access->kind >= PGK_MODIFY && access->kind <= PGK_STORE_CONDITIONAL;
  if (is_atomic && address & (size - 1)) {
    refused(unit, watched, access, address, &pages[0], RULE_ALIGNMENT);
    failure why = {&pages[0], address, 0, 0, OUTCOME_MISALIGNED};
    return list_or_suppress(unit, access, value, why, result, listed);
  }
  if (!translate(unit, watched, access, address, &pages[0], ignores_write_protection)) {
    failure why = {&pages[0], address, 0, pages[0].entry_reads, outcome_of_rule[pages[0].rule]};
    return list_or_suppress(unit, access, value, why, result, listed);
  }
  pieces[0].physical = pages[0].physical;
  entry_reads = pages[0].entry_reads;
  uint32_t rights = pages[0].rights;
  if (piece_count == 2) {
    uint64_t next = address + room;
    pieces[1].physical = pages[0].physical + room;
    if ((next & (PAGE_BYTES(0) - 1)) == 0) {
      page = 1;
      bool passes = translate(unit, watched, access, next, &pages[1], ignores_write_protection);
      entry_reads += pages[1].entry_reads;
      if (!passes) {
        failure why = {&pages[1], next, 0, entry_reads, outcome_of_rule[pages[1].rule]};
        return list_or_suppress(unit, access, value, why, result, listed);
      }
      pieces[1].physical = pages[1].physical;
      rights &= pages[1].rights;
    }
  }
  bool moves_data = !(access->flags & PGK_TRANSLATE_ONLY);
  rule = place_pieces(unit, pieces, piece_count, moves_data, &culprit);
  if (rule == RULE_GRANTED && moves_data && !move_data(unit, access, pieces, piece_count, value)) rule = RULE_NO_MEMORY;
  if (rule != RULE_GRANTED) {
    translation *t = &pages[culprit ? page : 0];
    uint64_t first = culprit ? address + room : address;
    refused(unit, watched, access, first, t, rule);
    failure why = {t, first, pieces[culprit].physical, entry_reads, outcome_of_rule[rule]};
    return list_or_suppress(unit, access, value, why, result, listed);
  }
  /* What a crossing access says of its translation is that of its first byte; rights are those of both pages. */
  *result = (pgk_result_v1){pages[0].physical,   PGK_OUTCOME_FINISHED, pages[0].level,
                            pages[0].page_shift, (uint8_t)rights,      entry_reads};
  return true;
}

/* Whether a record of a batch can be performed at all. */
INLINE bool record_is_sound(const pgk_access_v1 *access, const pgk_value_v1 *values) {
  if (access->kind >= PGK_KIND_COUNT || access->size_log2 > 4 || access->privilege > PRIVILEGE_SUPERVISOR) return false;
  return values || (access->kind != PGK_SPECIAL && access->flags & PGK_TRANSLATE_ONLY);
}

COLD int64_t refuse_record(pgk_unit *unit, const pgk_access_v1 *access, size_t index) {
  if (access->kind >= PGK_KIND_COUNT || access->size_log2 > 4 || access->privilege > PRIVILEGE_SUPERVISOR) {
    return refuse(unit, PGK_E_ARGUMENT,
                  "access %zu: kind %u, size_log2 %u, privilege %u; expected at most 6, 4 and 1", index, access->kind,
                  access->size_log2, access->privilege);
  }
  return refuse(unit, PGK_E_ARGUMENT, "access %zu moves data or is special, but there are no values", index);
}

/* One past the last access of the group that begins at `start`. */
static size_t group_end(const pgk_unit *unit, const pgk_access_v1 *accesses, size_t start, size_t count) {
  if (unit->settings[OPTION_GROUPING] == GROUPING_SINGLE) return start + 1;
  size_t end = start;
  while (end < count - 1 && !(accesses[end].flags & PGK_END_OF_GROUP)) end++;
  return end + 1;
}

/* Lists what is left of a group behind its access `failed`, which is the list's first item already. */
COLD void list_rest_of_group(pgk_unit *unit, const pgk_access_v1 *accesses, const pgk_value_v1 *values,
                             pgk_result_v1 *results, size_t failed, size_t end) {
  unit->pending.items[0].answer = (pgk_verdict_v1){0};
  unit->pending.count = 1;
  for (size_t i = failed + 1; i < end; i++) {
    operation *item = &unit->pending.items[unit->pending.count++];
    *item = (operation){.listed = {.access = accesses[i], .fault_address = accesses[i].address, .slot = PGK_NO_ENTRY}};
    if (values && has_value(&accesses[i])) {
      item->listed.value = values[i];
      item->listed.flags = PGK_LISTED_HAS_VALUE;
    }
    results[i] = (pgk_result_v1){.output = accesses[i].address, .outcome = PGK_OUTCOME_LISTED};
  }
}

INLINE int64_t run_batch(pgk_unit *unit, bool watched, const pgk_access_v1 *accesses, pgk_value_v1 *values,
                         pgk_result_v1 *results, size_t count) {
  for (size_t start = 0; start < count;) {
    size_t end = group_end(unit, accesses, start, count);
    for (size_t i = start; i < end; i++) {
      if (!record_is_sound(&accesses[i], values)) {
        int64_t code = refuse_record(unit, &accesses[i], i);
        return start ? (int64_t)start : code; /* what was consumed counts; the next call begins with the bad group */
      }
    }
    if (!reserve(&unit->pending, end - start)) {
      int64_t code = refuse(unit, PGK_E_CAPACITY, "no memory to list a group of %zu accesses", end - start);
      return start ? (int64_t)start : code;
    }
    for (size_t i = start; i < end; i++) {
      pgk_value_v1 *value = values ? &values[i] : NULL;
      if (!perform(unit, watched, &accesses[i], value, &results[i], &unit->pending.items[0].listed, false)) {
        list_rest_of_group(unit, accesses, values, results, i, end);
        return (int64_t)end;
      }
    }
    start = end;
  }
  return (int64_t)count;
}

/* What a hypervisor does while operations are listed: special accesses of its own, none of which is ever listed. */
COLD int64_t run_beside_list(pgk_unit *unit, const pgk_access_v1 *accesses, pgk_value_v1 *values, pgk_result_v1 *results,
                             size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (accesses[i].kind != PGK_SPECIAL || !(accesses[i].flags & PGK_HYPERVISOR)) {
      return refuse(unit, PGK_E_PENDING, "%zu operations are listed; answer them with resume first", unit->pending.count);
    }
    if (!record_is_sound(&accesses[i], values)) return refuse_record(unit, &accesses[i], i);
  }
  for (size_t i = 0; i < count; i++) {
    pgk_listed_v1 listed;
    if (!perform(unit, false, &accesses[i], &values[i], &results[i], &listed, false)) results[i].outcome = listed.outcome;
  }
  return (int64_t)count;
}

static int64_t unit_run(pgk_unit *unit, const pgk_access_v1 *accesses, pgk_value_v1 *values, pgk_result_v1 *results,
                        size_t count) {
  if (count && (!accesses || !results)) return refuse(unit, PGK_E_ARGUMENT, "run needs accesses and results");
  if (unit->pending.count) return run_beside_list(unit, accesses, values, results, count);
  /* Two loops: a unit without observer does not even test for one. */
  if (unit->observer.step) return run_batch(unit, true, accesses, values, results, count);
  return run_batch(unit, false, accesses, values, results, count);
}

/* ==== Lists and verdicts ============================================================================================= */

static size_t unit_pending(pgk_unit *unit, pgk_listed_v1 *listed, size_t capacity) {
  for (size_t i = 0; i < unit->pending.count && i < capacity; i++) listed[i] = unit->pending.items[i].listed;
  return unit->pending.count;
}

static int32_t check_verdict(pgk_unit *unit, const pgk_verdict_v1 *verdict, const pgk_listed_v1 *listed, size_t index) {
  if (verdict->kind >= PGK_VERDICT_COUNT) {
    return refuse(unit, PGK_E_VERDICT, "verdict %zu: kind %u is not one of 0 to 6", index, verdict->kind);
  }
  if (verdict->kind != PGK_VERDICT_LEAVE && listed->flags & PGK_LISTED_ANSWERED) {
    return refuse(unit, PGK_E_VERDICT, "verdict %zu: the operation is answered, and an answer is final; leave it", index);
  }
  if (verdict->kind == PGK_VERDICT_REPLACE && !(listed->flags & PGK_LISTED_HAS_VALUE)) {
    return refuse(unit, PGK_E_VERDICT, "verdict %zu: the operation has no value that could be replaced", index);
  }
  if (verdict->kind == PGK_VERDICT_REFLECT && (verdict->outcome >= OUTCOME_COUNT ||
                                               (verdict->outcome && !outcomes[verdict->outcome].fault))) {
    return refuse(unit, PGK_E_VERDICT, "verdict %zu: outcome %u is not a fault of this machine", index, verdict->outcome);
  }
  bool names_no_fault = !verdict->outcome && (!listed->outcome || listed->outcome == OUTCOME_DEVICE);
  if (verdict->kind == PGK_VERDICT_REFLECT && names_no_fault) {
    return refuse(unit, PGK_E_VERDICT, "verdict %zu: the operation has no fault of its own; name an outcome", index);
  }
  return PGK_OK;
}

/* Once an item goes to the guest all behind it goes with it, so nothing else may be said of what is behind. */
static int32_t check_verdicts(pgk_unit *unit, const pgk_verdict_v1 *verdicts, size_t count) {
  bool reflects = false;
  for (size_t i = 0; i < count; i++) {
    if (reflects && verdicts[i].kind != PGK_VERDICT_LEAVE) {
      return refuse(unit, PGK_E_VERDICT, "verdict %zu: an earlier operation goes to the guest, and this one with it; leave it", i);
    }
    int32_t code = check_verdict(unit, &verdicts[i], &unit->pending.items[i].listed, i);
    if (code != PGK_OK) return code;
    const pgk_verdict_v1 *stands = unit->pending.items[i].listed.flags & PGK_LISTED_ANSWERED
                                     ? &unit->pending.items[i].answer : &verdicts[i];
    reflects = reflects || stands->kind == PGK_VERDICT_REFLECT;
  }
  return PGK_OK;
}

static void accept_verdict(operation *item, const pgk_verdict_v1 *verdict) {
  if (verdict->kind == PGK_VERDICT_LEAVE) return;
  item->answer = *verdict;
  item->listed.flags |= PGK_LISTED_ANSWERED;
  if (verdict->kind == PGK_VERDICT_REPLACE) item->listed.value = verdict->value;
}

/* Delivers item `first` and all behind it to the guest: fault registers and record. */
static void reflect(pgk_unit *unit, size_t first, pgk_completion_v1 *completions) {
  operation_list *list = &unit->pending;
  pgk_listed_v1 *fault = &list->items[first].listed;
  const pgk_verdict_v1 *verdict = &list->items[first].answer;
  fault->class_ = PGK_CLASS_GUEST_FAULT;
  if (verdict->outcome) {
    fault->outcome = verdict->outcome;
    fault->code = verdict->code;
    if (verdict->fault_address) fault->fault_address = verdict->fault_address;
    memcpy(fault->words, verdict->words, sizeof fault->words);
  }
  unit->registers[REG_FAULT_ADDRESS] = fault->fault_address;
  unit->registers[REG_FAULT_CAUSE] = fault->code & registers[REG_FAULT_CAUSE].writable;
  unit->record.count = 0;
  for (size_t i = first; i < list->count; i++) {
    operation *item = &list->items[i];
    item->answer = (pgk_verdict_v1){0};
    item->listed.flags &= (uint8_t)~PGK_LISTED_ANSWERED;
    if (i > first) {
      item->listed.class_ = PGK_CLASS_COLLATERAL;
      item->listed.outcome = 0;
      item->listed.code = 0;
    }
    unit->record.items[unit->record.count++] = *item;
    completions[i] = (pgk_completion_v1){
      .tag = item->listed.access.tag,
      .result = {.output = item->listed.fault_address,
                 .outcome = i == first ? fault->outcome : (uint8_t)PGK_OUTCOME_DROPPED,
                 .level = item->listed.level,
                 .entry_reads = item->listed.entry_reads},
    };
  }
}

/* Performs a listed operation again; false if it is listed anew, in its place. */
static bool replay(pgk_unit *unit, operation *item, pgk_completion_v1 *completion) {
  pgk_access_v1 access = item->listed.access;
  pgk_value_v1 value = item->listed.value;
  pgk_listed_v1 again;
  bool ignores = item->answer.kind == PGK_VERDICT_REPLAY_IGNORING_WRITE_PROTECTION;
  bool finished = unit->observer.step
                    ? perform(unit, true, &access, &value, &completion->result, &again, ignores)
                    : perform(unit, false, &access, &value, &completion->result, &again, ignores);
  if (!finished) {
    *item = (operation){.listed = again};
    return false;
  }
  bool delivers = access.kind == PGK_SPECIAL || (access.kind != PGK_WRITE && !(access.flags & PGK_TRANSLATE_ONLY));
  completion->tag = access.tag;
  completion->reserved = 0;
  completion->value = delivers && completion->result.outcome == PGK_OUTCOME_FINISHED ? value : (pgk_value_v1){0};
  return true;
}

/* Brings one item to its end; false if it is listed anew. */
static bool finish_item(pgk_unit *unit, operation *item, pgk_completion_v1 *completion) {
  switch (item->answer.kind) {
  case PGK_VERDICT_COMPLETE:
    *completion = (pgk_completion_v1){.tag = item->listed.access.tag, .value = item->answer.value};
    return true;
  case PGK_VERDICT_DROP:
    *completion = (pgk_completion_v1){.tag = item->listed.access.tag, .result = {.outcome = PGK_OUTCOME_DROPPED}};
    return true;
  default: return replay(unit, item, completion);
  }
}

static int64_t unit_resume(pgk_unit *unit, const pgk_verdict_v1 *verdicts, size_t count, pgk_completion_v1 *completions,
                           size_t capacity) {
  operation_list *list = &unit->pending;
  if (!list->count) return refuse(unit, PGK_E_PENDING, "nothing is listed; run comes first");
  if (count > list->count) {
    return refuse(unit, PGK_E_ARGUMENT, "%zu verdicts for a list of %zu operations", count, list->count);
  }
  if (capacity < list->count || !completions) {
    return refuse(unit, PGK_E_CAPACITY, "room for %zu completions, but %zu operations are listed", capacity, list->count);
  }
  if (count && !verdicts) return refuse(unit, PGK_E_ARGUMENT, "%zu verdicts, but no array", count);
  int32_t code = check_verdicts(unit, verdicts, count);
  if (code != PGK_OK) return code;
  if (!reserve(&unit->record, list->count)) return refuse(unit, PGK_E_CAPACITY, "no memory for the fault record");
  for (size_t i = 0; i < count; i++) accept_verdict(&list->items[i], &verdicts[i]);
  size_t done = 0;
  while (done < list->count) {
    if (list->items[done].answer.kind == PGK_VERDICT_REFLECT) {
      reflect(unit, done, completions);
      done = list->count;
    } else if (finish_item(unit, &list->items[done], &completions[done])) {
      done++;
    } else {
      break; /* the item is listed anew; what is behind it stays untouched */
    }
  }
  list->count -= done;
  memmove(list->items, list->items + done, list->count * sizeof *list->items);
  return (int64_t)done;
}

/* ==== Registers, special operations, encoders ======================================================================== */

static int32_t unit_read_register(pgk_unit *unit, uint32_t index, uint64_t *value) {
  if (index >= REGISTER_COUNT) {
    return refuse(unit, PGK_E_ARGUMENT, "register %u; expected 0 to %u", index, REGISTER_COUNT - 1);
  }
  *value = index == REG_FAULT_COUNT ? unit->record.count : unit->registers[index];
  return PGK_OK;
}

static int32_t check_register(pgk_unit *unit, uint32_t index, uint64_t value) {
  if (index >= REGISTER_COUNT) {
    return refuse(unit, PGK_E_ARGUMENT, "register %u; expected 0 to %u", index, REGISTER_COUNT - 1);
  }
  uint64_t unknown = value & ~registers[index].writable;
  if (unknown && !(index == REG_FAULT_COUNT && value == unit->record.count)) {
    return refuse(unit, PGK_E_UNKNOWN_BIT, "%s: bits 0x%llx of 0x%llx are unknown; expected bits within 0x%llx",
                  registers[index].name, (unsigned long long)unknown, (unsigned long long)value,
                  (unsigned long long)registers[index].writable);
  }
  return PGK_OK;
}

static void write_register(pgk_unit *unit, uint32_t index, uint64_t value) {
  if (index == REG_FAULT_COUNT) unit->record.count = (size_t)value;
  else unit->registers[index] = value;
}

static int32_t unit_write_registers(pgk_unit *unit, const pgk_register_value_v1 *values, size_t count,
                                    pgk_register_outcome_v1 *outcome) {
  for (size_t i = 0; i < count; i++) {
    int32_t code = check_register(unit, values[i].index, values[i].value);
    if (code != PGK_OK) return code;
  }
  for (size_t i = 0; i < count; i++) write_register(unit, values[i].index, values[i].value);
  if (outcome) *outcome = (pgk_register_outcome_v1){0};
  return PGK_OK;
}

static int32_t unit_regime(pgk_unit *unit) {
  return unit->registers[REG_CONTROL] & CONTROL_EN ? REGIME_PAGED : REGIME_BARE;
}

/* A special access carries its operation in the upper half of the address and an argument in the lower. */
enum special_operation {
  SPECIAL_READ_REGISTER = 1, /* argument: register */
  SPECIAL_WRITE_REGISTER,    /* argument: register; value */
  SPECIAL_WRITE_ROOT,        /* value: root, and in the high half the identifier */
  SPECIAL_INVALIDATE_PAGE,   /* argument: address; value: identifier */
  SPECIAL_INVALIDATE_ASID,   /* argument: identifier */
  SPECIAL_INVALIDATE_ALL,
  SPECIAL_READ_RECORD,       /* argument: item * RECORD_PARTS + part */
};

/* Parts of an item of the fault record, 16 bytes each. */
enum { PART_ACCESS, PART_VALUE, PART_CAUSE, PART_ENTRY, RECORD_PARTS };

static pgk_value_v1 record_part(const pgk_listed_v1 *item, uint32_t part) {
  const pgk_access_v1 *a = &item->access;
  switch (part) {
  case PART_ACCESS:
    return (pgk_value_v1){.low = a->address,
                          .high = a->kind | (uint64_t)a->size_log2 << 8 | (uint64_t)a->privilege << 16 |
                                  (uint64_t)a->flags << 24 | (uint64_t)a->tag << 32};
  case PART_VALUE: return (pgk_value_v1){.low = item->value.low, .high = item->value.high};
  case PART_CAUSE:
    return (pgk_value_v1){.low = item->fault_address,
                          .high = item->code | (uint64_t)item->class_ << 32 | (uint64_t)item->outcome << 40 |
                                  (uint64_t)item->value.mask << 48};
  default: return (pgk_value_v1){.low = item->words[0], .high = item->slot};
  }
}

static void invalidate(pgk_unit *unit, drop_request request) {
  caches_drop(unit, request);
  unit->counters[COUNTER_INVALIDATIONS]++;
}

/* Performs a special access; false if there is no such operation, it is not for this privilege, or its value is refused. */
static bool special(pgk_unit *unit, const pgk_access_v1 *access, pgk_value_v1 *value) {
  uint32_t argument = (uint32_t)access->address;
  bool has_value = access->flags & PGK_HAS_VALUE;
  if (access->privilege != PRIVILEGE_SUPERVISOR) return false;
  switch (access->address >> 32) {
  case SPECIAL_READ_REGISTER:
    *value = (pgk_value_v1){0};
    return unit_read_register(unit, argument, &value->low) == PGK_OK;
  case SPECIAL_WRITE_REGISTER:
    if (!has_value || check_register(unit, argument, value->low) != PGK_OK) return false;
    write_register(unit, argument, value->low);
    return true;
  case SPECIAL_WRITE_ROOT:
    if (!has_value || check_register(unit, REG_ROOT, value->low) != PGK_OK) return false;
    if (check_register(unit, REG_ASID, value->high) != PGK_OK) return false;
    write_register(unit, REG_ROOT, value->low);
    write_register(unit, REG_ASID, value->high);
    return true;
  case SPECIAL_INVALIDATE_PAGE:
    if (!has_value || value->low > 0xff) return false;
    invalidate(unit, (drop_request){.one_address = true, .address = argument, .asid = (uint32_t)value->low});
    return true;
  case SPECIAL_INVALIDATE_ASID:
    if (argument > 0xff) return false;
    invalidate(unit, (drop_request){.asid = argument});
    return true;
  case SPECIAL_INVALIDATE_ALL:
    invalidate(unit, (drop_request){.every_identifier = true});
    return true;
  case SPECIAL_READ_RECORD:
    if (argument / RECORD_PARTS >= unit->record.count) return false;
    *value = record_part(&unit->record.items[argument / RECORD_PARTS].listed, argument % RECORD_PARTS);
    return true;
  default: return false;
  }
}

static pgk_access_v1 special_access(enum special_operation operation, uint32_t argument, bool has_value) {
  return (pgk_access_v1){.address = (uint64_t)operation << 32 | argument,
                         .kind = PGK_SPECIAL,
                         .size_log2 = 3,
                         .privilege = PRIVILEGE_SUPERVISOR,
                         .flags = has_value ? PGK_HAS_VALUE : 0};
}

static int32_t check_asid(pgk_unit *unit, uint64_t asid) {
  if (asid <= 0xff) return PGK_OK;
  return refuse(unit, PGK_E_ARGUMENT, "identifier %llu; expected 0 to 255", (unsigned long long)asid);
}

static int32_t check_address(pgk_unit *unit, uint64_t address) {
  if (address >> 32 == 0) return PGK_OK;
  return refuse(unit, PGK_E_ARGUMENT, "address 0x%llx; expected at most 32 bits", (unsigned long long)address);
}

static int32_t encode_tlb_invalidate_page(pgk_unit *unit, uint64_t address, uint32_t asid, pgk_access_v1 *access,
                                          pgk_value_v1 *value) {
  int32_t code = check_address(unit, address);
  if (code == PGK_OK) code = check_asid(unit, asid);
  if (code != PGK_OK) return code;
  *access = special_access(SPECIAL_INVALIDATE_PAGE, (uint32_t)address, true);
  *value = (pgk_value_v1){.low = asid};
  return PGK_OK;
}

static int32_t encode_tlb_invalidate_asid(pgk_unit *unit, uint32_t asid, pgk_access_v1 *access, pgk_value_v1 *value) {
  int32_t code = check_asid(unit, asid);
  if (code != PGK_OK) return code;
  *access = special_access(SPECIAL_INVALIDATE_ASID, asid, false);
  *value = (pgk_value_v1){0};
  return PGK_OK;
}

static int32_t encode_tlb_invalidate_all(pgk_unit *unit, pgk_access_v1 *access, pgk_value_v1 *value) {
  (void)unit;
  *access = special_access(SPECIAL_INVALIDATE_ALL, 0, false);
  *value = (pgk_value_v1){0};
  return PGK_OK;
}

static int32_t encode_write_root(pgk_unit *unit, uint64_t root, uint32_t asid, pgk_access_v1 *access, pgk_value_v1 *value) {
  int32_t code = check_asid(unit, asid);
  if (code == PGK_OK) code = check_register(unit, REG_ROOT, root);
  if (code != PGK_OK) return code;
  *access = special_access(SPECIAL_WRITE_ROOT, 0, true);
  *value = (pgk_value_v1){.low = root, .high = asid};
  return PGK_OK;
}

static int32_t encode_read_register(pgk_unit *unit, uint32_t index, pgk_access_v1 *access, pgk_value_v1 *value) {
  uint64_t ignored;
  int32_t code = unit_read_register(unit, index, &ignored);
  if (code != PGK_OK) return code;
  *access = special_access(SPECIAL_READ_REGISTER, index, false);
  *value = (pgk_value_v1){0};
  return PGK_OK;
}

static int32_t encode_read_control(pgk_unit *unit, pgk_access_v1 *access, pgk_value_v1 *value) {
  return encode_read_register(unit, REG_CONTROL, access, value);
}

static int32_t encode_write_control(pgk_unit *unit, uint64_t control, pgk_access_v1 *access, pgk_value_v1 *value) {
  int32_t code = check_register(unit, REG_CONTROL, control);
  if (code != PGK_OK) return code;
  *access = special_access(SPECIAL_WRITE_REGISTER, REG_CONTROL, true);
  *value = (pgk_value_v1){.low = control};
  return PGK_OK;
}

static const char *const page_arguments[] = {"address", "asid"};
static const char *const asid_arguments[] = {"asid"};
static const char *const root_arguments[] = {"root", "asid"};
static const char *const register_arguments[] = {"register"};
static const char *const control_arguments[] = {"control"};

#define FUNCTION(name) ((void (*)(void))(name))
static const pgk_encoder_v1 encoders[] = {
  {"tlb_invalidate_page", "i32(ptr,u64,u32,ptr,ptr)", page_arguments, 2,
   "Drops the translation of one page of one space, global or not, and the table entry that leads to it.",
   FUNCTION(encode_tlb_invalidate_page)},
  {"tlb_invalidate_asid", "i32(ptr,u32,ptr,ptr)", asid_arguments, 1, "Drops one space, but not its global pages.",
   FUNCTION(encode_tlb_invalidate_asid)},
  {"tlb_invalidate_all", "i32(ptr,ptr,ptr)", NULL, 0, "Drops everything.", FUNCTION(encode_tlb_invalidate_all)},
  {"write_root", "i32(ptr,u64,u32,ptr,ptr)", root_arguments, 2, "Changes the address space: root and identifier at once.",
   FUNCTION(encode_write_root)},
  {"read_control", "i32(ptr,ptr,ptr)", NULL, 0, "Reads the control register.", FUNCTION(encode_read_control)},
  {"write_control", "i32(ptr,u64,ptr,ptr)", control_arguments, 1, "Writes the control register.",
   FUNCTION(encode_write_control)},
  {"read_register", "i32(ptr,u32,ptr,ptr)", register_arguments, 1, "Reads any register by its index, fault registers too.",
   FUNCTION(encode_read_register)},
};

/* ==== Services for an operating system =============================================================================== */

/* Beyond this many pages everything is invalidated: dropping the space alone would leave its global pages. */
#define RANGE_PAGES 64

/* The accesses of a service, kept back until it is known that there is room for all. */
typedef struct script {
  pgk_access_v1 accesses[RANGE_PAGES + 1]; /* a range that is not aligned has one page more */
  pgk_value_v1 values[RANGE_PAGES + 1];
  size_t count;
} script;

static void add(script *s, pgk_access_v1 access, pgk_value_v1 value) {
  s->accesses[s->count] = access;
  s->values[s->count++] = value;
}

/* Room for what a service has to say, or nothing is written. */
static int32_t check_room(pgk_unit *unit, size_t needed, size_t capacity) {
  if (needed <= capacity) return PGK_OK;
  return refuse(unit, PGK_E_CAPACITY, "room for %zu, needed %zu", capacity, needed);
}

static int64_t hand_over(pgk_unit *unit, const script *s, pgk_access_v1 *accesses, pgk_value_v1 *values, size_t capacity) {
  int32_t code = check_room(unit, s->count, capacity);
  if (code != PGK_OK) return code;
  memcpy(accesses, s->accesses, s->count * sizeof *accesses);
  memcpy(values, s->values, s->count * sizeof *values);
  return (int64_t)s->count;
}

static int64_t os_enable_translation(pgk_unit *unit, uint32_t regime, uint64_t root, uint32_t identifier,
                                     pgk_access_v1 *accesses, pgk_value_v1 *values, size_t capacity) {
  script s = {.count = 0};
  pgk_access_v1 access;
  pgk_value_v1 value;
  if (regime >= COUNT_OF(regimes)) return refuse(unit, PGK_E_ARGUMENT, "regime %u; expected 0 or 1", regime);
  uint64_t control = unit->registers[REG_CONTROL] & ~(uint64_t)CONTROL_EN;
  if (regime == REGIME_PAGED) {
    int32_t code = encode_write_root(unit, root, identifier, &access, &value);
    if (code != PGK_OK) return code;
    add(&s, access, value);
    control |= CONTROL_EN;
  }
  encode_write_control(unit, control, &access, &value);
  add(&s, access, value);
  return hand_over(unit, &s, accesses, values, capacity);
}

static int64_t os_switch_space(pgk_unit *unit, uint64_t root, uint32_t identifier, pgk_access_v1 *accesses,
                               pgk_value_v1 *values, size_t capacity) {
  script s = {.count = 0};
  pgk_access_v1 access;
  pgk_value_v1 value;
  int32_t code = encode_write_root(unit, root, identifier, &access, &value);
  if (code != PGK_OK) return code;
  add(&s, access, value);
  return hand_over(unit, &s, accesses, values, capacity);
}

static int64_t os_invalidate(pgk_unit *unit, uint32_t scope, uint64_t address, uint64_t byte_count, uint32_t identifier,
                             pgk_access_v1 *accesses, pgk_value_v1 *values, size_t capacity) {
  script s = {.count = 0};
  pgk_access_v1 access;
  pgk_value_v1 value = {0};
  uint32_t what = scope & ~PGK_SCOPE_TABLES; /* every operation here makes the walk cache forget too */
  int32_t code = what <= PGK_SCOPE_RANGE ? check_address(unit, address) : PGK_OK;
  if (code == PGK_OK && what != PGK_SCOPE_ALL) code = check_asid(unit, identifier);
  if (code != PGK_OK) return code;
  if (what == PGK_SCOPE_PAGE) byte_count = 1;
  switch (what) {
  case PGK_SCOPE_PAGE:
  case PGK_SCOPE_RANGE: {
    if (byte_count == 0) return 0;
    if (byte_count > PAGE_BYTES(0) * RANGE_PAGES) break;
    uint64_t end = (address + byte_count - 1) >> PAGE_SHIFT(0);
    if (end > UINT32_MAX >> PAGE_SHIFT(0)) end = UINT32_MAX >> PAGE_SHIFT(0);
    for (uint64_t page = address >> PAGE_SHIFT(0); page <= end; page++) {
      encode_tlb_invalidate_page(unit, page << PAGE_SHIFT(0), identifier, &access, &value);
      add(&s, access, value);
    }
    return hand_over(unit, &s, accesses, values, capacity);
  }
  case PGK_SCOPE_IDENTIFIER:
    encode_tlb_invalidate_asid(unit, identifier, &access, &value);
    add(&s, access, value);
    return hand_over(unit, &s, accesses, values, capacity);
  case PGK_SCOPE_ALL: break;
  default: return refuse(unit, PGK_E_ARGUMENT, "scope 0x%x is unknown", scope);
  }
  encode_tlb_invalidate_all(unit, &access, &value);
  add(&s, access, value);
  return hand_over(unit, &s, accesses, values, capacity);
}

/* Entering and leaving the handler takes no access of its own. */
static int64_t os_no_accesses(pgk_unit *unit, pgk_access_v1 *accesses, pgk_value_v1 *values, size_t capacity) {
  (void)unit, (void)accesses, (void)values, (void)capacity;
  return 0;
}

/* The first access reads the length of the record; when its value is known, the parts of every item follow. */
static int64_t os_read_faults(pgk_unit *unit, pgk_access_v1 *accesses, pgk_value_v1 *values, size_t known,
                              size_t capacity) {
  if (known > 1) return 0;
  uint64_t items = known ? values[0].low : 0;
  if (items > UINT32_MAX / RECORD_PARTS) {
    return refuse(unit, PGK_E_ARGUMENT, "a record of %llu items cannot be", (unsigned long long)items);
  }
  size_t count = known ? (size_t)items * RECORD_PARTS : 1;
  int32_t code = check_room(unit, count, capacity);
  if (code != PGK_OK) return code;
  for (size_t i = 0; i < count; i++) {
    accesses[i] = known ? special_access(SPECIAL_READ_RECORD, (uint32_t)i, false)
                        : special_access(SPECIAL_READ_REGISTER, REG_FAULT_COUNT, false);
    values[i] = (pgk_value_v1){0};
  }
  return (int64_t)count;
}

static pgk_listed_v1 decode_item(const pgk_value_v1 parts[RECORD_PARTS]) {
  uint64_t access = parts[PART_ACCESS].high, cause = parts[PART_CAUSE].high;
  pgk_access_v1 performed = {parts[PART_ACCESS].low,  (uint8_t)access,         (uint8_t)(access >> 8),
                             (uint8_t)(access >> 16), (uint8_t)(access >> 24), (uint32_t)(access >> 32)};
  uint32_t code = (uint32_t)cause;
  return (pgk_listed_v1){
    .access = performed,
    .value = {.low = parts[PART_VALUE].low, .high = parts[PART_VALUE].high, .mask = (uint16_t)(cause >> 48)},
    .fault_address = parts[PART_CAUSE].low,
    .slot = parts[PART_ENTRY].high,
    .code = code,
    .class_ = (uint8_t)(cause >> 32),
    .outcome = (uint8_t)(cause >> 40),
    .stage = parts[PART_ENTRY].high != PGK_NO_ENTRY,
    .level = code >> 8 & 1,
    .flags = (uint8_t)((has_value(&performed) ? PGK_LISTED_HAS_VALUE : 0) | (code >> 9 & 1 ? PGK_LISTED_FINAL_ADDRESS : 0)),
    .word_count = COUNT_OF(words),
    .words = {parts[PART_ENTRY].low},
  };
}

static int64_t os_decode_faults(pgk_unit *unit, const pgk_access_v1 *accesses, const pgk_value_v1 *values, size_t count,
                                pgk_listed_v1 *listed, size_t capacity) {
  (void)accesses;
  if (count == 0 || values[0].low != (count - 1) / RECORD_PARTS || (count - 1) % RECORD_PARTS) {
    return refuse(unit, PGK_E_ARGUMENT, "%zu values; expected the length of the record and %u for each item", count,
                  RECORD_PARTS);
  }
  size_t items = (count - 1) / RECORD_PARTS;
  int32_t code = check_room(unit, items, capacity);
  if (code != PGK_OK) return code;
  for (size_t i = 0; i < items; i++) listed[i] = decode_item(values + 1 + i * RECORD_PARTS);
  return (int64_t)items;
}

static int64_t os_reexecute(pgk_unit *unit, const pgk_listed_v1 *listed, pgk_access_v1 *accesses, pgk_value_v1 *values,
                            size_t capacity) {
  script s = {.count = 0};
  add(&s, listed->access, listed->value);
  return hand_over(unit, &s, accesses, values, capacity);
}

static int64_t os_acknowledge(pgk_unit *unit, pgk_access_v1 *accesses, pgk_value_v1 *values, size_t capacity) {
  script s = {.count = 0};
  add(&s, special_access(SPECIAL_WRITE_REGISTER, REG_FAULT_COUNT, true), (pgk_value_v1){0});
  return hand_over(unit, &s, accesses, values, capacity);
}

static const pgk_os_v1 os_services = {
  .size = sizeof(pgk_os_v1),
  .abi = PGK_ABI,
  .enable_translation = os_enable_translation,
  .switch_space = os_switch_space,
  .invalidate = os_invalidate,
  .trap_entry = os_no_accesses,
  .trap_return = os_no_accesses,
  .read_faults = os_read_faults,
  .decode_faults = os_decode_faults,
  .reexecute = os_reexecute,
  .acknowledge = os_acknowledge,
};

/* ==== State: counters, reset, dump, observation, save and restore ==================================================== */

static size_t unit_counters(pgk_unit *unit, uint64_t *values, size_t capacity) {
  for (size_t i = 0; i < COUNTER_COUNT && i < capacity; i++) values[i] = unit->counters[i];
  return COUNTER_COUNT;
}

static void reset_registers(pgk_unit *unit) {
  for (size_t i = 0; i < REGISTER_COUNT; i++) unit->registers[i] = registers[i].preset;
  unit->reservation = (reservation){0};
  unit->record.count = 0;
}

static size_t cache_bytes(const entry_cache *cache) {
  return (size_t)cache->sets * cache->ways * sizeof *cache->entries;
}

static void empty_caches(pgk_unit *unit) {
  for (size_t i = 0; i < CACHE_COUNT; i++) memset(unit->caches[i].entries, 0, cache_bytes(&unit->caches[i]));
}

static int32_t unit_reset(pgk_unit *unit, uint32_t what) {
  uint32_t known = PGK_RESET_CACHES | PGK_RESET_COUNTERS | PGK_RESET_REGISTERS | PGK_RESET_PENDING;
  if (what & ~known) return refuse(unit, PGK_E_ARGUMENT, "reset 0x%x; expected bits within 0x%x", what, known);
  if (what & PGK_RESET_CACHES) empty_caches(unit);
  if (what & PGK_RESET_COUNTERS) memset(unit->counters, 0, sizeof unit->counters);
  if (what & PGK_RESET_REGISTERS) reset_registers(unit);
  if (what & PGK_RESET_PENDING) unit->pending.count = 0;
  return PGK_OK;
}

static pgk_cached_v1 describe_cached(const cached_entry *slot, uint32_t set, uint32_t way, bool is_table) {
  return (pgk_cached_v1){
    .input = (uint64_t)slot->tag << PAGE_SHIFT(slot->level),
    .output = slot->entry & ENTRY_PAGE,
    .set = set,
    .way = way,
    .identifier = slot->asid,
    .page_shift = (uint8_t)PAGE_SHIFT(slot->level),
    .rights = is_table ? 0 : (uint8_t)entry_rights(slot->entry),
    .level = slot->level,
    .flags = (uint8_t)((slot->entry & ENTRY_G ? PGK_CACHED_GLOBAL : 0) | (slot->entry & ENTRY_D ? PGK_CACHED_DIRTY : 0)),
  };
}

static int64_t unit_dump(pgk_unit *unit, uint32_t index, pgk_cached_v1 *cached, size_t capacity) {
  if (index >= CACHE_COUNT) return refuse(unit, PGK_E_ARGUMENT, "cache %u; expected 0 to %u", index, CACHE_COUNT - 1);
  const entry_cache *cache = &unit->caches[index];
  size_t count = 0;
  for (uint32_t set = 0; set < cache->sets; set++) {
    const cached_entry *ways = cache->entries + (size_t)set * cache->ways;
    for (uint32_t way = 0; way < cache->ways && (ways[way].entry & ENTRY_V); way++, count++) {
      if (count < capacity) cached[count] = describe_cached(&ways[way], set, way, index == CACHE_WALK);
    }
  }
  return (int64_t)count;
}

static int32_t unit_observe(pgk_unit *unit, const pgk_observer_v1 *observer) {
  if (!observer) {
    unit->observer = (pgk_observer_v1){0};
    return PGK_OK;
  }
  if (observer->size < sizeof *observer || observer->abi != PGK_ABI || !observer->step) {
    return refuse(unit, PGK_E_ARGUMENT, "observer of %u bytes, ABI 0x%x; expected %zu bytes, 0x%x and a function",
                  observer->size, observer->abi, sizeof *observer, PGK_ABI);
  }
  unit->observer = *observer;
  return PGK_OK;
}

/* Saved bytes: this header, then registers, reservation, record, pending list, and the caches if asked. Structures are
 * written as they are: they have no padding, and reserved members are zero, so the same state gives the same bytes. */
typedef struct saved_header {
  char name[8];
  uint32_t version, what;
  uint64_t byte_count; /* all of it */
  uint64_t checksum;   /* of what follows the header */
} saved_header;

#define SAVED_NAME "toy32\0\0" /* the literal's own zero is the eighth byte */
#define SAVED_VERSION 1u

_Static_assert(sizeof(saved_header) == 32, "no padding");
_Static_assert(sizeof(reservation) == 32, "no padding");
_Static_assert(sizeof(cached_entry) == 12, "no padding");
_Static_assert(sizeof(operation) == sizeof(pgk_listed_v1) + sizeof(pgk_verdict_v1), "no padding");
_Static_assert(sizeof(pgk_listed_v1) == 16 + 24 + 3 * 8 + 2 * 4 + 8 + 64, "no padding");
_Static_assert(sizeof(pgk_verdict_v1) == 8 + 24 + 8 + 64, "no padding");

/* FNV-1a: finds damage. Bytes that were forged with a right sum are still checked member by member. */
static uint64_t checksum_of(const uint8_t *bytes, size_t count) {
  uint64_t sum = UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < count; i++) sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
  return sum;
}

typedef struct writer {
  uint8_t *bytes; /* null: only counts */
  size_t used;
} writer;

static void put(writer *w, const void *data, size_t count) {
  if (w->bytes && count) memcpy(w->bytes + w->used, data, count);
  w->used += count;
}

static void put_list(writer *w, const operation_list *list) {
  uint64_t count = list->count;
  put(w, &count, sizeof count);
  put(w, list->items, list->count * sizeof *list->items);
}

static void put_state(writer *w, const pgk_unit *unit, uint32_t what) {
  put(w, unit->registers, sizeof unit->registers);
  put(w, &unit->reservation, sizeof unit->reservation);
  put_list(w, &unit->record);
  put_list(w, &unit->pending);
  for (size_t i = 0; i < CACHE_COUNT && what & PGK_SAVE_CACHES; i++) {
    put(w, &unit->caches[i].sets, sizeof(uint32_t));
    put(w, &unit->caches[i].ways, sizeof(uint32_t));
    put(w, unit->caches[i].entries, cache_bytes(&unit->caches[i]));
  }
}

static int64_t unit_save(pgk_unit *unit, uint32_t what, uint8_t *bytes, size_t capacity) {
  if (what & ~PGK_SAVE_CACHES) {
    return refuse(unit, PGK_E_ARGUMENT, "save 0x%x; expected bits within 0x%x", what, PGK_SAVE_CACHES);
  }
  writer measure = {NULL, sizeof(saved_header)};
  put_state(&measure, unit, what);
  if (!bytes) return (int64_t)measure.used;
  int32_t code = check_room(unit, measure.used, capacity);
  if (code != PGK_OK) return code;
  writer w = {bytes, sizeof(saved_header)};
  put_state(&w, unit, what);
  saved_header header = {SAVED_NAME, SAVED_VERSION, what, w.used,
                         checksum_of(bytes + sizeof header, w.used - sizeof header)};
  memcpy(bytes, &header, sizeof header);
  return (int64_t)w.used;
}

/* Reads saved bytes without ever passing their end. After the first thing that is wrong, `problem` names it. */
typedef struct reader {
  const uint8_t *bytes;
  size_t count, at;
  const char *problem;
} reader;

static bool take(reader *r, void *data, size_t count, const char *what) {
  if (r->problem || count > r->count - r->at) {
    if (!r->problem) r->problem = what;
    return false;
  }
  if (count) memcpy(data, r->bytes + r->at, count);
  r->at += count;
  return true;
}

static void demand(reader *r, bool holds, const char *what) {
  if (!holds && !r->problem) r->problem = what;
}

INLINE bool is_fault_or_none(uint32_t outcome) {
  return outcome == 0 || (outcome < OUTCOME_COUNT && outcomes[outcome].fault);
}

/* A listed operation that can be judged and performed as any other. */
static bool operation_is_sound(const operation *item, bool may_be_answered) {
  const pgk_listed_v1 *l = &item->listed;
  uint32_t known = PGK_LISTED_ANSWERED | PGK_LISTED_HAS_VALUE | PGK_LISTED_HAS_GUEST_PHYSICAL | PGK_LISTED_FINAL_ADDRESS;
  bool is_answered = l->flags & PGK_LISTED_ANSWERED;
  return record_is_sound(&l->access, &l->value) && is_fault_or_none(l->outcome) && l->class_ <= PGK_CLASS_DEVICE &&
         l->stage <= 1 && l->level <= 1 && !(l->flags & ~known) && l->word_count <= COUNT_OF(words) &&
         item->answer.kind < PGK_VERDICT_COUNT && is_fault_or_none(item->answer.outcome) &&
         is_answered == (item->answer.kind != PGK_VERDICT_LEAVE) && (may_be_answered || !is_answered);
}

static void take_list(reader *r, operation_list *list, bool may_be_answered, const char *what) {
  uint64_t count = 0;
  if (!take(r, &count, sizeof count, what)) return;
  demand(r, count <= (r->count - r->at) / sizeof *list->items, what);
  if (r->problem) return;
  if (!reserve(list, (size_t)count)) {
    demand(r, false, "memory for the lists");
    return;
  }
  list->count = (size_t)count;
  if (!take(r, list->items, list->count * sizeof *list->items, what)) return;
  for (size_t i = 0; i < list->count; i++) demand(r, operation_is_sound(&list->items[i], may_be_answered), what);
}

/* A slot of a set is unused, with only unused ones behind it, or holds an entry that a walk could have put there. */
static bool slot_is_sound(const pgk_unit *unit, const cached_entry *slot, uint32_t set, uint32_t sets, bool is_walk_cache,
                          bool is_behind_unused) {
  static const cached_entry unused = {0};
  if (!(slot->entry & ENTRY_V)) return memcmp(slot, &unused, sizeof unused) == 0;
  uint32_t level = slot->level;
  return !is_behind_unused && level <= 1 && slot->tag >> (32 - PAGE_SHIFT(level)) == 0 && slot->tag % sets == set &&
         slot->reserved == 0 && (!is_walk_cache || level == 1) &&
         entry_rule(unit, slot->entry, level) == (is_walk_cache ? RULE_TABLE : RULE_LEAF);
}

static void take_cache(reader *r, const pgk_unit *unit, size_t index, entry_cache *cache) {
  uint32_t shape[2];
  if (!take(r, shape, sizeof shape, "shape of a cache")) return;
  demand(r, shape[0] == cache->sets && shape[1] == cache->ways, "cache of another geometry");
  if (r->problem || !take(r, cache->entries, cache_bytes(cache), "entries of a cache")) return;
  for (uint32_t set = 0; set < cache->sets; set++) {
    const cached_entry *ways = cache->entries + (size_t)set * cache->ways;
    for (uint32_t way = 0; way < cache->ways; way++) {
      bool is_behind_unused = way > 0 && !(ways[way - 1].entry & ENTRY_V);
      demand(r, slot_is_sound(unit, &ways[way], set, cache->sets, index == CACHE_WALK, is_behind_unused),
             "entry of a cache");
    }
  }
}

static void take_registers(reader *r, uint64_t values[REGISTER_COUNT]) {
  if (!take(r, values, REGISTER_COUNT * sizeof *values, "registers")) return;
  for (size_t i = 0; i < REGISTER_COUNT; i++) demand(r, !(values[i] & ~registers[i].writable), "register");
}

static void take_header(reader *r, saved_header *header) {
  if (!take(r, header, sizeof *header, "header")) return;
  demand(r, memcmp(header->name, SAVED_NAME, sizeof header->name) == 0, "name: not a state of toy32");
  demand(r, header->version == SAVED_VERSION, "version");
  demand(r, !(header->what & ~PGK_SAVE_CACHES), "contents");
  demand(r, header->byte_count == r->count, "length");
  demand(r, header->checksum == checksum_of(r->bytes + sizeof *header, r->count - sizeof *header), "checksum");
}

static bool make_cache(entry_cache *cache, uint32_t sets, uint32_t ways) {
  *cache = (entry_cache){sets, ways, calloc((size_t)sets * ways + 1, sizeof *cache->entries)};
  return cache->entries != NULL;
}

/* Restores into a copy first: a refused state changes nothing. Caches that were not saved are empty afterwards. */
static int32_t unit_restore(pgk_unit *unit, const uint8_t *bytes, size_t count) {
  reader r = {bytes, bytes ? count : 0, 0, NULL};
  saved_header header = {0};
  pgk_unit next = *unit;
  next.record = next.pending = (operation_list){0};
  take_header(&r, &header);
  take_registers(&r, next.registers);
  take(&r, &next.reservation, sizeof next.reservation, "reservation");
  demand(&r, next.reservation.byte_count <= 16 && next.reservation.reserved == 0, "reservation");
  take_list(&r, &next.record, false, "fault record");
  take_list(&r, &next.pending, true, "pending list");
  for (size_t i = 0; i < CACHE_COUNT; i++) {
    demand(&r, make_cache(&next.caches[i], unit->caches[i].sets, unit->caches[i].ways), "memory for the caches");
    if (header.what & PGK_SAVE_CACHES && !r.problem) take_cache(&r, unit, i, &next.caches[i]);
  }
  demand(&r, reserve(&next.pending, 1), "memory for the lists");
  demand(&r, r.at == r.count, "end: bytes are left over");
  pgk_unit *loser = r.problem ? &next : unit;
  for (size_t i = 0; i < CACHE_COUNT; i++) free(loser->caches[i].entries);
  free(loser->record.items);
  free(loser->pending.items);
  if (r.problem) return refuse(unit, PGK_E_STATE, "saved state of %zu bytes refused: %s", count, r.problem);
  *unit = next;
  return PGK_OK;
}

/* ==== Entries ======================================================================================================== */

/* Entry bits and neutral attributes, side by side. */
static const struct {
  uint32_t bit, attribute;
} attribute_bits[] = {
  {ENTRY_R, PGK_ATTRIBUTE_READ},   {ENTRY_W, PGK_ATTRIBUTE_WRITE},    {ENTRY_X, PGK_ATTRIBUTE_EXECUTE},
  {ENTRY_U, PGK_ATTRIBUTE_USER},   {ENTRY_G, PGK_ATTRIBUTE_GLOBAL},   {ENTRY_A, PGK_ATTRIBUTE_ACCESSED},
  {ENTRY_D, PGK_ATTRIBUTE_DIRTY},
};

static pgk_entry_v1 decode_entry(const pgk_unit *unit, uint32_t entry, uint32_t level) {
  pgk_entry_v1 decoded = {.level = (uint8_t)level};
  switch (entry_rule(unit, entry, level)) {
  case RULE_ABSENT: decoded.kind = PGK_ENTRY_ABSENT; return decoded;
  case RULE_TABLE: decoded.kind = PGK_ENTRY_TABLE; break;
  case RULE_LEAF: decoded.kind = PGK_ENTRY_LEAF; break;
  default: decoded.kind = PGK_ENTRY_INVALID; return decoded;
  }
  decoded.output = entry & ENTRY_PAGE;
  for (size_t i = 0; i < COUNT_OF(attribute_bits); i++) {
    if (entry & attribute_bits[i].bit) decoded.attributes |= attribute_bits[i].attribute;
  }
  return decoded;
}

/* What every entry lacks: memory types and keys. */
static uint32_t unexpressed_in_any(const pgk_entry_v1 *asked) {
  return (asked->memory_type != PGK_MEMORY_NORMAL ? PGK_ATTRIBUTE_MEMORY_TYPE : 0) | (asked->key ? PGK_ATTRIBUTE_KEY : 0);
}

/* A table entry has no attributes: it takes no right away, and has neither G nor A nor D. */
static uint32_t encode_table(pgk_entry_v1 *asked) {
  uint32_t rights = PGK_ATTRIBUTE_READ | PGK_ATTRIBUTE_WRITE | PGK_ATTRIBUTE_EXECUTE | PGK_ATTRIBUTE_USER;
  asked->unexpressed = unexpressed_in_any(asked) | (asked->attributes & ~rights);
  return (uint32_t)asked->output | ENTRY_V;
}

static uint32_t encode_leaf(pgk_entry_v1 *asked) {
  uint32_t entry = (uint32_t)asked->output | ENTRY_V | ENTRY_L;
  for (size_t i = 0; i < COUNT_OF(attribute_bits); i++) {
    if (asked->attributes & attribute_bits[i].attribute) entry |= attribute_bits[i].bit;
  }
  asked->unexpressed = unexpressed_in_any(asked) | (asked->attributes & ~LEAF_ATTRIBUTES);
  if ((entry & (ENTRY_W | ENTRY_R)) == ENTRY_W) {
    /* Write-only does not exist. Granting less is the safe side. */
    entry &= ~ENTRY_W;
    asked->unexpressed |= PGK_ATTRIBUTE_WRITE;
  }
  return entry;
}

static int32_t check_level(pgk_unit *unit, uint32_t format, uint32_t level) {
  if (format < COUNT_OF(formats) && level < COUNT_OF(levels)) return PGK_OK;
  return refuse(unit, PGK_E_ARGUMENT, "format %u, level %u; expected format 0, level 0 or 1", format, level);
}

static int32_t unit_decode(pgk_unit *unit, uint32_t format, uint32_t level, const uint64_t *entries, pgk_entry_v1 *decoded,
                           size_t count) {
  int32_t code = check_level(unit, format, level);
  if (code != PGK_OK) return code;
  for (size_t i = 0; i < count; i++) {
    if (entries[i] >> 32) return refuse(unit, PGK_E_ARGUMENT, "entry %zu has more than 32 bits", i);
  }
  for (size_t i = 0; i < count; i++) decoded[i] = decode_entry(unit, (uint32_t)entries[i], level);
  return PGK_OK;
}

static int32_t check_entry(pgk_unit *unit, const pgk_entry_v1 *entry, uint32_t level, size_t index) {
  if (entry->kind == PGK_ENTRY_ABSENT) return PGK_OK;
  if (entry->kind > PGK_ENTRY_LEAF) return refuse(unit, PGK_E_ARGUMENT, "entry %zu: kind %u", index, entry->kind);
  bool is_leaf = entry->kind == PGK_ENTRY_LEAF;
  if (is_leaf ? level == 1 && !unit->settings[OPTION_LARGE_PAGES] : level == 0) {
    return refuse(unit, PGK_E_ARGUMENT, "entry %zu: level %u cannot hold a %s", index, level, is_leaf ? "leaf" : "table");
  }
  if (entry->output >> 32 || entry->output & (PAGE_BYTES(is_leaf ? level : 0) - 1)) {
    return refuse(unit, PGK_E_ARGUMENT, "entry %zu: output 0x%llx; expected 32 bits, a multiple of 0x%llx", index,
                  (unsigned long long)entry->output, (unsigned long long)PAGE_BYTES(is_leaf ? level : 0));
  }
  return PGK_OK;
}

static int32_t unit_encode(pgk_unit *unit, uint32_t format, uint32_t level, pgk_entry_v1 *asked, uint64_t *entries,
                           size_t count) {
  int32_t code = check_level(unit, format, level);
  for (size_t i = 0; i < count && code == PGK_OK; i++) code = check_entry(unit, &asked[i], level, i);
  if (code != PGK_OK) return code;
  for (size_t i = 0; i < count; i++) {
    asked[i].unexpressed = 0;
    switch (asked[i].kind) {
    case PGK_ENTRY_TABLE: entries[i] = encode_table(&asked[i]); break;
    case PGK_ENTRY_LEAF: entries[i] = encode_leaf(&asked[i]); break;
    default: entries[i] = 0; break;
    }
  }
  return PGK_OK;
}

/* ==== Opening ======================================================================================================== */

COLD __attribute__((format(printf, 2, 3))) bool fail(pgk_error_v1 *error, const char *format, ...) {
  if (!error) return false;
  va_list arguments;
  va_start(arguments, format);
  error->code = PGK_E_ARGUMENT;
  vsnprintf(error->message, sizeof error->message, format, arguments);
  va_end(arguments);
  return false;
}

/* A unit believes its map afterwards, so the map is checked once. */
static bool check_map(const pgk_physical_map_v1 *map, pgk_error_v1 *error) {
  if (!map || map->size < sizeof *map || map->abi != PGK_ABI) {
    return fail(error, "physical map: expected %zu bytes and ABI 0x%x", sizeof *map, PGK_ABI);
  }
  if (map->region_count && !map->regions) return fail(error, "physical map: regions are missing");
  uint64_t end = 0;
  for (size_t i = 0; i < map->region_count; i++) {
    const pgk_region_v1 *region = &map->regions[i];
    if (region->base & 15 || region->length & 15) return fail(error, "region %zu: base and length are multiples of 16", i);
    if (region->base < end || region->length > UINT64_MAX - region->base) {
      return fail(error, "region %zu: regions are sorted by base and do not overlap", i);
    }
    if (region->kind > PGK_REGION_CALLBACK) return fail(error, "region %zu: kind %u is unknown", i, region->kind);
    if (region->kind == PGK_REGION_RAM && (!region->bytes || (uintptr_t)region->bytes & 15)) {
      return fail(error, "region %zu: RAM needs bytes, aligned to 16", i);
    }
    if (region->kind == PGK_REGION_CALLBACK && !(map->load && map->store && map->compare_exchange)) {
      return fail(error, "region %zu: the map lacks the functions that serve it", i);
    }
    end = region->base + region->length;
  }
  return true;
}

static bool parse_integer(const char *text, int64_t *value) {
  char *end;
  if (*text != '-' && (*text < '0' || *text > '9')) return false;
  long long parsed = strtoll(text, &end, 10);
  *value = parsed; /* what overflows is a limit of the type, and outside every range here */
  return *end == 0;
}

static bool parse_option(const pgk_option_info_v1 *option, const char *text, int64_t *value, pgk_error_v1 *error) {
  switch (option->type) {
  case PGK_TYPE_BOOLEAN:
    *value = strcmp(text, "true") == 0;
    return *value || strcmp(text, "false") == 0 ||
           fail(error, "option %s: expected true or false, found “%s”", option->name, text);
  case PGK_TYPE_INTEGER:
    if (parse_integer(text, value) && *value >= option->minimum && *value <= option->maximum) return true;
    return fail(error, "option %s: expected %lld to %lld, found “%s”", option->name, (long long)option->minimum,
                (long long)option->maximum, text);
  default:
    for (size_t i = 0; i < option->choice_count; i++) {
      *value = (int64_t)i;
      if (strcmp(text, option->choices[i]) == 0) return true;
    }
    return fail(error, "option %s: expected %s or %s, found “%s”", option->name, option->choices[0], option->choices[1], text);
  }
}

static bool apply_options(pgk_unit *unit, const pgk_option_v1 *given, size_t count, pgk_error_v1 *error) {
  for (size_t i = 0; i < OPTION_COUNT; i++) {
    if (!parse_option(&options[i], options[i].preset, &unit->settings[i], error)) return false;
  }
  for (size_t i = 0; i < count; i++) {
    size_t index = 0;
    while (index < OPTION_COUNT && strcmp(options[index].name, given[i].name) != 0) index++;
    if (index == OPTION_COUNT) return fail(error, "option %s: unknown to this machine", given[i].name);
    if (!parse_option(&options[index], given[i].value, &unit->settings[index], error)) return false;
  }
  return true;
}

static void unit_close(pgk_unit *unit) {
  if (!unit) return;
  for (size_t i = 0; i < CACHE_COUNT; i++) free(unit->caches[i].entries);
  free(unit->pending.items);
  free(unit->record.items);
  free(unit);
}

/* The geometry options of a cache stand in the order of the caches, sets before ways. */
static bool make_storage(pgk_unit *unit, pgk_error_v1 *error) {
  for (size_t i = 0; i < CACHE_COUNT; i++) {
    const int64_t *shape = &unit->settings[OPTION_L1_SETS + 2 * i];
    if (!make_cache(&unit->caches[i], (uint32_t)shape[0], (uint32_t)shape[1])) return fail(error, "no memory for the caches");
  }
  return reserve(&unit->pending, 1) || fail(error, "no memory for the pending list");
}

static pgk_unit *arch_open(const pgk_arch_v1 *self, const pgk_host_v1 *host, const pgk_physical_map_v1 *map,
                           const pgk_option_v1 *given, size_t option_count, pgk_error_v1 *error) {
  (void)self, (void)host; /* one architecture, and nothing to log */
  if (error) *error = (pgk_error_v1){0};
  if (!check_map(map, error)) return NULL;
  pgk_unit *unit = calloc(1, sizeof *unit);
  if (!unit) {
    fail(error, "no memory for a unit");
    return NULL;
  }
  unit->map = map;
  if (!apply_options(unit, given, option_count, error) || !make_storage(unit, error)) {
    unit_close(unit);
    return NULL;
  }
  reset_registers(unit);
  return unit;
}

static const char *unit_message(pgk_unit *unit) { return unit->message; }

static int32_t unit_set_map(pgk_unit *unit, const pgk_physical_map_v1 *map) {
  pgk_error_v1 error;
  if (!check_map(map, &error)) return refuse(unit, PGK_E_ARGUMENT, "%s", error.message);
  unit->map = map;
  unit->last_region = 0;
  return PGK_OK;
}

/* ==== The table of functions, and the one symbol ===================================================================== */

static const pgk_description_v1 description = {
  .size = sizeof(pgk_description_v1),
  .abi = PGK_ABI,
  .name = "toy32",
  .title = "toy32, an invented 32-bit machine",
  .version = "0.1",
  .reference = "toy32 manual: the head of Plugins/toy32/toy32.c",
  .formats = formats,
  .format_count = COUNT_OF(formats),
  .regimes = regimes,
  .regime_count = COUNT_OF(regimes),
  .registers = registers,
  .register_count = COUNT_OF(registers),
  .options = options,
  .option_count = COUNT_OF(options),
  .privileges = privileges,
  .privilege_count = COUNT_OF(privileges),
  .outcomes = outcomes,
  .outcome_count = COUNT_OF(outcomes),
  .words = words,
  .word_count = COUNT_OF(words),
  .rules = rules,
  .rule_count = COUNT_OF(rules),
  .counters = counters,
  .counter_count = COUNT_OF(counters),
  .caches = caches,
  .cache_count = COUNT_OF(caches),
  .encoders = encoders,
  .encoder_count = COUNT_OF(encoders),
  .verdicts = VERDICTS,
  .identifier_bits = 8,
  .context_key = context_key,
  .context_key_count = COUNT_OF(context_key),
};

static const pgk_arch_v1 toy32 = {
  .size = sizeof(pgk_arch_v1),
  .abi = PGK_ABI,
  .description = &description,
  .os = &os_services,
  .open = arch_open,
  .close = unit_close,
  .message = unit_message,
  .set_map = unit_set_map,
  .read_register = unit_read_register,
  .write_registers = unit_write_registers,
  .regime = unit_regime,
  .run = unit_run,
  .pending = unit_pending,
  .resume = unit_resume,
  .counters = unit_counters,
  .reset = unit_reset,
  .dump = unit_dump,
  .observe = unit_observe,
  .save = unit_save,
  .restore = unit_restore,
  .decode = unit_decode,
  .encode = unit_encode,
};

static const pgk_arch_v1 *const archs[] = {&toy32};

static const pgk_plugin_v1 plugin = {
  .size = sizeof(pgk_plugin_v1),
  .abi = PGK_ABI,
  .vendor = "PagingKit",
  .licence = "Apache-2.0",
  .archs = archs,
  .arch_count = COUNT_OF(archs),
};

__attribute__((visibility("default"))) const pgk_plugin_v1 *pgk_plugin_entry(uint32_t host_abi) {
  return host_abi == PGK_ABI ? &plugin : NULL;
}
