/* SPDX-License-Identifier: Apache-2.0
 * Compare-and-exchange on page-table entries, which Swift's standard library offers for its own storage only.
 * Not part of the border. */
#ifndef PAGING_ATOMIC_H
#define PAGING_ATOMIC_H

#include <stdint.h>

/* Stores `desired` if `*place` holds `expected`; returns whether it did. */
static inline int pgk_compare_exchange_8(void *place, uint64_t expected, uint64_t desired) {
  return __atomic_compare_exchange_n((uint64_t *)place, &expected, desired, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static inline int pgk_compare_exchange_4(void *place, uint32_t expected, uint32_t desired) {
  return __atomic_compare_exchange_n((uint32_t *)place, &expected, desired, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* Asks for the cache line at `place`, which need not be valid. */
static inline void pgk_prefetch(const void *place) { __builtin_prefetch(place); }

#endif
