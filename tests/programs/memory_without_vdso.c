// A program that has unmapped the vDSO and its data: they do not come back. From then on it makes no call that a C
// library would make by them (clock_gettime(2), time(2), getcpu(2)).
#include "memory.h"

enum { kMost = 8 };

// The areas that the kernel gives, by /proc/self/maps.
static int find_kernel_areas(uintptr_t starts[kMost], uintptr_t ends[kMost]) {
  FILE* const maps = fopen("/proc/self/maps", "re");
  SUBJECT_CHECK(maps != NULL);
  char line[512];
  int count = 0;
  while (fgets(line, sizeof line, maps) != NULL) {
    if (strstr(line, "[vdso]") == NULL && strstr(line, "[vvar") == NULL) continue;
    SUBJECT_CHECK(count < kMost && sscanf(line, "%lx-%lx", &starts[count], &ends[count]) == 2);
    ++count;
  }
  fclose(maps);
  return count;
}

int main(void) {
  uintptr_t starts[kMost], ends[kMost];
  const int count = find_kernel_areas(starts, ends);
  SUBJECT_NEED(count > 0);
  for (int i = 0; i < count; ++i) SUBJECT_NEED(munmap((void*)starts[i], ends[i] - starts[i]) == 0);
  SUBJECT_NEED(find_kernel_areas(starts, ends) == 0);
  const long areas = memory_area_count();

  subject_ready();

  SUBJECT_CHECK(find_kernel_areas(starts, ends) == 0, "there is a vDSO or its data at %#lx", (unsigned long)starts[0]);
  SUBJECT_CHECK(memory_area_count() == areas, "%ld areas instead of %ld", memory_area_count(), areas);
  subject_ok();
}
