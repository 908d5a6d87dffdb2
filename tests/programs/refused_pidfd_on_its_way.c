// A pidfd of a tree that a message carries while the sender has it, too: messages are put back before there are pidfds.
// subject: refused a unix socket through which a pidfd, or a file in /proc of a descendant, is on its way
#include <signal.h>
#include <sys/wait.h>

#include "sockets.h"

int main(void) {
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    for (;;) pause();
  }
  int ends[2];
  SUBJECT_NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
  SUBJECT_NEED(pidfd >= 0);
  send_descriptor(ends[0], "pidfd", pidfd);
  subject_ready();
  const int received = receive_descriptor(ends[1], 5, "pidfd", NULL);
  SUBJECT_CHECK(received >= 0 && same_description(received, pidfd));
  SUBJECT_CHECK(syscall(SYS_pidfd_send_signal, received, SIGTERM, NULL, 0) == 0);
  SUBJECT_CHECK(waitpid(child, NULL, 0) == child);
  subject_ok();
}
