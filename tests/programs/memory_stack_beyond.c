// A stack that is larger than what crs itself may have (RLIMIT_STACK), in use down to its lowest page: the program has
// raised its own limit, as `ulimit -s unlimited` does.
#include <sys/resource.h>

#include "memory.h"

// Ready at the bottom of `pages` pages of stack.
__attribute__((noinline)) static void descend(size_t pages) {
  uint64_t frame[PAGE / 8];
  memory_fill(frame, sizeof frame, pages);
  if (pages > 0) {
    descend(pages - 1);
  } else {
    subject_ready();
  }
  MEMORY_CHECK(frame, sizeof frame, pages);
}

int main(void) {
  struct rlimit limit;
  SUBJECT_NEED(getrlimit(RLIMIT_STACK, &limit) == 0);
  const rlim_t usual = limit.rlim_cur, wanted = (rlim_t)64 << 20;
  if (usual > wanted / 2) subject_skip("stacks are not limited here");
  if (limit.rlim_max < wanted) subject_skip("the limit of stacks may not be raised here");
  limit.rlim_cur = wanted;
  SUBJECT_NEED(setrlimit(RLIMIT_STACK, &limit) == 0);
  descend((usual + ((rlim_t)4 << 20)) / PAGE);
  subject_ok();
}
