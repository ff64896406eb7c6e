/* SPDX-License-Identifier: Apache-2.0
 * Memory of a machine: address space that costs nothing until it is touched. Not part of the border. */
#ifndef PAGING_RESERVE_H
#define PAGING_RESERVE_H

#include <stddef.h>
#include <sys/mman.h>

/* Zeroed bytes, aligned to a page of the host; null if the host refuses. */
static inline void *pgk_reserve(size_t byte_count) {
  void *bytes = mmap(0, byte_count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return bytes == MAP_FAILED ? 0 : bytes;
}

static inline void pgk_release(void *bytes, size_t byte_count) { munmap(bytes, byte_count); }

#endif
