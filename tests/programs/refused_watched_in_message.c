// An epoll instance that watches a file which is on its way through a socket and has no number any more.
// subject: refused registered as descriptor 100, which the process has closed while it is on its way through a unix socket
#include <sys/epoll.h>

#include "sockets.h"

int main(void) {
  int ends[2], pipe_ends[2];
  SUBJECT_NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && pipe(pipe_ends) == 0);
  SUBJECT_NEED(dup2(pipe_ends[0], 100) == 100 && close(pipe_ends[0]) == 0);
  const int epoll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = 7};
  SUBJECT_NEED(epoll_ctl(epoll, EPOLL_CTL_ADD, 100, &event) == 0);
  send_descriptor(ends[0], "pipe", 100);
  SUBJECT_NEED(close(100) == 0);
  subject_ready();
  write_text(pipe_ends[1], "x");
  SUBJECT_CHECK(epoll_wait(epoll, &event, 1, 0) == 1 && event.data.u32 == 7);
  const int received = receive_descriptor(ends[1], 4, "pipe", NULL);
  expect_read(received, "x");
  subject_ok();
}
