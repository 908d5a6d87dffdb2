// A file unlinked under the name it was opened by, while another name is left in another directory: the
// checkpoint says that it will be a file of its own.
// subject: checkpoint-says the file has another name still
// subject: rounds 1
#include "descriptors.h"

int main(void) {
  make_file("first-name", "two names");
  const int file = open_existing("first-name", O_RDWR);
  SUBJECT_NEED(mkdir("elsewhere", 0700) == 0 && link("first-name", "elsewhere/second-name") == 0);
  SUBJECT_NEED(unlink("first-name") == 0);
  subject_ready();
  expect_read(file, "two names");
  SUBJECT_CHECK(pwrite(file, "2", 1, 0) == 1);
  expect_content("elsewhere/second-name", "two names");  // no longer the same file
  SUBJECT_CHECK(access("first-name", F_OK) != 0);
  subject_ok();
}
