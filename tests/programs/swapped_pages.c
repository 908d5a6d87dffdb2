// Pages that are in swap at the checkpoint: read from there, they come back with their content.
// subject: rounds 0 1
#include <sys/mman.h>

#include "subject.h"

enum { kPages = 4096, kPage = 4096 };

static long swapped_kilobytes(void) {
  long kilobytes = 0;
  char line[256];
  FILE* const status = fopen("/proc/self/status", "r");
  while (status != NULL && fgets(line, sizeof line, status) != NULL) sscanf(line, "VmSwap: %ld", &kilobytes);
  if (status != NULL) fclose(status);
  return kilobytes;
}

int main(void) {
  unsigned* const memory = mmap(NULL, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SUBJECT_NEED(memory != MAP_FAILED);
  for (int i = 0; i < kPages; i++) memory[i * kPage / sizeof *memory] = 0x9e3779b9u * (unsigned)(i + 1);
  for (int i = 0; i < 20 && swapped_kilobytes() < kPages; i++) {
    SUBJECT_NEED(madvise(memory, kPages * kPage, MADV_PAGEOUT) == 0);
    subject_sleep_ms(20);
  }
  // A quarter of them is enough.
  if (swapped_kilobytes() < kPages) subject_skip("nothing is swapped out here (no swap space?)");
  subject_ready();
  for (int i = 0; i < kPages; i++) {
    const unsigned wanted = 0x9e3779b9u * (unsigned)(i + 1);
    SUBJECT_CHECK(memory[i * kPage / sizeof *memory] == wanted, "page %d holds another value", i);
  }
  subject_ok();
}
