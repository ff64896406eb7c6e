/* SPDX-License-Identifier: Apache-2.0
 * paging-floor: runs the jobs of floor.h by themselves and prints a row for each.
 * Usage: paging-floor [ROUNDS] [TRACE], TRACE being a file of little-endian 64-bit addresses.
 * Ends with 1 if a job's counts are not those of the known addresses. */
#define _POSIX_C_SOURCE 200809L
#include "floor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUND_LIMIT 64

/* Processor time, so that a busy neighbour costs caches and bandwidth only. */
static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int ascending(const void *left, const void *right) {
  double l = *(const double *)left, r = *(const double *)right;
  return (l > r) - (l < r);
}

static void print_row(const floor_job *job, double *speeds, int rounds, const floor_counts *counts, size_t n) {
  qsort(speeds, (size_t)rounds, sizeof *speeds, ascending);
  double low = speeds[0], median = speeds[rounds / 2], high = speeds[rounds - 1];
  printf("%-20s median %8.2f M/s  min %8.2f  max %8.2f  spread %5.1f%%", job->name, median, low, high,
         100 * (high - low) / median);
  printf("  walks %" PRIu64 " references %" PRIu64, counts->walks, counts->references);
  if (job->tables == FLOOR_TABLES_NESTED) printf(" (%.2f a walk)", (double)counts->references / (double)n);
  if (counts->l1_hits) {
    printf(" L1 hits %.4f L2 hits %.4f", (double)counts->l1_hits / (double)n, (double)counts->l2_hits / (double)n);
  }
  printf("  checksum %016" PRIx64 "\n", counts->checksum);
  fflush(stdout);
}

/* 1 if the counts are not those that the known addresses must give. */
static int differs(const floor_job *job, const floor_counts *counts) {
  if (!job->addresses || (counts->walks == job->walks && counts->references == job->references)) return 0;
  fprintf(stderr, "paging-floor: %s: expected %" PRIu64 " walks and %" PRIu64 " references\n", job->name, job->walks,
          job->references);
  return 1;
}

static int measure(const floor_job *job, floor_state *state, const uint64_t *addresses, size_t n, int rounds) {
  double speeds[ROUND_LIMIT];
  floor_counts counts = {0};
  for (int round = 0; round < rounds; round++) {
    double start = seconds();
    job->run(state, addresses, n, &counts);
    speeds[round] = (double)n / (seconds() - start) / 1e6;
  }
  print_row(job, speeds, rounds, &counts, n);
  return differs(job, &counts);
}

/* The addresses of a trace file, or null with a message. */
static uint64_t *read_trace(const char *path, size_t *count) {
  FILE *file = fopen(path, "rb");
  long length = -1;
  if (file && fseek(file, 0, SEEK_END) == 0) length = ftell(file);
  *count = length > 0 ? (size_t)length / sizeof(uint64_t) : 0;
  uint64_t *addresses = *count && length % 8 == 0 ? malloc((size_t)length) : NULL;
  if (addresses && (fseek(file, 0, SEEK_SET) != 0 || fread(addresses, sizeof *addresses, *count, file) != *count)) {
    free(addresses);
    addresses = NULL;
  }
  if (file) fclose(file);
  if (!addresses) fprintf(stderr, "paging-floor: %s: expected a file of 64-bit addresses, found %ld bytes\n", path, length);
  return addresses;
}

static int usage(void) {
  fprintf(stderr, "usage: paging-floor [ROUNDS] [TRACE]   ROUNDS: 1 to %d, 7 if nothing is said\n", ROUND_LIMIT);
  return 2;
}

int main(int count, char **arguments) {
  char *end = "";
  long rounds = count > 1 ? strtol(arguments[1], &end, 10) : 7;
  if (count > 3 || *end || rounds < 1 || rounds > ROUND_LIMIT) return usage();
  const char *small_pages = getenv("FLOOR_SMALL_PAGES");
  floor_state *state = floor_open(small_pages && strcmp(small_pages, "0") != 0);
  uint64_t *addresses = malloc(FLOOR_ADDRESS_COUNT * sizeof *addresses);
  if (!state || !addresses) {
    fprintf(stderr, "paging-floor: no memory\n");
    return 3;
  }
  size_t job_count;
  const floor_job *jobs = floor_jobs(&job_count);
  uint64_t seed = FLOOR_SEED;
  int status = 0;
  for (size_t i = 0; i < job_count; i++) {
    const floor_job *job = &jobs[i];
    if (!job->addresses && count < 3) continue;
    int is_new = i == 0 || job->tables != state->tables || job->span != state->span;
    if (job->prepare(state, job->span) != 0) return 3;
    if (job->addresses) {
      if (is_new) seed = job->addresses(state, seed, addresses, FLOOR_ADDRESS_COUNT);
      status |= measure(job, state, addresses, FLOOR_ADDRESS_COUNT, (int)rounds);
      continue;
    }
    size_t n;
    uint64_t *trace = read_trace(arguments[2], &n);
    if (trace) measure(job, state, trace, n, (int)rounds);
    if (!trace) status = 3;
    free(trace);
  }
  floor_close(state);
  free(addresses);
  return status;
}
