// Pages that are swapped out at the checkpoint: private ones, and shared ones that no page table shows.
#include "memory.h"

#define PAGES 512

static void swap_out(char* place) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    SUBJECT_NEED(madvise(place, PAGES * PAGE, MADV_PAGEOUT) == 0);
    if (memory_area_of(place).swapped > 0) return;
    subject_sleep_ms(10);
  }
  subject_skip("no page can be swapped out here");
}

static bool there_is_swap(void) {
  FILE* const file = fopen("/proc/swaps", "re");
  int lines = 0;
  for (int byte; file != NULL && (byte = getc(file)) != EOF;) lines += byte == '\n';
  if (file != NULL) fclose(file);
  return lines > 1;
}

int main(void) {
  if (!there_is_swap()) subject_skip("this machine has no swap");
  char* const private_memory = memory_anonymous(PAGES * PAGE);
  memory_fill(private_memory, PAGES * PAGE, 1);
  swap_out(private_memory);
  char* const shared = memory_map(2 * PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  memory_fill(shared, PAGES * PAGE, 2);
  swap_out(shared);
  char* const hidden = memory_anonymous(PAGES * PAGE);
  memory_fill(hidden, PAGES * PAGE, 3);
  swap_out(hidden);
  SUBJECT_NEED(mprotect(hidden, PAGES * PAGE, PROT_NONE) == 0);

  subject_ready();

  MEMORY_CHECK(private_memory, PAGES * PAGE, 1);
  MEMORY_CHECK(shared, PAGES * PAGE, 2);
  SUBJECT_CHECK(memory_is_zero(shared + PAGES * PAGE, PAGES * PAGE));
  SUBJECT_CHECK(mprotect(hidden, PAGES * PAGE, PROT_READ) == 0);
  MEMORY_CHECK(hidden, PAGES * PAGE, 3);
  subject_ok();
}
