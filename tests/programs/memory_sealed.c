// Sealed areas (mseal(2), Linux 6.10): they are there, with their content, and still cannot be changed.
#include "memory.h"

int main(void) {
  char* const place = memory_anonymous(8 * PAGE);
  memory_fill(place, 8 * PAGE, 1);
  SUBJECT_NEED(mprotect(place, 4 * PAGE, PROT_READ) == 0 && mprotect(place + 4 * PAGE, 2 * PAGE, PROT_NONE) == 0);
  if (syscall(SYS_mseal, place, 8 * PAGE, 0) != 0) subject_skip("this kernel has no mseal");

  subject_ready();

  MEMORY_CHECK(place, 4 * PAGE, 1);
  for (size_t page = 0; page < 8; page += 2) {
    SUBJECT_CHECK(memory_has_flag(place + page * PAGE, "sl"), "page %zu", page);
    SUBJECT_CHECK(mprotect(place + page * PAGE, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) != 0 && errno == EPERM,
                  "page %zu is not sealed", page);
    SUBJECT_CHECK(munmap(place + page * PAGE, PAGE) != 0 && errno == EPERM, "page %zu can be unmapped", page);
  }
  place[7 * PAGE] = 'w';
  SUBJECT_CHECK(memory_read_signal(place + 4 * PAGE) == SIGSEGV);
  subject_ok();
}
