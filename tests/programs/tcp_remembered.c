// TCP ports that the kernel remembers for a minute after the program was killed (TIME_WAIT, tcp(7)), since none of the
// sockets has SO_REUSEADDR: of connections with and without a socket that listens, where the end that was accepted was
// closed first and where the other was. IPv4 and IPv6.
#include "inet.h"

struct pair {
  int server, client;
  struct place at;
};

static struct pair connect_to(int listener) {
  struct pair pair = {-1, client_of(listener), place_by(getsockname, listener)};
  pair.server = accept_one(listener);
  return pair;
}

// Descriptors are closed in the order of their numbers, one way or the other.
static struct pair connect_with_lower_server(int listener, int lower) {
  struct pair pair = connect_to(listener);
  SUBJECT_NEED(lower < pair.client && dup2(pair.server, lower) == lower && close(pair.server) == 0);
  pair.server = lower;
  return pair;
}

static void expect_same(struct pair pair) {
  expect_option(pair.server, SOL_SOCKET, SO_REUSEADDR, 0);
  expect_option(pair.client, SOL_SOCKET, SO_REUSEADDR, 0);
  SUBJECT_CHECK(same_place(place_by(getsockname, pair.server), pair.at));
  SUBJECT_CHECK(same_place(place_by(getpeername, pair.client), pair.at));
  expect_conversation(pair.server, pair.client);
}

static void expect_new_connection(int listener) {
  const int client = client_of(listener), server = accept_one(listener);
  expect_conversation(client, server);
}

enum { kListeners = 3 };

int main(void) {
  int lower[kListeners], listeners[kListeners];
  struct pair pairs[2 * kListeners];
  for (int i = 0; i < kListeners; ++i) SUBJECT_NEED((lower[i] = open("/dev/null", O_RDONLY)) >= 0);
  for (int i = 0; i < kListeners; ++i) {
    listeners[i] = bound_socket(i == 1 ? AF_INET6 : AF_INET, SOCK_STREAM);
    SUBJECT_NEED(listen(listeners[i], 4) == 0);
    pairs[2 * i] = connect_to(listeners[i]);
    pairs[2 * i + 1] = connect_with_lower_server(listeners[i], lower[i]);
  }
  SUBJECT_NEED(close(listeners[2]) == 0);

  subject_ready();

  for (int i = 0; i < 2 * kListeners; ++i) expect_same(pairs[i]);
  expect_new_connection(listeners[0]);
  expect_new_connection(listeners[1]);
  subject_ok();
}
