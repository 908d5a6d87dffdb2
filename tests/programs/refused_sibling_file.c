// A file in /proc of a process that its sibling has received from it: births would not hand it to that one.
// subject: refused which another process has as well that could not inherit it
#include <signal.h>
#include <sys/wait.h>

#include "sockets.h"

static pid_t start_child(void (*live)(int), int socket) {
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) live(socket);
  return child;
}

static void lend(int socket) {
  send_descriptor(socket, "file", open_existing("/proc/self/status", O_RDONLY));
  for (;;) pause();
}

static void borrow(int socket) {
  struct pollfd ready = {socket, POLLIN, 0};
  SUBJECT_NEED(poll(&ready, 1, 10000) == 1);
  SUBJECT_NEED(receive_descriptor(socket, 4, "file", NULL) >= 0);
  send_text(socket, "x");
  for (;;) pause();
}

int main(void) {
  int ends[2];
  SUBJECT_NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const pid_t lender = start_child(lend, ends[0]);
  const pid_t borrower = start_child(borrow, ends[1]);
  struct pollfd ready = {ends[0], POLLIN, 0};
  SUBJECT_NEED(poll(&ready, 1, 10000) == 1);
  subject_ready();
  SUBJECT_CHECK(kill(lender, SIGTERM) == 0 && waitpid(lender, NULL, 0) == lender);
  SUBJECT_CHECK(kill(borrower, SIGTERM) == 0 && waitpid(borrower, NULL, 0) == borrower);
  subject_ok();
}
