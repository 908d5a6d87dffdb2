// A TCP socket of another network namespace than the program's: a restart would make it in the program's own.
// subject: refused a TCP socket 0.0.0.0:0 of another network namespace
#include "network.h"

int main(void) {
  const int socket = socket_of_other_network(AF_INET, SOCK_STREAM, 0);
  subject_ready();
  SUBJECT_CHECK(option_of(socket, SOL_SOCKET, SO_DOMAIN) == AF_INET);
  subject_ok();
}
