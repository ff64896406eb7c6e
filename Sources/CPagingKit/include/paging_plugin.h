/* SPDX-License-Identifier: Apache-2.0
 *
 * paging_plugin.h: what a PagingKit back end exports, and what it is lent.
 *
 * A back end models the memory unit of one architecture. It is a dynamic library that exports one symbol,
 * pgk_plugin_entry, and describes itself as data. A host opens units over a lent physical map, hands them accesses in
 * batches, and answers the operations that a unit could not finish with verdicts. Only the C types of this file cross
 * the border. The file stands alone: C11 or C++17, no other header of PagingKit. Read it from top to bottom; a short
 * example is at the end, and Plugins/toy32 is a complete back end in one C file.
 *
 * Rules
 *   Versions    `abi` is PGK_ABI. Before 1.0 another number is refused on both sides.
 *   Growth      A released structure never changes. Growth is a new tag (..._v2) that begins with the old one.
 *   Sizes       Descriptors begin with their own size in bytes, which the reader checks. Batch records do not.
 *   Ownership   Descriptions and strings live as long as the library. Arrays handed to a call belong to the caller and
 *               are not kept after it returns, unless the call says so. A unit belongs to who opened it, until close.
 *   Threads     A unit is used by one thread at a time; different units by different threads at once. A back end has no
 *               mutable globals. Callbacks come on the thread of the call that caused them and must not call back
 *               into the same unit.
 *   Text        UTF-8, zero-terminated. Help texts may be empty, but no text is null unless that is said.
 *   Lists       A description's list may be null if its count is 0.
 *   Reserved    Members so named are written as zero and not read.
 */
#ifndef PAGING_PLUGIN_H
#define PAGING_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version 0.1: major in the upper 16 bits, minor in the lower. */
#define PGK_ABI 0x00000001u

/* What a call that can be refused returns: zero or a count, or one of these. The reason in words is message(). */
#define PGK_OK 0
#define PGK_E_ARGUMENT (-1)    /* an index, a size or a value outside what the description declares   */
#define PGK_E_PENDING (-2)     /* run while operations are listed, or resume while none is            */
#define PGK_E_VERDICT (-3)     /* a verdict this architecture does not have, or that breaks the order  */
#define PGK_E_UNSUPPORTED (-4) /* the architecture has nothing of this kind                            */
#define PGK_E_CAPACITY (-5)    /* the caller's array is too short                                      */
#define PGK_E_STATE (-6)       /* saved bytes that are damaged, or of another architecture or version  */
#define PGK_E_UNKNOWN_BIT (-7) /* a register value with a bit or mode that the model does not know     */

typedef struct pgk_error_v1 {
  int32_t code; /* one of the values above, zero if there was no error */
  char message[508];
} pgk_error_v1;

/* ---- Batch records (they never grow) -------------------------------------------------------------------------- */

/* Access kinds. */
#define PGK_READ 0u
#define PGK_WRITE 1u
#define PGK_MODIFY 2u            /* atomic exchange: delivers the old value, stores the given one; judged as a write */
#define PGK_LOAD_LOCKED 3u
#define PGK_STORE_CONDITIONAL 4u /* delivers 0 if it stored, 1 if not */
#define PGK_FETCH 5u
#define PGK_SPECIAL 6u           /* register access, invalidation, probe; made by an encoder or an OS service */
#define PGK_KIND_COUNT 7u

/* Access flags. */
#define PGK_TRANSLATE_ONLY 1u /* everything but moving data; accessed and dirty bits are set */
#define PGK_SPECULATIVE 2u
#define PGK_END_OF_GROUP 4u   /* the last access of a group; see the option "grouping" */
#define PGK_HAS_VALUE 8u      /* the value at the same index is meant. A store that moves data always means it, with
                                 or without this flag; an encoder or a service sets it where its access needs one */
#define PGK_HYPERVISOR 16u    /* a special access of who is below the operating system, for the machine at hand: never
                                 intercepted, and taken while operations are pending too */

typedef struct pgk_access_v1 {
  uint64_t address;  /* of the first byte; what it means for PGK_SPECIAL is the back end's own */
  uint8_t kind;      /* PGK_READ ... */
  uint8_t size_log2; /* 0 to 4: 1 to 16 bytes */
  uint8_t privilege; /* index into the description's privileges */
  uint8_t flags;
  uint32_t tag; /* the caller's; names the access in lists and completions */
} pgk_access_v1;

