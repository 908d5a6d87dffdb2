// A child inherits the mapping of its parent's ring, but not the context.
// subject: refused which this one has inherited
#include <signal.h>
#include <sys/wait.h>

#include "asynchronous_io.h"

int main(void) {
  const aio_context_t context = aio_make(4);
  const pid_t child = fork();
  if (child == 0) {
    for (;;) pause();
  }
  subject_ready();
  struct io_event event;
  const struct timespec none = {0, 0};
  SUBJECT_CHECK(aio_take(context, 0, 1, &event, &none) == 0);
  SUBJECT_CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
  subject_ok();
}
