// A mapping of a file of hugetlbfs, of which no page need be there.
// subject: refused a file or System V segment of huge pages (hugetlbfs)
#include "memory.h"

int main(void) {
  const int file = memfd_create("huge", MFD_HUGETLB | MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, (off_t)2 << 20) != 0) subject_skip("this kernel has no hugetlbfs");
  void* const place = mmap(NULL, (size_t)2 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
  if (place == MAP_FAILED) subject_skip("this kernel has no hugetlbfs");
  close(file);
  subject_ready();
  SUBJECT_CHECK(memory_has_flag(place, "ht"));
  subject_ok();
}