/* A value on its way to or from memory or a register. */
typedef struct pgk_value_v1 {
  uint64_t low, high; /* bytes 0 to 7 and 8 to 15, little-endian */
  uint16_t mask;      /* bytes that count, bit 0 for byte 0; 0 means all bytes of the access. In the completion of a part
                         (PGK_LISTED_LATER_PART): the bytes of the whole access that the part delivers, at their place */
  uint8_t tags[2];    /* memory tags of the two halves, where the architecture has them */
  uint32_t qualifier; /* what qualifies the access besides kind, size and privilege: the back end's own, made by its
                         encoders; 0 for nothing. Read where the access has PGK_HAS_VALUE. */
} pgk_value_v1;

/* Outcomes 1 to 250 are indices into the description's outcomes. */
#define PGK_OUTCOME_FINISHED 0u
#define PGK_OUTCOME_LISTED 255u  /* the access is in the pending list */
#define PGK_OUTCOME_DROPPED 254u /* a verdict decided that it never happens */

/* Rights bits of a translation. Bits 4 to 7 are the back end's own. */
#define PGK_RIGHT_READ 1u
#define PGK_RIGHT_WRITE 2u
#define PGK_RIGHT_EXECUTE 4u
#define PGK_RIGHT_USER 8u

/* An access that crosses a page has two translations: output, level and page_shift are those of its first byte, and
 * entry_reads counts both. The result of a special access is zero but for its outcome. */
typedef struct pgk_result_v1 {
  uint64_t output; /* physical address of the first byte; for an outcome that is a fault, the faulting address */
  uint8_t outcome;
  uint8_t level;        /* level of the entry that decided, 0 is the last table; 0 if none was read */
  uint8_t page_shift;   /* log2 of the bytes that the translation covers; 64 if addresses are not translated */
  uint8_t rights;
  uint32_t entry_reads; /* table entries read, all stages; 0 on a TLB hit */
} pgk_result_v1;

/* ---- The list of pending operations --------------------------------------------------------------------------- */

/* Why an operation is listed. */
#define PGK_CLASS_COLLATERAL 0u /* innocent: dropped with a neighbour of its group */
#define PGK_CLASS_GUEST_FAULT 1u
#define PGK_CLASS_SECOND_STAGE 2u
#define PGK_CLASS_SHADOW 3u
#define PGK_CLASS_REGISTER_READ 4u
#define PGK_CLASS_REGISTER_WRITE 5u
#define PGK_CLASS_INVALIDATION 6u
#define PGK_CLASS_PROBE 7u
/* Data would move to or from a device. guest_physical is the device's address, natively too, and outcome may be 0. An
 * access with PGK_TRANSLATE_ONLY moves nothing, so it is not listed for this. */
#define PGK_CLASS_DEVICE 8u

/* Flags of a listed operation. */
#define PGK_LISTED_ANSWERED 1u           /* an earlier answer stands; software may leave it */
#define PGK_LISTED_HAS_VALUE 2u
#define PGK_LISTED_HAS_GUEST_PHYSICAL 4u
#define PGK_LISTED_FINAL_ADDRESS 8u      /* the failing address is the access's own, not that of a table entry */
#define PGK_LISTED_LATER_PART 16u        /* an access that the architecture lists in parts: the part before has the same tag.
                                            Address, size and value of a part are its own */
#define PGK_LISTED_DROPPED 32u           /* answered with PGK_VERDICT_DROP: it waits only for resume to say so */

#define PGK_NO_ENTRY 0xffffffffffffffffull

/* One operation that the unit hands to software. */
typedef struct pgk_listed_v1 {
  pgk_access_v1 access;    /* as it was given, or a part of it */
  pgk_value_v1 value;      /* store data, or the operands of a special access */
  uint64_t fault_address;  /* first byte on the faulting page */
  uint64_t guest_physical; /* if PGK_LISTED_HAS_GUEST_PHYSICAL */
  uint64_t slot;           /* address of the entry that decided, PGK_NO_ENTRY if none was read */
  uint32_t entry_reads;
  uint32_t code;           /* the back end's own: vector, cause, event code */
  uint8_t class_;          /* PGK_CLASS_... */
  uint8_t outcome;         /* index into the description's outcomes; 0 for an innocent neighbour */
  uint8_t stage;           /* 1 or 2: the stage whose tables decided; 0 if none */
  uint8_t level;           /* level of the slot */
  uint8_t flags;           /* PGK_LISTED_... */
  uint8_t word_count;
  uint16_t reserved;
  uint64_t words[8];       /* named by the description */
} pgk_listed_v1;

