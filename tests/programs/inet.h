// Small things that the subjects about internet sockets share. See sockets.h.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#include "sockets.h"

struct place {
  struct sockaddr_storage address;
  socklen_t size;
};

static inline struct place loopback(int family) {
  struct place place = {{0}, family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)};
  place.address.ss_family = (sa_family_t)family;
  if (family == AF_INET6) ((struct sockaddr_in6*)&place.address)->sin6_addr = in6addr_loopback;
  if (family == AF_INET) ((struct sockaddr_in*)&place.address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return place;
}

static inline struct place place_by(int (*ask)(int, struct sockaddr*, socklen_t*), int socket) {
  struct place place = {{0}, sizeof place.address};
  SUBJECT_CHECK(ask(socket, (struct sockaddr*)&place.address, &place.size) == 0, "descriptor %d", socket);
  return place;
}

static inline int same_place(struct place a, struct place b) {
  return a.size == b.size && memcmp(&a.address, &b.address, a.size) == 0;
}

// Bound to a free port of the loopback address.
static inline int bound_socket(int family, int type) {
  const int made = socket(family, type, 0);
  const struct place place = loopback(family);
  SUBJECT_NEED(made >= 0 && bind(made, (const struct sockaddr*)&place.address, place.size) == 0);
  return made;
}

static inline void connect_place(int socket, struct place place) {
  SUBJECT_CHECK(connect(socket, (const struct sockaddr*)&place.address, place.size) == 0, "descriptor %d", socket);
}

static inline int client_of(int listener) {
  const struct place place = place_by(getsockname, listener);
  const int made = socket(place.address.ss_family, SOCK_STREAM, 0);
  SUBJECT_NEED(made >= 0);
  connect_place(made, place);
  return made;
}

// Data may be a moment on its way through the loopback device.
static inline void await_text(int socket, const char* text) {
  char got[4096] = "";
  size_t bytes = 0;
  while (bytes < strlen(text)) {
    struct pollfd entry = {socket, POLLIN, 0};
    SUBJECT_CHECK(poll(&entry, 1, 5000) == 1, "descriptor %d gives '%.100s' and no more of '%.100s'", socket, got,
                  text);
    const ssize_t more = recv(socket, got + bytes, strlen(text) - bytes, 0);
    SUBJECT_CHECK(more > 0, "descriptor %d gives '%.100s' and ends instead of '%.100s'", socket, got, text);
    bytes += (size_t)more;
  }
  SUBJECT_CHECK(strcmp(got, text) == 0, "'%.100s' instead of '%.100s'", got, text);
}

static inline void expect_conversation(int first, int second) {
  send_text(first, "there");
  await_text(second, "there");
  send_text(second, "and back");
  await_text(first, "and back");
}

static inline void await_end(int socket) {
  struct pollfd entry = {socket, POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 5000) == 1);
  expect_end(socket);
}
