// What --leave-out fd=N leaves out: sockets, one of them watched by epoll, come back as numbers that are taken and on
// which every use fails; everything else is kept.
// subject: checkpoint-options --leave-out fd=90 --leave-out fd=91 --leave-out fd=92
// subject: rounds 1 3
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "descriptors.h"

int main(void) {
  int pair[2];
  SUBJECT_NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  SUBJECT_NEED(dup2(pair[0], 90) == 90 && dup3(pair[1], 91, O_CLOEXEC) == 91 && close(pair[0]) == 0 &&
               close(pair[1]) == 0);
  SUBJECT_NEED(dup2(socket(AF_INET, SOCK_DGRAM, 0), 92) == 92);
  close(pair[0]);  // the number that dup2 did not take
  const int event = eventfd(0, 0), set = epoll_create1(0);
  struct epoll_event watched = {.events = EPOLLIN, .data.u64 = 1};
  SUBJECT_NEED(epoll_ctl(set, EPOLL_CTL_ADD, 90, &watched) == 0);
  watched.data.u64 = 2;
  SUBJECT_NEED(epoll_ctl(set, EPOLL_CTL_ADD, event, &watched) == 0);

  subject_ready();

  char byte;
  for (int number = 90; number <= 92; number++) {
    SUBJECT_CHECK(fcntl(number, F_GETFD) == (number == 91 ? FD_CLOEXEC : 0), "number %d is not taken", number);
    expect_error(read(number, &byte, 1), EBADF, "reading what was left out");
    expect_error(write(number, "x", 1), EBADF, "writing what was left out");
    expect_error(send(number, "x", 1, 0), EBADF, "sending through what was left out");
    struct pollfd entry = {number, POLLIN, 0};
    SUBJECT_CHECK(poll(&entry, 1, 0) == 1 && entry.revents == POLLNVAL);
  }
  SUBJECT_CHECK(eventfd_write(event, 1) == 0);
  struct epoll_event got[2];
  SUBJECT_CHECK(epoll_wait(set, got, 2, 0) == 1 && got[0].data.u64 == 2);
  SUBJECT_CHECK(close(90) == 0 && close(91) == 0 && close(92) == 0);
  subject_ok();
}
