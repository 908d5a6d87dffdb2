// Huge pages of a file that is only mapped any more, reserved or not, for a user who cannot see which there are: a
// checkpoint brings in no page, which might be the last free one.
// subject: huge-pages 8
// subject: ordinary-only
// subject: refused cannot be seen
#include "memory.h"

static const size_t kHuge = (size_t)2 << 20;

int main(void) {
  const int file = memfd_create("huge", MFD_HUGETLB | (21U << 26) | MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, (off_t)(2 * kHuge)) != 0) subject_skip("there are no huge pages of 2 MiB");
  char* const place = mmap(NULL, 2 * kHuge, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (place == MAP_FAILED) subject_skip("there are no huge pages");
  SUBJECT_NEED(close(file) == 0);
  if (memory_write_signal(place) != 0) subject_skip("there are no huge pages");
  memory_fill(place, kHuge, 1);
  subject_ready();
  SUBJECT_CHECK(!memory_is_there(place + kHuge), "the checkpoint brought pages in");
  MEMORY_CHECK(place, kHuge, 1);
  subject_ok();
}
