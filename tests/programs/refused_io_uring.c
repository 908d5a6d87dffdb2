// An io_uring cannot be kept: its queue lives in the kernel.
// subject: refused io_uring
#include <linux/io_uring.h>
#include <stdint.h>

#include "subject.h"

int main(void) {
  struct io_uring_params parameters = {0};
  const int ring = (int)syscall(SYS_io_uring_setup, 8, &parameters);
  if (ring < 0) subject_skip("io_uring is not available here");
  subject_ready();
  SUBJECT_CHECK(syscall(SYS_io_uring_enter, ring, 0, 0, 0, NULL, 0) == 0);
  subject_ok();
}
