// TCP: listening (with and without connections that wait), connections with both ends in the program and data in both
// directions, half-closed and ended ones, options; IPv4 and IPv6.
#include "inet.h"

enum { kLarge = 300000 };

struct connection {
  int client, server;
  struct place from, to;
};

static struct connection connect_to(int listener) {
  struct connection made = {client_of(listener), accept_one(listener), {{0}, 0}, {{0}, 0}};
  made.from = place_by(getsockname, made.client);
  made.to = place_by(getpeername, made.client);
  return made;
}

static void expect_places(struct connection connection) {
  SUBJECT_CHECK(same_place(place_by(getsockname, connection.client), connection.from));
  SUBJECT_CHECK(same_place(place_by(getpeername, connection.client), connection.to));
  SUBJECT_CHECK(same_place(place_by(getsockname, connection.server), connection.to));
  SUBJECT_CHECK(same_place(place_by(getpeername, connection.server), connection.from));
}

static void expect_listening(int listener, struct place place) {
  SUBJECT_CHECK(option_of(listener, SOL_SOCKET, SO_ACCEPTCONN) == 1);
  SUBJECT_CHECK(same_place(place_by(getsockname, listener), place));
  const int client = client_of(listener);
  expect_conversation(client, accept_one(listener));
}

static char byte_at(size_t i) { return (char)(i * 31 + i / 251); }

static void expect_large(int socket) {
  static char bytes[kLarge];
  size_t seen = 0;
  while (seen < kLarge) {
    struct pollfd entry = {socket, POLLIN, 0};
    SUBJECT_CHECK(poll(&entry, 1, 5000) == 1, "%zu bytes", seen);
    const ssize_t more = recv(socket, bytes + seen, kLarge - seen, 0);
    SUBJECT_CHECK(more > 0, "%zu bytes", seen);
    seen += (size_t)more;
  }
  for (size_t i = 0; i < kLarge; i++) SUBJECT_CHECK(bytes[i] == byte_at(i), "byte %zu", i);
}

// As servers are: so that they can be started again while the kernel remembers their connections.
static int bound_for_reuse(int family) {
  const int made = socket(family, SOCK_STREAM, 0);
  const struct place place = loopback(family);
  set_option(made, SOL_SOCKET, SO_REUSEADDR, 1);
  SUBJECT_NEED(bind(made, (const struct sockaddr*)&place.address, place.size) == 0);
  return made;
}

