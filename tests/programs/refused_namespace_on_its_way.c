// A file that cannot be opened again, on its way through a unix socket: it is nobody's standard stream.
// subject: refused a descriptor on its way through a unix socket
#include <fcntl.h>

#include "sockets.h"

int main(void) {
  const int file = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  SUBJECT_NEED(file >= 0);
  int ends[2];
  SUBJECT_NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  send_descriptor(ends[0], "x", file);
  SUBJECT_NEED(close(file) == 0);
  subject_ready();
  subject_ok();
}