/* Verdicts. An answer is final: an operation with PGK_LISTED_ANSWERED can only be left. */
#define PGK_VERDICT_LEAVE 0u    /* nothing said: an answered item keeps its answer; with another the unit does what its
                                   architecture does, which is to replay it where that says nothing */
#define PGK_VERDICT_REPLAY 1u   /* perform it again from the start, with translations as they are now */
#define PGK_VERDICT_COMPLETE 2u /* do not perform it; deliver `value` */
#define PGK_VERDICT_REPLACE 3u  /* perform it with `value` in place of its own */
#define PGK_VERDICT_DROP 4u     /* it never happens; a dropped load leaves its destination unchanged */
#define PGK_VERDICT_REFLECT 5u  /* deliver it to the guest as `outcome`, `code` and `words`, and with it all that follows;
                                   verdicts behind it must be PGK_VERDICT_LEAVE, or PGK_VERDICT_REFLECT for an item that
                                   has a fault of the guest's own as well */
#define PGK_VERDICT_REPLAY_IGNORING_WRITE_PROTECTION 6u
#define PGK_VERDICT_COUNT 7u

/* The answer to one listed operation. All zero but the kind is a reflection of the fault as it is listed. A reflection
 * under another outcome keeps the listed word_count. */
typedef struct pgk_verdict_v1 {
  uint8_t kind;
  uint8_t outcome;    /* PGK_VERDICT_REFLECT: outcome for the guest, 0 for the listed one with its code and words */
  uint16_t reserved;
  uint32_t code;
  pgk_value_v1 value;     /* PGK_VERDICT_COMPLETE and _REPLACE */
  uint64_t fault_address; /* PGK_VERDICT_REFLECT with an outcome: 0 for the listed one */
  uint64_t words[8];
} pgk_verdict_v1;

/* What became of an operation that was pending, matched by its tag. */
typedef struct pgk_completion_v1 {
  uint32_t tag;
  uint32_t reserved;
  pgk_result_v1 result;
  pgk_value_v1 value; /* loads and register reads */
} pgk_completion_v1;

/* ---- What the host lends --------------------------------------------------------------------------------------- */

typedef struct pgk_host_v1 {
  uint32_t size, abi;
  void *context;
  void (*log)(void *context, int32_t level, const char *text); /* may be null; level 0 error, 1 warning, 2 note */
} pgk_host_v1;

#define PGK_REGION_RAM 0u          /* has bytes */
#define PGK_REGION_ADDRESS_ONLY 1u /* exists for translation, has no bytes: tables cannot be here, data reads as ones,
                                      and stores are lost */
#define PGK_REGION_DEVICE 2u       /* an access ends run with class PGK_CLASS_DEVICE */
#define PGK_REGION_CALLBACK 3u     /* bytes through the map's functions: the slow way */

typedef struct pgk_region_v1 {
  uint64_t base, length; /* bytes; base and length are multiples of 16 */
  uint32_t kind;
  uint32_t reserved;
  void *bytes; /* PGK_REGION_RAM: `length` bytes, aligned to 16; otherwise null */
} pgk_region_v1;

/* Physical memory as a unit sees it: sorted by base, not overlapping. What no region covers is a hole. The lender owns
 * all of it until the unit is closed or given another map, and changes it only between calls. Tables are little-endian.
 * The functions serve regions of kind PGK_REGION_CALLBACK: naturally aligned, 4 or 8 bytes, 0 on success. */
typedef struct pgk_physical_map_v1 {
  uint32_t size, abi;
  const pgk_region_v1 *regions;
  size_t region_count;
  void *context;
  int32_t (*load)(void *context, uint64_t address, uint32_t byte_count, uint64_t *value);
  int32_t (*store)(void *context, uint64_t address, uint32_t byte_count, uint64_t value);
  /* Stores `desired` if the place holds `expected`; returns 0 if it did, 1 if it held something else, negative if there
   * is no such place. */
  int32_t (*compare_exchange)(void *context, uint64_t address, uint32_t byte_count, uint64_t expected, uint64_t desired);
} pgk_physical_map_v1;

