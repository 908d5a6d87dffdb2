// A file that the program made without the permissions to open it again: a restart could not either.
// subject: ordinary-only
// subject: refused permissions would not let a restart open it again
#include "descriptors.h"

int main(void) {
  const int file = open("mine", O_RDWR | O_CREAT | O_EXCL, 0444);
  SUBJECT_NEED(file >= 0);
  subject_ready();
  SUBJECT_CHECK(write(file, "still", 5) == 5);
  subject_ok();
}
