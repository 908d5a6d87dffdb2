// Shared huge pages of which none is reserved: a checkpoint brings in no page that was not there, which might be the
// last free one.
// subject: huge-pages 8
// subject: root-only
#include "memory.h"

enum { kPages = 4 };
static const size_t kHuge = (size_t)2 << 20;

int main(void) {
  char* const shared = mmap(NULL, kPages * kHuge, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | (21 << 26) | MAP_NORESERVE, -1, 0);
  if (shared == MAP_FAILED) subject_skip("there are no huge pages");
  memory_fill(shared + kHuge, kHuge, 1);
  memory_fill(shared + 3 * kHuge, kHuge, 2);
  subject_ready();
  SUBJECT_CHECK(!memory_is_there(shared) && !memory_is_there(shared + 2 * kHuge), "the checkpoint brought pages in");
  MEMORY_CHECK(shared + kHuge, kHuge, 1);
  MEMORY_CHECK(shared + 3 * kHuge, kHuge, 2);
  SUBJECT_CHECK(memory_is_zero(shared, kHuge) && memory_is_zero(shared + 2 * kHuge, kHuge));
  SUBJECT_CHECK(memory_has_flag(shared, "nr") && memory_has_flag(shared, "ht"));
  subject_ok();
}
