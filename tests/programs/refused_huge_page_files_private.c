// A private mapping of a file of huge pages that is not open any more, for a user who cannot look at the file: which
// of what it shows is the file's, and whether there is anything, cannot be seen.
// subject: huge-pages 8
// subject: ordinary-only
// subject: refused a private mapping of /memfd:huge
#include "memory.h"

static const size_t kHuge = (size_t)2 << 20;

int main(void) {
  const int file = memfd_create("huge", MFD_HUGETLB | (21U << 26) | MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, (off_t)(2 * kHuge)) != 0) subject_skip("there are no huge pages of 2 MiB");
  char* const place = mmap(NULL, 2 * kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  if (place == MAP_FAILED) subject_skip("there are no huge pages");
  SUBJECT_NEED(close(file) == 0);
  memory_fill(place, kHuge, 1);
  subject_ready();
  MEMORY_CHECK(place, kHuge, 1);
  subject_ok();
}
