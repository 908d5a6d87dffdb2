// Small things that the subjects about sockets share. See descriptors.h.
#pragma once

#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "descriptors.h"

static inline int option_of(int socket, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  SUBJECT_CHECK(getsockopt(socket, level, name, &value, &size) == 0, "option %d of descriptor %d", name, socket);
  return value;
}

static inline void set_option(int socket, int level, int name, int value) {
  SUBJECT_NEED(setsockopt(socket, level, name, &value, sizeof value) == 0, "option %d", name);
}

static inline void expect_option(int socket, int level, int name, int value) {
  const int now = option_of(socket, level, name);
  SUBJECT_CHECK(now == value, "option %d of descriptor %d is %d instead of %d", name, socket, now, value);
}

static inline void send_text(int socket, const char* text) {
  SUBJECT_CHECK(send(socket, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text), "descriptor %d, '%.100s'",
                socket, text);
}

// The next message, or what a stream gives, without waiting.
static inline void expect_message(int socket, const char* text) {
  char got[8192] = "";
  const ssize_t bytes = recv(socket, got, sizeof got - 1, MSG_DONTWAIT);
  SUBJECT_CHECK(bytes == (ssize_t)strlen(text) && strcmp(got, text) == 0,
                "descriptor %d gave %zd bytes, '%.100s' instead of '%.100s'", socket, bytes, got, text);
}

static inline void expect_nothing(int socket) {
  char byte;
  expect_error(recv(socket, &byte, 1, MSG_DONTWAIT), EAGAIN, "reading from an empty socket");
}

static inline void expect_end(int socket) {
  char byte;
  SUBJECT_CHECK(recv(socket, &byte, 1, MSG_DONTWAIT) == 0, "descriptor %d is not at its end", socket);
}

static inline void expect_connected(int first, int second) {
  send_text(first, "there");
  expect_message(second, "there");
  send_text(second, "and back");
  expect_message(first, "and back");
}

static inline void send_descriptor(int socket, const char* text, int descriptor) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct iovec vector = {(void*)text, strlen(text)};
  struct msghdr message = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  struct cmsghdr* const part = CMSG_FIRSTHDR(&message);
  *part = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(part), &descriptor, sizeof descriptor);
  SUBJECT_NEED(sendmsg(socket, &message, 0) == (ssize_t)strlen(text));
}

// Returns the descriptor that comes with the text, -1 for none; `credentials` may be NULL.
static inline int receive_descriptor(int socket, size_t most, const char* text, struct ucred* credentials) {
  union {
    struct cmsghdr header;
    char bytes[256];
  } control;
  char got[256] = "";
  struct iovec vector = {got, most};
  struct msghdr message = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  const ssize_t bytes = recvmsg(socket, &message, MSG_DONTWAIT);
  SUBJECT_CHECK(bytes == (ssize_t)strlen(text) && strcmp(got, text) == 0, "%zd bytes, '%.100s' instead of '%.100s'",
                bytes, got, text);
  int descriptor = -1;
  for (struct cmsghdr* part = CMSG_FIRSTHDR(&message); part != NULL; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_type == SCM_RIGHTS) memcpy(&descriptor, CMSG_DATA(part), sizeof descriptor);
    if (part->cmsg_type == SCM_CREDENTIALS && credentials != NULL)
      memcpy(credentials, CMSG_DATA(part), sizeof *credentials);
  }
  return descriptor;
}

struct unix_name {
  struct sockaddr_un address;
  socklen_t size;
};

// "@name" is an abstract name.
static inline struct unix_name unix_name(const char* text) {
  struct unix_name name = {{.sun_family = AF_UNIX}, 0};
  memcpy(name.address.sun_path, text, strlen(text));
  name.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(text) + (text[0] != '@'));
  if (text[0] == '@') name.address.sun_path[0] = '\0';
  return name;
}

static inline int unix_socket(int type, const char* text) {
  const int made = socket(AF_UNIX, type, 0);
  SUBJECT_NEED(made >= 0);
  if (text == NULL) return made;
  const struct unix_name name = unix_name(text);
  SUBJECT_NEED(bind(made, (const struct sockaddr*)&name.address, name.size) == 0, "cannot bind %.100s", text);
  return made;
}

static inline void connect_unix(int socket, const char* text) {
  const struct unix_name name = unix_name(text);
  SUBJECT_CHECK(connect(socket, (const struct sockaddr*)&name.address, name.size) == 0, "cannot connect to %.100s",
                text);
}

static inline int accept_one(int listener) {
  const int accepted = accept(listener, NULL, NULL);
  SUBJECT_CHECK(accepted >= 0, "descriptor %d", listener);
  return accepted;
}

static inline int unix_client_of(const char* name) {
  const int made = unix_socket(SOCK_STREAM, NULL);
  connect_unix(made, name);
  return made;
}

// getsockname or getpeername gives this name; NULL: none.
static inline void expect_name(int (*ask)(int, struct sockaddr*, socklen_t*), int socket, const char* text) {
  struct sockaddr_un address = {0};
  socklen_t size = sizeof address;
  SUBJECT_CHECK(ask(socket, (struct sockaddr*)&address, &size) == 0);
  const struct unix_name wanted = unix_name(text == NULL ? "" : text);
  const socklen_t wanted_size = text == NULL ? (socklen_t)sizeof(sa_family_t) : wanted.size;
  SUBJECT_CHECK(size == wanted_size && memcmp(&address, &wanted.address, size) == 0,
                "descriptor %d: '%.100s' instead of '%.100s'", socket,
                address.sun_path[0] ? address.sun_path : address.sun_path + 1, text == NULL ? "" : text);
}
