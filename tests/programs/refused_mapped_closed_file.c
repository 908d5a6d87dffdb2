// A file that is mapped private, and that its user may not read any more: a restart could not map it again.
// subject: ordinary-only
// subject: refused mine, whose permissions would not let a restart read it, as mapping it again takes (chmod u+r it)
#include <sys/mman.h>

#include "descriptors.h"

int main(void) {
  make_file("mine", "mapped");
  const int file = open_existing("mine", O_RDWR);
  const char* const memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  SUBJECT_NEED(memory != MAP_FAILED && close(file) == 0 && chmod("mine", 0) == 0);
  subject_ready();
  SUBJECT_CHECK(strcmp(memory, "mapped") == 0);
  subject_ok();
}
