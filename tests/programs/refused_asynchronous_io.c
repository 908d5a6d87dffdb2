// The ring of io_setup(2), which the kernel writes to.
// subject: refused asynchronous I/O
#include <linux/aio_abi.h>

#include "memory.h"

int main(void) {
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, 4, &context) != 0) subject_skip("this kernel has no asynchronous I/O");
  subject_ready();
  struct io_event event;
  struct timespec at_once = {0, 0};
  SUBJECT_CHECK(syscall(SYS_io_getevents, context, 0L, 1L, &event, &at_once) == 0);
  subject_ok();
}
