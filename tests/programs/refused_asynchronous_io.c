// A request that is under way, and stays so. The program is none the worse for having been asked.
// subject: refused the ring of an asynchronous I/O context (io_setup) with 1 request(s) under way
#include <sys/eventfd.h>

#include "asynchronous_io.h"

int main(void) {
  const int later = eventfd(0, 0);
  const aio_context_t context = aio_make(4);
  struct iocb request = aio_poll(later, 17), answered = aio_poll(eventfd(1, 0), 18);
  SUBJECT_NEED(aio_submit(context, &request) && aio_submit(context, &answered));
  subject_ready();
  struct io_event events[4];
  const struct timespec none = {0, 0};
  SUBJECT_CHECK(aio_take(context, 0, 4, events, &none) == 1 && events[0].data == 18, "the answer is lost");
  SUBJECT_CHECK(write(later, &(uint64_t){1}, sizeof(uint64_t)) == sizeof(uint64_t));
  SUBJECT_CHECK(aio_take(context, 1, 4, events, NULL) == 1 && events[0].data == 17, "another answer");
  subject_ok();
}
