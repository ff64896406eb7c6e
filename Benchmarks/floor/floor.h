/* SPDX-License-Identifier: Apache-2.0
 *
 * The floor: the least work that each paging job can cost on one core. No faults as records, no observers, no options,
 * no counters but those that tell two implementations apart. A measurement of PagingKit is a ratio to it.
 *
 * The jobs are a library, so that a benchmark can take turns with them round by round: it prepares a job, lets the floor
 * and a back end walk the same tables in the same memory for the same addresses, and compares times and counts.
 *
 *   size_t count;
 *   const floor_job *jobs = floor_jobs(&count);
 *   floor_state *state = floor_open(0);
 *   jobs[0].prepare(state, jobs[0].span);
 *   seed = jobs[0].addresses(state, seed, addresses, n);
 *   jobs[0].run(state, addresses, n, &counts);            (this is what is timed)
 */
#ifndef PAGING_FLOOR_H
#define PAGING_FLOOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes with every change of the structures below. */
#define FLOOR_VERSION 1u

/* The known addresses: this many for each job, from this seed for the first. Jobs that follow each other with the same
 * tables have the same addresses; another set continues with the seed that the last one returned. */
#define FLOOR_SEED 88172645463325252ull
#define FLOOR_ADDRESS_COUNT (1u << 22)

/* What the prepared tables look like. */
#define FLOOR_TABLES_NONE 0u
#define FLOOR_TABLES_NATIVE 1u /* four levels of 9 bits, 4 KiB leaves, from `root` */
#define FLOOR_TABLES_NESTED 2u /* the same from `guest_root` in guest-physical memory, which the tables at `root` map */

/* The tables of a job and where they are. Entries are x86-64 ones with P, RW, US, A and D set, so that a back end that
 * keeps these bits walks them without a write. Owned by the library; `image` is good until floor_close. */
typedef struct floor_state {
  uint8_t *image;         /* physical memory from address 0 */
  uint64_t image_bytes;   /* in use, a multiple of 4096 */
  uint64_t root;          /* physical address of the native or the second-stage root */
  uint64_t guest_root;    /* guest-physical; 0 if not nested */
  uint64_t first_address; /* first mapped virtual address */
  uint64_t span;          /* mapped bytes from there */
  uint64_t output;        /* physical address of the first mapped byte; these bytes do not exist */
  uint32_t tables;        /* FLOOR_TABLES_... */
  uint32_t reserved;
  struct floor_private *own;
} floor_state;

/* What a round did. Members that a job does not count are 0. */
typedef struct floor_counts {
  uint64_t l1_hits, l2_hits;
  uint64_t walks;
  uint64_t references; /* table entries read; for the TLB jobs, what the walk caches leave of them */
  uint64_t checksum;   /* of the outputs: keeps the work from being left out */
} floor_counts;

typedef struct floor_job {
  const char *name;
  const char *help;
  uint64_t span;   /* to be given to prepare */
  uint32_t tables; /* FLOOR_TABLES_... */
  uint32_t reserved;
  uint64_t walks, references; /* counts that the known addresses give; 0 for a recorded trace */
  /* Builds the tables, unless they are there already. 0, or -1 if there is no memory. */
  int32_t (*prepare)(floor_state *, uint64_t span);
  /* Writes n addresses and returns the seed for the next set. Null if the addresses come from a recorded trace. */
  uint64_t (*addresses)(const floor_state *, uint64_t seed, uint64_t *addresses, size_t n);
  /* One round. Adds nothing to `counts`: it sets them. */
  void (*run)(floor_state *, const uint64_t *addresses, size_t n, floor_counts *counts);
} floor_job;

uint32_t floor_version(void);
const floor_job *floor_jobs(size_t *count);

/* Null if there is no memory. Without `small_pages` the host is asked for huge pages under the image. */
floor_state *floor_open(int32_t small_pages);
void floor_close(floor_state *);

/* Their types, for who looks them up by name. */
typedef uint32_t (*floor_version_fn)(void);
typedef const floor_job *(*floor_jobs_fn)(size_t *count);
typedef floor_state *(*floor_open_fn)(int32_t small_pages);
typedef void (*floor_close_fn)(floor_state *);

#ifdef __cplusplus
}
#endif
#endif
