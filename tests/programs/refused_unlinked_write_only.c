// An unlinked file that is open for writing only, and that its permissions do not let anybody read.
// subject: ordinary-only
// subject: refused an unlinked file that is not open for reading and whose permissions do not let its content be read (close it before the checkpoint, or give --leave-out fd=
#include "descriptors.h"

int main(void) {
  const int file = open("mine", O_WRONLY | O_CREAT | O_EXCL, 0200);
  SUBJECT_NEED(file >= 0 && unlink("mine") == 0);
  write_text(file, "seen by nobody");
  subject_ready();
  write_text(file, "and nobody");
  subject_ok();
}
