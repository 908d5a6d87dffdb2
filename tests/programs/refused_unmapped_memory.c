// Shared memory of which the program has unmapped the greater part, and that it has no address space left to map again.
// subject: refused has unmapped part of the shared memory at
#include <sys/mman.h>
#include <sys/resource.h>

#include "memory.h"

enum { kPage = 4096, kBytes = 64 << 20, kRoom = 4 << 20 };

int main(void) {
  char* const memory = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(memory != MAP_FAILED);
  memory[kBytes - 1] = 'x';
  SUBJECT_NEED(munmap(memory + kPage, kBytes - kPage) == 0);
  struct rlimit limit;
  SUBJECT_NEED(getrlimit(RLIMIT_AS, &limit) == 0);
  const struct rlimit tight = {.rlim_cur = memory_address_space() + kRoom, .rlim_max = limit.rlim_max};
  SUBJECT_NEED(setrlimit(RLIMIT_AS, &tight) == 0);
  subject_ready();
  SUBJECT_CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
  const char* const again = mremap(memory, 0, kBytes, MREMAP_MAYMOVE);
  SUBJECT_CHECK(again != MAP_FAILED && again[kBytes - 1] == 'x');
  subject_ok();
}
