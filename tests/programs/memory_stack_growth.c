// Stacks grow: the main one by megabytes after the restart, and memory of MAP_GROWSDOWN; what was on them is still
// there.
// subject: also-static
#include <sys/resource.h>

#include "memory.h"

#define FRAME (16 * PAGE)

// Uses `bytes` of stack, and finds every frame's content again on the way back.
__attribute__((noinline)) static void descend(size_t bytes, uint64_t seed) {
  uint64_t frame[FRAME / 8];
  memory_fill(frame, sizeof frame, seed);
  if (bytes > sizeof frame) descend(bytes - sizeof frame, seed + 1);
  MEMORY_CHECK(frame, sizeof frame, seed);
}

// Ready at the bottom of a stack of two megabytes.
__attribute__((noinline)) static void descend_and_wait(size_t bytes, uint64_t seed) {
  uint64_t frame[FRAME / 8];
  memory_fill(frame, sizeof frame, seed);
  if (bytes > sizeof frame) {
    descend_and_wait(bytes - sizeof frame, seed + 1);
  } else {
    subject_ready();
    descend((size_t)3 << 20, 1000);
  }
  MEMORY_CHECK(frame, sizeof frame, seed);
}

int main(void) {
  struct rlimit limit;
  SUBJECT_NEED(getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur >= (rlim_t)8 << 20, "a stack of 8 MiB is needed");
  descend((size_t)1 << 20, 1);  // grown, and partly not in use at the checkpoint
  // In the middle of a large hole, so that it has room to grow.
  char* const hole = memory_map((size_t)64 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(munmap(hole, (size_t)64 << 20) == 0);
  char* const top = hole + ((size_t)32 << 20);
  char* const bottom = top - 4 * PAGE;
  SUBJECT_NEED(mmap(bottom, 4 * PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0) == bottom);
  memory_fill(bottom, 4 * PAGE, 1);
  memory_fill(bottom - PAGE, PAGE, 2);
  SUBJECT_NEED(memory_area_of(bottom).start == (uintptr_t)(bottom - PAGE), "MAP_GROWSDOWN does not grow here");
  const struct memory_area before = memory_area_of(&limit);

  descend_and_wait((size_t)2 << 20, 100);

  const struct memory_area after = memory_area_of(&limit);
  SUBJECT_CHECK(strcmp(after.name, "[stack]") == 0, "the stack is called '%s'", after.name);
  SUBJECT_CHECK(after.end == before.end && before.start - after.start >= (uintptr_t)3 << 20, "the stack did not grow");
  SUBJECT_CHECK(memory_has_flag(&limit, "gd"));
  MEMORY_CHECK(bottom, 4 * PAGE, 1);
  MEMORY_CHECK(bottom - PAGE, PAGE, 2);
  memory_fill(bottom - 2 * PAGE, PAGE, 3);
  memory_fill(bottom - 100 * PAGE, PAGE, 4);
  SUBJECT_CHECK(memory_area_of(bottom).start == (uintptr_t)(bottom - 100 * PAGE),
                "MAP_GROWSDOWN does not grow any more");
  MEMORY_CHECK(bottom - 2 * PAGE, PAGE, 3);
  MEMORY_CHECK(bottom - 100 * PAGE, PAGE, 4);
  subject_ok();
}
