// The same for a user who cannot see which of them there are.
// subject: huge-pages 8
// subject: ordinary-only
// subject: refused cannot be seen
#include "memory.h"

static const size_t kHuge = (size_t)2 << 20;

int main(void) {
  char* const shared = mmap(NULL, 2 * kHuge, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | (21 << 26) | MAP_NORESERVE, -1, 0);
  if (shared == MAP_FAILED) subject_skip("there are no huge pages");
  memory_fill(shared, kHuge, 1);
  subject_ready();
  SUBJECT_CHECK(!memory_is_there(shared + kHuge), "the checkpoint brought pages in");
  MEMORY_CHECK(shared, kHuge, 1);
  subject_ok();
}
