// The vDSO stays at its place: the program calls it by addresses it found before the checkpoint. And the areas do not
// become more.
// subject: also-static
#include "memory_vdso.h"

int main(void) {
  const uintptr_t place = vdso_place();
  const vdso_clock_gettime clock = vdso_find_clock_gettime(place);
  vdso_check_clock(clock);
  const struct memory_area before = memory_area_of((const void*)place);
  const long areas = memory_area_count();

  subject_ready();

  SUBJECT_CHECK(vdso_place() == place);
  const struct memory_area after = memory_area_of((const void*)place);
  SUBJECT_CHECK(strcmp(after.name, "[vdso]") == 0 && after.start == before.start && after.end == before.end,
                "at its place there is '%s'", after.name);
  SUBJECT_CHECK(memory_area_count() == areas, "%ld areas instead of %ld", memory_area_count(), areas);
  vdso_check_clock(clock);
  SUBJECT_CHECK(vdso_find_clock_gettime(place) == clock);
  subject_ok();
}
