// Urgent data that waits in a unix socket: it cannot be looked at without taking it.
// subject: refused urgent data (MSG_OOB)
#include <sys/socket.h>

#include "subject.h"

int main(void) {
  int ends[2];
  SUBJECT_NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  if (send(ends[0], "!", 1, MSG_OOB) != 1) subject_skip("this kernel has no urgent data in unix sockets");
  subject_ready();
  char byte = 0;
  SUBJECT_CHECK(recv(ends[1], &byte, 1, MSG_OOB) == 1 && byte == '!');
  subject_ok();
}
