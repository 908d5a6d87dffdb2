// A netlink socket of another network namespace than the program's: a restart would make it in the program's own.
// subject: refused a netlink socket of another network namespace
#include <linux/netlink.h>

#include "network.h"

int main(void) {
  const int socket = socket_of_other_network(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  subject_ready();
  SUBJECT_CHECK(option_of(socket, SOL_SOCKET, SO_DOMAIN) == AF_NETLINK);
  subject_ok();
}
