// Unread datagrams from IPv4 senders at IPv6 sockets, from one that is there and one that is closed; and options of
// UDP.
#include <netinet/udp.h>

#include "inet.h"

static int bound_at(const char* address, int family) {
  struct sockaddr_storage all = {.ss_family = (sa_family_t)family};
  void* const place = family == AF_INET ? (void*)&((struct sockaddr_in*)&all)->sin_addr
                                        : (void*)&((struct sockaddr_in6*)&all)->sin6_addr;
  SUBJECT_NEED(inet_pton(family, address, place) == 1);
  const int made = socket(family, SOCK_DGRAM, 0);
  SUBJECT_NEED(made >= 0 && bind(made, (struct sockaddr*)&all, sizeof all) == 0);
  return made;
}

// The port lies at the same place in both families.
static in_port_t port_of(int socket) {
  const struct place own = place_by(getsockname, socket);
  return ((const struct sockaddr_in*)&own.address)->sin_port;
}

static void send_to(int sender, int receiver, const char* text) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  to.sin_port = port_of(receiver);
  SUBJECT_NEED(sendto(sender, text, strlen(text), 0, (struct sockaddr*)&to, sizeof to) == (ssize_t)strlen(text));
}

static void expect_from(int receiver, const char* text, in_port_t port) {
  char got[32] = "";
  struct sockaddr_in6 from = {0};
  socklen_t size = sizeof from;
  struct pollfd entry = {receiver, POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 5000) == 1, "'%.30s' is not there", text);
  SUBJECT_CHECK(recvfrom(receiver, got, sizeof got - 1, 0, (struct sockaddr*)&from, &size) == (ssize_t)strlen(text));
  SUBJECT_CHECK(strcmp(got, text) == 0, "'%.30s' instead of '%.30s'", got, text);
  SUBJECT_CHECK(IN6_IS_ADDR_V4MAPPED(&from.sin6_addr) && from.sin6_port == port, "'%.30s' is from elsewhere", text);
}

int main(void) {
  const char* const addresses[] = {"::", "::ffff:127.0.0.1"};
  int receivers[2];
  in_port_t closed[2];
  const int sender = bound_at("127.0.0.1", AF_INET);
  for (int i = 0; i < 2; i++) {
    receivers[i] = bound_at(addresses[i], AF_INET6);
    const int soon_closed = bound_at("127.0.0.1", AF_INET);
    closed[i] = port_of(soon_closed);
    send_to(sender, receivers[i], "first");
    send_to(soon_closed, receivers[i], "closed");
    send_to(sender, receivers[i], "");
    close(soon_closed);
  }
  set_option(sender, IPPROTO_UDP, UDP_CORK, 1);
  set_option(sender, IPPROTO_UDP, UDP_GRO, 1);
  set_option(receivers[0], IPPROTO_UDP, UDP_NO_CHECK6_RX, 1);

  subject_ready();

  for (int i = 0; i < 2; i++) {
    expect_from(receivers[i], "first", port_of(sender));
    expect_from(receivers[i], "closed", closed[i]);
    expect_from(receivers[i], "", port_of(sender));
  }
  expect_option(sender, IPPROTO_UDP, UDP_CORK, 1);
  expect_option(sender, IPPROTO_UDP, UDP_GRO, 1);
  expect_option(receivers[0], IPPROTO_UDP, UDP_NO_CHECK6_RX, 1);
  subject_ok();
}
