// A FIFO that the program may not open again: a restart could not either.
// subject: ordinary-only
// subject: checkpoint-options --kill
// subject: refused which its permissions do not let this user open again for reading and writing (chmod u+rw it
#include "descriptors.h"

int main(void) {
  SUBJECT_NEED(mkfifo("mine", 0600) == 0);
  const int reader = open_existing("mine", O_RDONLY | O_NONBLOCK);
  const int writer = open_existing("mine", O_WRONLY);
  SUBJECT_NEED(chmod("mine", 0400) == 0);
  write_text(writer, "still ");
  subject_ready();
  write_text(writer, "there");
  expect_read(reader, "still there");
  subject_ok();
}
