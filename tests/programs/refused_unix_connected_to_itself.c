// A unix datagram socket that is connected to itself.
// subject: refused a unix socket that is connected to itself
#include "sockets.h"

int main(void) {
  const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "self"};
  const int self = socket(AF_UNIX, SOCK_DGRAM, 0);
  SUBJECT_NEED(self >= 0);
  SUBJECT_NEED(bind(self, (const struct sockaddr*)&address, sizeof address) == 0);
  SUBJECT_NEED(connect(self, (const struct sockaddr*)&address, sizeof address) == 0);
  subject_ready();
  subject_ok();
}