/* One step of a translation, for who observes a unit. */
#define PGK_STEP_TABLE 0u       /* an entry that points to a table */
#define PGK_STEP_LEAF 1u
#define PGK_STEP_REFUSED 2u     /* the entry, or the address before any entry, was refused: see the rule */
#define PGK_STEP_CACHED 3u      /* a walk cache gave the entry; nothing was read */
#define PGK_STEP_UPDATED 4u     /* accessed or dirty was written; `entry` is the new value */
#define PGK_STEP_TLB_HIT 5u     /* the whole translation; no other step follows */
#define PGK_STEP_TRANSLATED 6u  /* the end of a walk that succeeded; it has no slot. With two stages it comes twice, from
                                   the access's address each time: stage 1 to the guest-physical address, which is the
                                   same where the first stage is off, and stage 2, last of all, to the physical one */

typedef struct pgk_step_v1 {
  uint64_t slot;   /* address of the entry where this stage's tables lie, guest-physical for stage 1 of two; PGK_NO_ENTRY if none */
  uint64_t entry;
  uint64_t input;  /* the address that this stage translates */
  uint64_t output; /* next table, or the final address, in the address space that this stage gives */
  uint32_t rule;   /* index into the description's rules */
  uint8_t kind;    /* PGK_STEP_... */
  uint8_t level;
  uint8_t stage;   /* 1 or 2 */
  uint8_t format;  /* index into the description's formats; 255 where no entry could be read */
} pgk_step_v1;

typedef struct pgk_observer_v1 {
  uint32_t size, abi;
  void *context;
  void (*step)(void *context, const pgk_access_v1 *access, const pgk_step_v1 *step);
} pgk_observer_v1;

/* ---- Self-description ------------------------------------------------------------------------------------------ */

typedef struct pgk_field_v1 {
  const char *name; /* the manual's */
  uint8_t high, low;
  uint16_t reserved;
  uint32_t reserved2;
} pgk_field_v1;

#define PGK_ENTRY_ABSENT 0u
#define PGK_ENTRY_TABLE 1u
#define PGK_ENTRY_LEAF 2u
#define PGK_ENTRY_INVALID 3u /* decode only: present, but refused by the format */

/* One table of the manual: an entry that maps, or one that points. Its fields tile the entry. */
typedef struct pgk_entry_layout_v1 {
  const char *name;
  uint32_t kind;       /* PGK_ENTRY_TABLE or PGK_ENTRY_LEAF */
  uint32_t level_mask; /* bit n: occurs at level n */
  const pgk_field_v1 *fields;
  size_t field_count;
} pgk_entry_layout_v1;

typedef struct pgk_level_v1 {
  const char *name;   /* the manual's name of an entry at this level: PDPTE, PTE */
  uint8_t index_bits;
  uint8_t shift;      /* log2 of the bytes that one entry covers */
  uint8_t leaf;       /* 1 if an entry here may map a page, under some model and control bits */
  uint8_t reserved;
  uint32_t reserved2;
} pgk_level_v1;

/* Neutral attributes of an entry. */
#define PGK_ATTRIBUTE_READ 1u
#define PGK_ATTRIBUTE_WRITE 2u
#define PGK_ATTRIBUTE_EXECUTE 4u
#define PGK_ATTRIBUTE_USER 8u
#define PGK_ATTRIBUTE_GLOBAL 16u
#define PGK_ATTRIBUTE_ACCESSED 32u
#define PGK_ATTRIBUTE_DIRTY 64u
#define PGK_ATTRIBUTE_MEMORY_TYPE 128u /* in masks only: the member memory_type */
#define PGK_ATTRIBUTE_KEY 256u         /* in masks only: the member key */

/* Neutral memory types. */
#define PGK_MEMORY_NORMAL 0u
#define PGK_MEMORY_UNCACHED 1u
#define PGK_MEMORY_DEVICE 2u
#define PGK_MEMORY_WRITE_THROUGH 3u
#define PGK_MEMORY_WRITE_COMBINING 4u

typedef struct pgk_entry_v1 {
  uint64_t output;      /* next table or page */
  uint32_t attributes;  /* PGK_ATTRIBUTE_... */
  uint32_t unexpressed; /* encode writes here the attributes that the format could not express as asked */
  uint8_t kind;         /* PGK_ENTRY_... */
  uint8_t level;
  uint8_t memory_type;
  uint8_t key;
  uint32_t reserved;
} pgk_entry_v1;

typedef struct pgk_format_v1 {
  const char *name;      /* for the command line: 4level, sv39 */
  const char *title;     /* the manual's */
  const char *reference; /* manual, edition, section title */
  uint8_t entry_bytes;
  uint8_t stage;         /* 1, or 2 for tables from guest-physical to physical */
  uint8_t input_bits;    /* width of the address that the tables translate */
  uint8_t output_bits;   /* width of the address that they give at most */
  uint8_t sign_extended; /* 1 if the bits above input_bits repeat the top bit, 0 if they are zero */
  uint8_t root_alignment_shift;
  uint16_t reserved;
  uint32_t attributes;   /* attributes of a leaf that the format expresses */
  uint32_t reserved2;
  const pgk_level_v1 *levels; /* index is the level: 0 is the last table */
  size_t level_count;
  const pgk_entry_layout_v1 *layouts;
  size_t layout_count;
} pgk_format_v1;

