// A file that is mapped with others for writing, and that its user may only read by now.
// subject: ordinary-only
// subject: refused mine, whose permissions would not let a restart read and write it, as mapping it again takes (chmod u+rw it)
#include <sys/mman.h>

#include "descriptors.h"

int main(void) {
  make_file("mine", "mapped");
  const int file = open_existing("mine", O_RDWR);
  char* const memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  SUBJECT_NEED(memory != MAP_FAILED && close(file) == 0 && chmod("mine", 0444) == 0);
  subject_ready();
  memory[0] = 'M';
  expect_content("mine", "Mapped");
  subject_ok();
}
