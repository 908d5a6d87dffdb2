// A TCP connection to another program: the restarted program finds it reset. One that the other side had ended before
// gives what was unread, and its end. A child stands for the other program; it is nobody's by then, unless crs run
// adopts it: so not in its rounds.
// subject: checkpoint-says ECONNRESET
// subject: rounds 1
#include <sys/wait.h>

#include "inet.h"

// Accepts, says something, ends one connection and keeps the other until this process ends.
static void be_other_program(int listener) {
  const int open_one = accept_one(listener), ended = accept_one(listener);
  send_text(open_one, "never read");
  send_text(ended, "last words");
  shutdown(ended, SHUT_WR);
  char byte;
  while (recv(open_one, &byte, 1, 0) > 0) {
  }
  _exit(0);
}

int main(void) {
  const int listener = bound_socket(AF_INET, SOCK_STREAM);
  SUBJECT_NEED(listen(listener, 2) == 0);
  // Nobody's child, so that the program has none.
  const pid_t between = fork();
  SUBJECT_NEED(between >= 0);
  if (between == 0) {
    if (fork() == 0) be_other_program(listener);
    _exit(0);
  }
  SUBJECT_NEED(waitpid(between, NULL, 0) == between);
  const int open_one = client_of(listener), ended = client_of(listener);
  close(listener);
  struct pollfd arrived = {ended, POLLRDHUP, 0};
  SUBJECT_NEED(poll(&arrived, 1, 5000) == 1);
  arrived = (struct pollfd){open_one, POLLIN, 0};
  SUBJECT_NEED(poll(&arrived, 1, 5000) == 1);
  set_option(open_one, IPPROTO_TCP, TCP_NODELAY, 1);

  subject_ready();

  char byte;
  expect_error(recv(open_one, &byte, 1, 0), ECONNRESET, "reading from a connection to another program");
  expect_end(open_one);
  expect_error(send(open_one, "x", 1, MSG_NOSIGNAL), EPIPE, "writing to another program");
  expect_option(open_one, IPPROTO_TCP, TCP_NODELAY, 1);
  await_text(ended, "last words");
  await_end(ended);
  subject_ok();
}
