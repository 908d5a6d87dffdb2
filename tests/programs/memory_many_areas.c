// Twenty thousand areas, half of them shared memory objects of their own.
// subject: rounds 1
// subject: alone
#include "memory.h"

#define AREAS 10000

int main(void) {
  char* const private_memory = memory_anonymous(AREAS * PAGE);
  for (size_t i = 0; i < AREAS; i += 10) memory_fill(private_memory + i * PAGE, PAGE, i);
  for (size_t i = 0; i < AREAS; i += 2) SUBJECT_NEED(mprotect(private_memory + i * PAGE, PAGE, PROT_READ) == 0);
  char* const shared = memory_map(AREAS * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  for (size_t i = 0; i < AREAS; ++i) {
    char* const place = shared + i * PAGE;
    SUBJECT_NEED(mmap(place, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == place);
    if (i % 10 == 0) memory_fill(place, PAGE, AREAS + i);
  }
  const long before = memory_area_count();
  SUBJECT_NEED(before > 2 * AREAS, "%ld areas", before);

  subject_ready();

  SUBJECT_CHECK(memory_area_count() == before, "%ld areas instead of %ld", memory_area_count(), before);
  for (size_t i = 0; i < AREAS; ++i) {
    if (i % 10 != 0) {
      SUBJECT_CHECK(memory_is_zero(private_memory + i * PAGE, PAGE) && memory_is_zero(shared + i * PAGE, PAGE),
                    "area %zu", i);
    } else {
      MEMORY_CHECK(private_memory + i * PAGE, PAGE, i);
      MEMORY_CHECK(shared + i * PAGE, PAGE, AREAS + i);
    }
  }
  SUBJECT_CHECK(memory_write_signal(private_memory) == SIGSEGV && memory_write_signal(private_memory + PAGE) == 0);
  subject_ok();
}