#define PGK_NO_FORMAT 0xffu

typedef struct pgk_regime_v1 {
  const char *name; /* 4level, sv39; with a second stage FIRST/SECOND: sv39/sv39x4 */
  const char *help;
  uint8_t first_format;  /* index into formats; PGK_NO_FORMAT if the stage is bare */
  uint8_t second_format;
  uint8_t user;          /* privilege of user accesses under this regime, index into privileges */
  uint8_t supervisor;    /* privilege of the kernel */
  uint32_t reserved;
} pgk_regime_v1;

#define PGK_OPTION_MODEL 0u    /* a property of the processor: address width */
#define PGK_OPTION_FEATURE 1u  /* an extension that may be there or not */
#define PGK_OPTION_POLICY 2u   /* a choice that the manual leaves open */
#define PGK_OPTION_GEOMETRY 3u /* TLBs and walk caches */

#define PGK_TYPE_BOOLEAN 0u /* "true" or "false" */
#define PGK_TYPE_INTEGER 1u
#define PGK_TYPE_CHOICE 2u

typedef struct pgk_option_info_v1 {
  const char *name;
  const char *help;
  const char *preset; /* the value when nothing is said */
  uint32_t kind;
  uint32_t type;
  int64_t minimum, maximum;      /* PGK_TYPE_INTEGER */
  const char *const *choices;    /* PGK_TYPE_CHOICE */
  size_t choice_count;
} pgk_option_info_v1;

#define PGK_REGISTER_CONTROL 0u
#define PGK_REGISTER_QUALIFIER 1u /* qualifies the accesses that follow; not a register of the manual */
#define PGK_REGISTER_STATUS 2u    /* what the unit says of itself: the last trap, how far a list is read. One of width 1
                                     is an exception by name */
#define PGK_REGISTER_RECORD 3u    /* control: physical address of the 1024 bytes to which the unit writes its own record of
                                     reflected operations, see read_faults */

typedef struct pgk_register_v1 {
  const char *name; /* lower case, as in golden vectors */
  const char *help;
  uint32_t width;         /* bits */
  uint32_t kind;
  uint64_t writable;      /* bits that the model knows, with every feature on */
  uint64_t preset;        /* value when a unit is opened */
} pgk_register_v1;

typedef struct pgk_privilege_v1 {
  const char *name;
  const char *help;
} pgk_privilege_v1;

typedef struct pgk_outcome_v1 {
  const char *name;
  const char *help;
  int32_t number; /* vector or cause as the manual numbers it; -1 if it has none */
  uint32_t fault; /* 1 if it is listed, 0 if the access is finished */
} pgk_outcome_v1;

/* A name and what it means: raw words, counters, rules. */
typedef struct pgk_name_v1 {
  const char *name;
  const char *help;
} pgk_name_v1;

/* A part of a raw word that has a name of its own. A part named NAME? says by being other than 0 that NAME is meant. */
typedef struct pgk_word_field_v1 {
  const char *name;
  uint8_t word; /* index into words */
  uint8_t high, low;
  uint8_t reserved;
  uint32_t reserved2;
} pgk_word_field_v1;

#define PGK_CACHE_TLB 0u
#define PGK_CACHE_PREFIX 1u /* walk cache by address prefix */
#define PGK_CACHE_ENTRY 2u  /* walk cache by entry address */

typedef struct pgk_cache_v1 {
  const char *name; /* the prefix of its geometry options: tlb.l1 */
  const char *help;
  uint32_t kind;
  uint32_t stage;   /* 1; 2 for a nested TLB and second-stage walk caches */
} pgk_cache_v1;

typedef struct pgk_unit pgk_unit; /* opaque */

/* An operation that only this architecture has. `function` is an encoder, called through its signature:
 *   i32 name(ptr unit, <arguments>, ptr access_out, ptr value_out)
 * with the types void u8 u16 u32 u64 i8 i16 i32 i64 f64 ptr. It checks its arguments, writes one access and its
 * value, performs nothing, and returns PGK_OK or an error. Only run performs the access: a special one, or an ordinary
 * one whose value carries a qualifier. */
