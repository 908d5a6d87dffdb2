// Memory of hugetlbfs, of which none need be there.
// subject: refused memory of huge pages (hugetlbfs)
#include "memory.h"

int main(void) {
  void* const place = mmap(NULL, (size_t)2 << 20, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) subject_skip("this kernel has no hugetlbfs");
  subject_ready();
  SUBJECT_CHECK(memory_has_flag(place, "ht"));
  subject_ok();
}