int main(void) {
  const int listener = bound_for_reuse(AF_INET), listener6 = bound_for_reuse(AF_INET6);
  set_option(listener, SOL_SOCKET, SO_KEEPALIVE, 1);
  SUBJECT_NEED(listen(listener, 9) == 0 && listen(listener6, 5) == 0);
  const struct place place = place_by(getsockname, listener), place6 = place_by(getsockname, listener6);

  const struct connection plain = connect_to(listener), version6 = connect_to(listener6), idle = connect_to(listener);
  send_text(plain.client, "to the server");
  send_text(plain.server, "to the client");
  set_option(plain.client, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(plain.client, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(plain.client, IPPROTO_TCP, TCP_KEEPIDLE, 77);
  set_option(plain.client, IPPROTO_TCP, TCP_KEEPINTVL, 7);
  set_option(plain.client, IPPROTO_TCP, TCP_KEEPCNT, 3);
  set_option(plain.client, IPPROTO_TCP, TCP_USER_TIMEOUT, 12345);
  const struct linger linger = {1, 5};
  SUBJECT_NEED(setsockopt(plain.server, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
  SUBJECT_NEED(fcntl(plain.server, F_SETFL, O_NONBLOCK) == 0);

  // Nobody listens there any more.
  const int former = bound_for_reuse(AF_INET);
  SUBJECT_NEED(listen(former, 1) == 0);
  const struct connection half = connect_to(former), large = connect_to(former), ended = connect_to(former);
  close(former);
  send_text(half.client, "last words");
  SUBJECT_NEED(shutdown(half.client, SHUT_WR) == 0);
  static char bytes[kLarge];
  for (size_t i = 0; i < kLarge; i++) bytes[i] = byte_at(i);
  set_option(large.server, SOL_SOCKET, SO_RCVBUF, 1 << 20);
  SUBJECT_NEED(send(large.client, bytes, kLarge, 0) == kLarge);
  send_text(ended.client, "left behind");
  close(ended.client);

  const int waiting = client_of(listener), waiting6 = client_of(listener6);
  const int unbound = socket(AF_INET, SOCK_STREAM, 0);
  const int bound = bound_socket(AF_INET6, SOCK_STREAM);
  const struct place bound_place = place_by(getsockname, bound);
  const int only6 = socket(AF_INET6, SOCK_STREAM, 0);
  set_option(only6, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  set_option(only6, SOL_SOCKET, SO_REUSEADDR, 1);
  // All has arrived.
  struct pollfd arrived = {ended.server, POLLRDHUP, 0};
  SUBJECT_NEED(poll(&arrived, 1, 5000) == 1);
  for (int unread = 0; unread < kLarge;) SUBJECT_NEED(ioctl(large.server, FIONREAD, &unread) == 0);

  subject_ready();

  expect_places(plain);
  expect_places(version6);
  expect_places(idle);
  expect_conversation(idle.client, idle.server);
  await_text(plain.server, "to the server");
  await_text(plain.client, "to the client");
  expect_conversation(plain.client, plain.server);
  expect_conversation(version6.server, version6.client);
  expect_option(plain.client, IPPROTO_TCP, TCP_NODELAY, 1);
  expect_option(plain.client, SOL_SOCKET, SO_KEEPALIVE, 1);
  expect_option(plain.client, IPPROTO_TCP, TCP_KEEPIDLE, 77);
  expect_option(plain.client, IPPROTO_TCP, TCP_KEEPINTVL, 7);
  expect_option(plain.client, IPPROTO_TCP, TCP_KEEPCNT, 3);
  expect_option(plain.client, IPPROTO_TCP, TCP_USER_TIMEOUT, 12345);
  expect_option(plain.client, SOL_SOCKET, SO_REUSEADDR, 0);
  expect_option(listener, SOL_SOCKET, SO_REUSEADDR, 1);
  expect_option(listener, SOL_SOCKET, SO_KEEPALIVE, 1);
  struct linger now = {0, 0};
  socklen_t size = sizeof now;
  SUBJECT_CHECK(getsockopt(plain.server, SOL_SOCKET, SO_LINGER, &now, &size) == 0 && now.l_onoff == 1 &&
                now.l_linger == 5);
  SUBJECT_CHECK((fcntl(plain.server, F_GETFL) & O_NONBLOCK) != 0 && (fcntl(plain.client, F_GETFL) & O_NONBLOCK) == 0);

  expect_places(half);
  await_text(half.server, "last words");
  await_end(half.server);
  expect_error(send(half.client, "x", 1, MSG_NOSIGNAL), EPIPE, "writing after shutdown");
  send_text(half.server, "still open");
  await_text(half.client, "still open");
  expect_large(large.server);
  expect_option(large.server, SOL_SOCKET, SO_RCVBUF, 2 << 20);
  expect_conversation(large.client, large.server);
  await_text(ended.server, "left behind");
  await_end(ended.server);

  expect_conversation(waiting, accept_one(listener));
  expect_conversation(waiting6, accept_one(listener6));
  expect_listening(listener, place);
  expect_listening(listener6, place6);
  struct tcp_info info;
  size = sizeof info;
  SUBJECT_CHECK(getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_sacked == 9,
                "a backlog of %u", info.tcpi_sacked);
  char byte;
  expect_error(recv(unbound, &byte, 1, MSG_DONTWAIT), ENOTCONN, "reading from a socket that was never connected");
  connect_place(unbound, place);
  expect_conversation(unbound, accept_one(listener));
  SUBJECT_CHECK(same_place(place_by(getsockname, bound), bound_place));
  expect_option(only6, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  expect_option(only6, SOL_SOCKET, SO_REUSEADDR, 1);
  subject_ok();
}