typedef struct pgk_encoder_v1 {
  const char *name;
  const char *signature;             /* i32(ptr,u64,u64,ptr,ptr) */
  const char *const *argument_names; /* of the arguments between unit and access_out */
  size_t argument_count;
  const char *help;
  void (*function)(void); /* to be cast to the signature */
} pgk_encoder_v1;

typedef struct pgk_description_v1 {
  uint32_t size, abi;
  const char *name; /* for the command line, lower case: x86 */
  const char *title;
  const char *version;   /* of the back end */
  const char *reference; /* manual and edition */
  const pgk_format_v1 *formats;
  size_t format_count;
  const pgk_regime_v1 *regimes; /* the first is the default */
  size_t regime_count;
  const pgk_register_v1 *registers;
  size_t register_count;
  const pgk_option_info_v1 *options;
  size_t option_count;
  const pgk_privilege_v1 *privileges;
  size_t privilege_count;
  const pgk_outcome_v1 *outcomes; /* index 0 is "finished" */
  size_t outcome_count;
  const pgk_name_v1 *words; /* at most 8: names of the raw words of a listed operation */
  size_t word_count;
  const pgk_word_field_v1 *word_fields; /* their parts by name; they need not tile, and may overlap */
  size_t word_field_count;
  const pgk_name_v1 *rules; /* name: the rule in words; help: section title */
  size_t rule_count;
  const pgk_name_v1 *counters;
  size_t counter_count;
  const pgk_cache_v1 *caches;
  size_t cache_count;
  const pgk_encoder_v1 *encoders;
  size_t encoder_count;
  uint32_t verdicts;        /* bit n: has verdict n; replay and reflect are always there */
  uint32_t identifier_bits; /* of address spaces; 0 if there are none */
  const uint32_t *context_key; /* registers whose value changes rights: index into registers */
  size_t context_key_count;
} pgk_description_v1;

/* ---- Units ------------------------------------------------------------------------------------------------------ */

typedef struct pgk_option_v1 {
  const char *name, *value;
} pgk_option_v1;

typedef struct pgk_register_value_v1 {
  uint32_t index, reserved;
  uint64_t value;
} pgk_register_value_v1;

/* What a register load did: it may fault, as loading page-directory pointers does. */
typedef struct pgk_register_outcome_v1 {
  uint8_t outcome; /* PGK_OUTCOME_FINISHED, or an index into the description's outcomes */
  uint8_t word_count;
  uint16_t reserved;
  uint32_t code;
  uint64_t words[8];
} pgk_register_outcome_v1;

/* One valid entry of a TLB or walk cache. */
#define PGK_CACHED_GLOBAL 1u
#define PGK_CACHED_NEGATIVE 2u
#define PGK_CACHED_DIRTY 4u

typedef struct pgk_cached_v1 {
  uint64_t input;  /* first address covered, or the slot of an entry cache */
  uint64_t output;
  uint32_t set, way;
  uint32_t identifier;         /* PCID, ASID, PID */
  uint32_t machine_identifier; /* VPID, VMID, GID */
  uint8_t page_shift, rights, level, flags;
  uint32_t reserved;
} pgk_cached_v1;

/* What reset clears, ORed. */
#define PGK_RESET_CACHES 1u    /* TLBs and walk caches, as after power-on */
#define PGK_RESET_COUNTERS 2u
#define PGK_RESET_REGISTERS 4u
#define PGK_RESET_PENDING 8u   /* the pending list is thrown away */

/* What save writes besides registers and the pending list. */
#define PGK_SAVE_CACHES 1u

/* What an operating system must do on this architecture, as translations into accesses. They change nothing in the unit
 * but may read its registers. Each writes accesses with their values and returns how many, or a negative code; where
 * `capacity` is too small for all it writes nothing and returns PGK_E_CAPACITY. Absent services are null. */
#define PGK_SCOPE_PAGE 0u       /* one page of one space */
#define PGK_SCOPE_RANGE 1u      /* `byte_count` bytes from `address` of one space */
#define PGK_SCOPE_IDENTIFIER 2u /* one space, not its global pages */
#define PGK_SCOPE_ALL 3u        /* everything, global pages too */
/* ORed into a scope: a table entry was changed, not only leaves, so walk caches must forget as well. */
#define PGK_SCOPE_TABLES 0x100u

