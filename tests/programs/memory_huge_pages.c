// Transparent huge pages: the content, and that it lies in huge pages again where the program asked for them.
#include "memory.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define COUNT 8

static char* aligned(void) {
  char* const place = memory_anonymous((COUNT + 1) * HUGE_PAGE);
  return place + (-(uintptr_t)place & (HUGE_PAGE - 1));
}

int main(void) {
  char* const place = aligned();
  SUBJECT_NEED(madvise(place, COUNT * HUGE_PAGE, MADV_HUGEPAGE) == 0);
  memory_fill(place, COUNT / 2 * HUGE_PAGE, 1);
  memory_fill(place + (COUNT - 1) * HUGE_PAGE, 3 * PAGE, 2);
  if (memory_area_of(place).huge == 0) subject_skip("this kernel gives no transparent huge pages now");
  const long before = memory_area_of(place).huge;
  char* const small = aligned();
  SUBJECT_NEED(madvise(small, COUNT * HUGE_PAGE, MADV_NOHUGEPAGE) == 0);
  memory_fill(small, HUGE_PAGE, 3);

  subject_ready();

  MEMORY_CHECK(place, COUNT / 2 * HUGE_PAGE, 1);
  SUBJECT_CHECK(memory_is_zero(place + COUNT / 2 * HUGE_PAGE, (COUNT / 2 - 1) * HUGE_PAGE));
  MEMORY_CHECK(place + (COUNT - 1) * HUGE_PAGE, 3 * PAGE, 2);
  SUBJECT_CHECK(memory_is_zero(place + (COUNT - 1) * HUGE_PAGE + 3 * PAGE, HUGE_PAGE - 3 * PAGE));
  SUBJECT_CHECK(memory_area_of(place).huge >= before / 2, "%ld KiB in huge pages, before %ld",
                memory_area_of(place).huge, before);
  MEMORY_CHECK(small, HUGE_PAGE, 3);
  SUBJECT_CHECK(memory_area_of(small).huge == 0);
  subject_ok();
}
