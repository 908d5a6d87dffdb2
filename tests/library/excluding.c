/* A program with a service that has a cache which need not be saved. It takes one snapshot with the cache left out and
 * one with all of it ("taken REFERENCE" each), and checks afterwards, in whichever process, what has come back: exit
 * status 0, or what was wrong, on standard output. */
#include <crs/crs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const size_t kSaved = 4 << 20;
static const size_t kCache = 32 << 20;

static char* map(size_t bytes) {
  void* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) exit(2);
  return (char*)memory;
}

/* Nothing that could be compressed, and no page twice. */
static void fill(char* memory, size_t bytes, uint64_t seed) {
  size_t i;
  for (i = 0; i < bytes / sizeof seed; ++i) {
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    memcpy(memory + i * sizeof seed, &seed, sizeof seed);
  }
}

static int holds(const char* memory, size_t bytes, uint64_t seed) {
  size_t i;
  for (i = 0; i < bytes / sizeof seed; ++i) {
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    if (memcmp(memory + i * sizeof seed, &seed, sizeof seed) != 0) return 0;
  }
  return 1;
}

static int is_zero(const char* memory, size_t bytes) {
  return memory[0] == 0 && memcmp(memory, memory + 1, bytes - 1) == 0;
}

static void expect(int good, const char* what) {
  if (good) return;
  printf("wrong: %s\n", what);
  exit(4);
}

/* Whether the list is this one area, or empty. */
static int is_list(int (*list)(struct crs_range**, size_t*), const char* start, size_t bytes) {
  struct crs_range* ranges = NULL;
  size_t count = 0;
  int good;
  if (list(&ranges, &count) != CRS_OK) return 0;
  good = bytes == 0 ? count == 0
                    : count == 1 && ranges[0].start == (uint64_t)(size_t)start &&
                          ranges[0].end == (uint64_t)(size_t)start + bytes;
  crs_free(ranges);
  return good;
}

/* Whether this is the process that goes on. */
static int take_snapshot(void) {
  crs_checkpointed* result = NULL;
  int goes_on;
  if (crs_checkpoint(NULL, &result) != CRS_OK) puts(crs_error_text()), exit(1);
  goes_on = crs_checkpointed_state(result) == CRS_STATE_CONTINUE;
  if (goes_on) printf("taken %s\n", crs_checkpointed_reference(result));
  fflush(stdout);
  crs_checkpointed_free(result);
  return goes_on;
}

int main(void) {
  char* saved = map(kSaved);
  char* cache = map(kCache);
  if (crs_init(NULL) != CRS_OK) return puts(crs_error_text()), 1;
  fill(saved, kSaved, 1);
  fill(cache, kCache, 2);
  if (crs_exclude(cache, kCache) != CRS_OK) return puts(crs_error_text()), 1;
  if (!take_snapshot()) {
    expect(holds(saved, kSaved, 1), "what was saved");
    expect(is_zero(cache, kCache), "what was not saved does not read as zero");
    expect(is_list(crs_lost_memory, cache, kCache), "the list of what was lost");
    expect(is_list(crs_excluded, cache, kCache), "the list of what is excluded, after a restart");
    fill(cache, kCache, 3);
    expect(holds(cache, kCache, 3), "the cache cannot be used any more");
    return 0;
  }
  expect(holds(cache, kCache, 2), "the cache of the program that goes on");
  expect(is_list(crs_lost_memory, NULL, 0), "something is called lost where nothing is");
  expect(is_list(crs_excluded, cache, kCache), "the list of what is excluded");
  if (crs_include(cache, kCache) != CRS_OK) return puts(crs_error_text()), 1;
  if (!take_snapshot()) {
    expect(holds(saved, kSaved, 1) && holds(cache, kCache, 2), "the memory after a restart with all of it");
    expect(is_list(crs_lost_memory, NULL, 0), "something is called lost where all was saved");
    return 0;
  }
  for (;;) pause();
}