typedef struct pgk_os_v1 {
  uint32_t size, abi;
  /* Turns translation on under a regime, with a first root. */
  int64_t (*enable_translation)(pgk_unit *, uint32_t regime, uint64_t root, uint32_t identifier, pgk_access_v1 *,
                                pgk_value_v1 *, size_t capacity);
  int64_t (*switch_space)(pgk_unit *, uint64_t root, uint32_t identifier, pgk_access_v1 *, pgk_value_v1 *,
                          size_t capacity);
  int64_t (*invalidate)(pgk_unit *, uint32_t scope, uint64_t address, uint64_t byte_count, uint32_t identifier,
                        pgk_access_v1 *, pgk_value_v1 *, size_t capacity);
  int64_t (*trap_entry)(pgk_unit *, pgk_access_v1 *, pgk_value_v1 *, size_t capacity);
  int64_t (*trap_return)(pgk_unit *, pgk_access_v1 *, pgk_value_v1 *, size_t capacity);
  /* The accesses that fetch the unit's own record of reflected operations, as far as it is known which they are. It is
   * called again and again: on entry the arrays hold the `known` accesses performed so far, with the values that they
   * delivered; on return they hold the accesses still to be made instead, from index 0. It returns how many these are,
   * 0 when nothing is left. Null if there is no record; then decode_faults is null as well. */
  int64_t (*read_faults)(pgk_unit *, pgk_access_v1 *, pgk_value_v1 *values, size_t known, size_t capacity);
  /* What all of them say, decoded: returns how many operations it wrote. */
  int64_t (*decode_faults)(pgk_unit *, const pgk_access_v1 *, const pgk_value_v1 *, size_t count, pgk_listed_v1 *,
                           size_t capacity);
  /* The accesses that perform a reflected operation again. */
  int64_t (*reexecute)(pgk_unit *, const pgk_listed_v1 *, pgk_access_v1 *, pgk_value_v1 *, size_t capacity);
  /* The accesses that tell the unit its record has been taken. */
  int64_t (*acknowledge)(pgk_unit *, pgk_access_v1 *, pgk_value_v1 *, size_t capacity);
  /* Who is below the operating system turns the second stage of a regime on: the root of the tables from guest-physical
   * to physical addresses, and the identifier of the machine. No access of the guest's does this, so it writes
   * register values, to be given to write_registers before translation is enabled under the regime. */
  int64_t (*enable_second_stage)(pgk_unit *, uint32_t regime, uint64_t root, uint32_t machine_identifier,
                                 pgk_register_value_v1 *, size_t capacity);
} pgk_os_v1;

typedef struct pgk_arch_v1 pgk_arch_v1;

/* One architecture. Functions that may be null say so. */
struct pgk_arch_v1 {
  uint32_t size, abi;
  const pgk_description_v1 *description;
  const pgk_os_v1 *os; /* not null; its members may be */

  /* A unit after reset over `map`, which must outlive it; null on error. Unknown option names are errors. `host` and
   * `error` may be null. */
  pgk_unit *(*open)(const pgk_arch_v1 *self, const pgk_host_v1 *host, const pgk_physical_map_v1 *map,
                    const pgk_option_v1 *options, size_t option_count, pgk_error_v1 *error);
  void (*close)(pgk_unit *);
  /* Why the last call on this unit was refused; lives until the next call. Never null. */
  const char *(*message)(pgk_unit *);
  /* Another map, between calls; caches are kept. */
  int32_t (*set_map)(pgk_unit *, const pgk_physical_map_v1 *map);

  int32_t (*read_register)(pgk_unit *, uint32_t index, uint64_t *value);
  /* Loads several registers as one change of state, as entering a machine does: checked as the result of all of them,
   * and not intercepted. Invalidates what the architecture says a load of these registers invalidates. On a negative
   * return nothing is changed. A load that faults changes nothing but says so in `outcome`, which may be null. */
  int32_t (*write_registers)(pgk_unit *, const pgk_register_value_v1 *, size_t count, pgk_register_outcome_v1 *outcome);
  /* Index into regimes of what the registers select now, or negative if none that is declared. */
  int32_t (*regime)(pgk_unit *);

