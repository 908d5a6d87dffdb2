// A FIFO whose only name is in another directory than the one it was opened in: who knows that name would not find it.
// subject: refused a FIFO whose name is elsewhere or cannot be reached
#include "descriptors.h"

int main(void) {
  SUBJECT_NEED(mkdir("here", 0700) == 0 && mkdir("there", 0700) == 0 && mkfifo("here/fifo", 0600) == 0);
  const int fifo = open_existing("here/fifo", O_RDWR);
  SUBJECT_NEED(link("here/fifo", "there/fifo") == 0 && unlink("here/fifo") == 0);
  subject_ready();
  const int same = open_existing("there/fifo", O_RDWR);
  write_text(same, "still");
  expect_read(fifo, "still");
  subject_ok();
}
