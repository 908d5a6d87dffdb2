// Shared memory of which the program has unmapped a part, and no address space left in which anybody could see that.
// subject: ordinary-only
// subject: refused whether there is more of the shared memory at
#include <sys/mman.h>
#include <sys/resource.h>

#include "memory.h"

enum { kPage = 4096, kBytes = 16 * kPage };

int main(void) {
  char* const memory = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(memory != MAP_FAILED);
  memory[kBytes - 1] = 'x';
  SUBJECT_NEED(munmap(memory + kBytes / 2, kBytes / 2) == 0);
  struct rlimit limit;
  SUBJECT_NEED(getrlimit(RLIMIT_AS, &limit) == 0);
  const struct rlimit tight = {.rlim_cur = memory_address_space(), .rlim_max = limit.rlim_max};
  SUBJECT_NEED(setrlimit(RLIMIT_AS, &tight) == 0);
  subject_ready();
  SUBJECT_CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
  const char* const again = mremap(memory, 0, kBytes, MREMAP_MAYMOVE);
  SUBJECT_CHECK(again != MAP_FAILED && again[kBytes - 1] == 'x');
  subject_ok();
}
