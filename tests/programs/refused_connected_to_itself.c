// A TCP socket that is connected to itself, as a client that tries a port of its own range again and again may come to
// have.
// subject: refused a TCP socket that is connected to itself
#include "inet.h"

int main(void) {
  const int self = bound_socket(AF_INET, SOCK_STREAM);
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  SUBJECT_NEED(getsockname(self, (struct sockaddr*)&address, &length) == 0);
  SUBJECT_NEED(connect(self, (struct sockaddr*)&address, length) == 0);
  subject_ready();
  subject_ok();
}