  /* Takes `count` accesses. Returns how many were consumed: each is finished, with its result, or in the pending list,
   * with outcome PGK_OUTCOME_LISTED. Nothing after the group that stopped has started. `values` may be null if no
   * access moves data or is special; it is read for stores that move data and where PGK_HAS_VALUE is set, and written
   * by what delivers a value. PGK_E_PENDING while operations are listed, unless all accesses are PGK_HYPERVISOR's. A group
   * that the architecture cannot hold is refused before anything of it is begun. */
  int64_t (*run)(pgk_unit *, const pgk_access_v1 *, pgk_value_v1 *values, pgk_result_v1 *, size_t count);
  /* The list, in order. Writes at most `capacity` and returns how many there are. */
  size_t (*pending)(pgk_unit *, pgk_listed_v1 *, size_t capacity);
  /* Finishes the list: verdict i answers item i, what is missing is PGK_VERDICT_LEAVE. Returns how many operations came
   * to an end and are described in `completions` (capacity at least the length of the list). What went to the guest is
   * among them: the reflected item with its outcome, and those that followed, dropped or with a fault of their own. When
   * an item is listed anew, the rest of the list stays behind it, untouched, and pending() says so. Where the
   * architecture delivers a fault of the guest's own that it meets on the way, what follows goes to the guest with it, as
   * after a reflection. A refused verdict changes nothing. */
  int64_t (*resume)(pgk_unit *, const pgk_verdict_v1 *, size_t count, pgk_completion_v1 *completions, size_t capacity);

  /* Writes answers into the list without finishing it: pending() shows them, and resume leaves them. Verdicts as for
   * resume. Null where the list can be answered by resume alone. */
  int32_t (*answer)(pgk_unit *, const pgk_verdict_v1 *, size_t count);

  /* Writes at most `capacity` counters in the description's order; returns how many there are. */
  size_t (*counters)(pgk_unit *, uint64_t *values, size_t capacity);
  int32_t (*reset)(pgk_unit *, uint32_t what);
  /* The valid entries of a cache, set by set, most recent first where the replacement knows. */
  int64_t (*dump)(pgk_unit *, uint32_t cache, pgk_cached_v1 *, size_t capacity);
  /* Watches every translation until called with null. The observer is copied. A unit without observer pays nothing. */
  int32_t (*observe)(pgk_unit *, const pgk_observer_v1 *observer);

  /* Opaque bytes, the same on every run: registers, pending list, and caches if asked. Returns the bytes needed; writes
   * none where `bytes` is null, and PGK_E_CAPACITY where `capacity` is too small. Restoring bytes without caches leaves
   * the caches empty. */
  int64_t (*save)(pgk_unit *, uint32_t what, uint8_t *bytes, size_t capacity);
  int32_t (*restore)(pgk_unit *, const uint8_t *bytes, size_t count);

  /* Entries of a format and level to neutral attributes and back, under the unit's present registers. encode takes
   * PGK_ENTRY_ABSENT too. It returns PGK_E_ARGUMENT where the output is misaligned or too wide, or the level cannot hold
   * the kind. */
  int32_t (*decode)(pgk_unit *, uint32_t format, uint32_t level, const uint64_t *entries, pgk_entry_v1 *, size_t count);
  int32_t (*encode)(pgk_unit *, uint32_t format, uint32_t level, pgk_entry_v1 *, uint64_t *entries, size_t count);
};

/* What a library exports. */
typedef struct pgk_plugin_v1 {
  uint32_t size, abi;
  const char *vendor;
  const char *licence;
  const pgk_arch_v1 *const *archs;
  size_t arch_count;
} pgk_plugin_v1;

typedef const pgk_plugin_v1 *(*pgk_plugin_entry_fn)(uint32_t host_abi);

/* The one symbol a library exports. Returns null if it cannot serve this version. Called once, by any thread. */
const pgk_plugin_v1 *pgk_plugin_entry(uint32_t host_abi);

/* ---- Example: one access, from the host's side --------------------------------------------------------------------
 *
 *   const pgk_arch_v1 *arch = pgk_plugin_entry(PGK_ABI)->archs[0];
 *   pgk_region_v1 ram = { 0, 1 << 20, PGK_REGION_RAM, 0, bytes };
 *   pgk_physical_map_v1 map = { sizeof map, PGK_ABI, &ram, 1, 0, 0, 0, 0 };
 *   pgk_error_v1 error;
 *   pgk_unit *unit = arch->open(arch, &host, &map, 0, 0, &error);
 *   pgk_access_v1 load = { 0x1234, PGK_READ, 2, 0, PGK_TRANSLATE_ONLY, 1 };
 *   pgk_result_v1 result;
 *   arch->run(unit, &load, 0, &result, 1);
 *   if (result.outcome == PGK_OUTCOME_LISTED) {
 *     pgk_listed_v1 fault;
 *     arch->pending(unit, &fault, 1);
 *   }
 */

#ifdef __cplusplus
}
#endif
#endif
