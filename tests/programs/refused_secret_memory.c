// memfd_secret(2): nobody but the program can read it.
// subject: refused secret memory (memfd_secret)
#include "memory.h"

int main(void) {
  const int file = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
  if (file < 0) subject_skip("this kernel has no secret memory");
  SUBJECT_NEED(ftruncate(file, PAGE) == 0);
  char* const place = memory_map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  SUBJECT_NEED(close(file) == 0);
  memory_fill(place, PAGE, 1);
  subject_ready();
  MEMORY_CHECK(place, PAGE, 1);
  subject_ok();
}
