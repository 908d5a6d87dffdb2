// Files of huge pages that are only mapped any more, shared with none reserved, and privately: a checkpoint brings in
// no page that was not there, which might be the last free one.
// subject: huge-pages 8
// subject: root-only
#include "memory.h"

enum { kPages = 4 };
static const size_t kHuge = (size_t)2 << 20;

static char* map(int file, int flags) {
  char* const place = mmap(NULL, kPages * kHuge, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, file, 0);
  SUBJECT_NEED(place != MAP_FAILED);
  return place;
}

int main(void) {
  const int file = memfd_create("huge", MFD_HUGETLB | (21U << 26) | MFD_CLOEXEC);
  const int other = memfd_create("other", MFD_HUGETLB | (21U << 26) | MFD_CLOEXEC);
  if (file < 0 || other < 0) subject_skip("this kernel has no huge pages of 2 MiB");
  SUBJECT_NEED(ftruncate(file, (off_t)(kPages * kHuge)) == 0 && ftruncate(other, (off_t)(kPages * kHuge)) == 0);
  char* const shared = map(file, MAP_SHARED);
  char* const own = map(other, MAP_PRIVATE);
  SUBJECT_NEED(close(file) == 0 && close(other) == 0);
  if (memory_write_signal(shared + kHuge) != 0) subject_skip("there are no huge pages");
  memory_fill(shared + kHuge, kHuge, 1);
  memory_fill(shared + 3 * kHuge, kHuge, 2);
  memory_fill(own + 2 * kHuge, kHuge, 3);
  subject_ready();
  SUBJECT_CHECK(!memory_is_there(shared) && !memory_is_there(shared + 2 * kHuge) && !memory_is_there(own) &&
                    !memory_is_there(own + kHuge),
                "the checkpoint brought pages in");
  MEMORY_CHECK(shared + kHuge, kHuge, 1);
  MEMORY_CHECK(shared + 3 * kHuge, kHuge, 2);
  MEMORY_CHECK(own + 2 * kHuge, kHuge, 3);
  SUBJECT_CHECK(memory_is_zero(shared, kHuge) && memory_is_zero(shared + 2 * kHuge, kHuge));
  SUBJECT_CHECK(memory_has_flag(shared, "nr") && memory_has_flag(shared, "ht") && memory_has_flag(own, "ht"));
  SUBJECT_CHECK(strcmp(memory_area_of(shared).name, "/memfd:huge (deleted)") == 0, "%s", memory_area_of(shared).name);
  subject_ok();
}
