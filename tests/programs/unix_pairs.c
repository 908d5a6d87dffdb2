// Pairs of unix sockets: unread data with its boundaries, half-shut and closed ends, flags, options, descriptors on
// their way, credentials.
#include "sockets.h"

static void make(int type, int ends[2]) { SUBJECT_NEED(socketpair(AF_UNIX, type, 0, ends) == 0); }

static short events_of(int socket) {
  struct pollfd entry = {socket, POLLIN | POLLRDHUP, 0};
  poll(&entry, 1, 0);
  return entry.revents;
}

// Filled to the brim; returns how much it took.
static size_t fill(int socket) {
  char bytes[3000];
  size_t total = 0;
  for (ssize_t put; (put = send(socket, bytes, sizeof bytes, MSG_DONTWAIT)) > 0; total += (size_t)put) {
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char)((total + sizeof bytes + i) % 251);
  }
  SUBJECT_NEED(errno == EAGAIN && total > 100000);
  return total;
}

static void expect_filled(int socket, size_t total) {
  char bytes[3000];
  size_t seen = 0;
  for (ssize_t got; (got = recv(socket, bytes, sizeof bytes, MSG_DONTWAIT)) > 0; seen += (size_t)got) {
    for (ssize_t i = 0; seen >= sizeof bytes && i < got; i++)
      SUBJECT_CHECK((unsigned char)bytes[i] == (seen + (size_t)i) % 251, "byte %zu", seen + (size_t)i);
  }
  SUBJECT_CHECK(seen == total, "%zu of %zu bytes", seen, total);
}

static void expect_credentials(int socket, const char* text) {
  struct ucred credentials = {0};
  receive_descriptor(socket, 100, text, &credentials);
  SUBJECT_CHECK(credentials.pid == getpid() && credentials.uid == getuid() && credentials.gid == getgid(), "from %d",
                (int)credentials.pid);
}

int main(void) {
  int stream[2], half[2], closed[2], reset[2], full[2], packets[2], datagrams[2], rights[2], credentials[2], options[2];
  make(SOCK_STREAM, stream);
  send_text(stream[0], "some ");
  send_text(stream[0], "data");
  send_text(stream[1], "the other way");
  SUBJECT_NEED(fcntl(stream[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(stream[1], F_SETFD, FD_CLOEXEC) == 0);
  const int again = dup(stream[1]);

  make(SOCK_STREAM, half);
  send_text(half[0], "last words");
  SUBJECT_NEED(shutdown(half[0], SHUT_WR) == 0);
  make(SOCK_STREAM, closed);
  send_text(closed[1], "left behind");
  close(closed[1]);
  make(SOCK_STREAM, reset);
  send_text(reset[0], "never read");
  close(reset[1]);
  make(SOCK_STREAM, full);
  const size_t total = fill(full[0]);

  make(SOCK_SEQPACKET, packets);
  send_text(packets[0], "one");
  send_text(packets[0], "the second");
  send_text(packets[0], "3");
  make(SOCK_DGRAM, datagrams);
  send_text(datagrams[0], "first");
  send_text(datagrams[0], "second");
  send_text(datagrams[1], "back");

  // A file that is open here, one that is only on its way, and a socket with a file in its queue.
  make(SOCK_STREAM, rights);
  make_file("kept", "kept content");
  make_file("sent", "sent content");
  const int kept = open_existing("kept", O_RDONLY);
  const int sent = open_existing("sent", O_RDONLY);
  SUBJECT_NEED(lseek(sent, 5, SEEK_SET) == 5);
  int inner[2];
  make(SOCK_DGRAM, inner);
  send_descriptor(inner[0], "within", sent);
  send_text(rights[0], "before");
  send_descriptor(rights[0], "with kept", kept);
  send_descriptor(rights[0], "with sent", sent);
  send_descriptor(rights[0], "with inner", inner[1]);
  send_text(rights[0], "behind");
  close(sent);
  close(inner[1]);

  make(SOCK_SEQPACKET, credentials);
  set_option(credentials[1], SOL_SOCKET, SO_PASSCRED, 1);
  send_text(credentials[0], "me");
  make(SOCK_STREAM, options);
  set_option(options[0], SOL_SOCKET, SO_SNDBUF, 30000);
  set_option(options[0], SOL_SOCKET, SO_RCVBUF, 50000);
  const struct timeval limit = {7, 500000};
  SUBJECT_NEED(setsockopt(options[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
  set_option(options[1], SOL_SOCKET, SO_PEEK_OFF, 3);
  send_text(options[0], "peeked at");

  subject_ready();

  SUBJECT_CHECK(same_description(stream[1], again) && fcntl(stream[1], F_GETFD) == FD_CLOEXEC &&
                fcntl(again, F_GETFD) == 0);
  SUBJECT_CHECK((fcntl(stream[0], F_GETFL) & O_NONBLOCK) != 0 && (fcntl(stream[1], F_GETFL) & O_NONBLOCK) == 0);
  expect_message(again, "some data");
  expect_message(stream[0], "the other way");
  expect_connected(stream[0], stream[1]);
  expect_name(getsockname, stream[0], NULL);

  expect_message(half[1], "last words");
  expect_end(half[1]);
  expect_error(send(half[0], "x", 1, MSG_NOSIGNAL), EPIPE, "writing after shutdown");
  send_text(half[1], "still open");
  expect_message(half[0], "still open");
  expect_nothing(half[0]);
  SUBJECT_CHECK(events_of(closed[0]) == (POLLIN | POLLRDHUP | POLLHUP), "%x", (unsigned)events_of(closed[0]));
  expect_message(closed[0], "left behind");
  expect_end(closed[0]);
  expect_error(send(closed[0], "x", 1, MSG_NOSIGNAL), EPIPE, "writing to nobody");
  char byte;
  expect_error(recv(reset[0], &byte, 1, 0), ECONNRESET, "reading from a reset connection");
  expect_end(reset[0]);
  expect_filled(full[1], total);

  expect_message(packets[1], "one");
  expect_message(packets[1], "the second");
  expect_message(packets[1], "3");
  expect_nothing(packets[1]);
  expect_connected(packets[0], packets[1]);
  expect_message(datagrams[1], "first");
  expect_message(datagrams[1], "second");
  expect_message(datagrams[0], "back");
  expect_connected(datagrams[0], datagrams[1]);

  SUBJECT_CHECK(receive_descriptor(rights[1], 6, "before", NULL) == -1, "a descriptor came early");
  const int got_kept = receive_descriptor(rights[1], 100, "with kept", NULL);
  SUBJECT_CHECK(got_kept >= 0 && same_description(got_kept, kept));
  const int got_sent = receive_descriptor(rights[1], 100, "with sent", NULL);
  expect_read(got_sent, "content");
  const int got_inner = receive_descriptor(rights[1], 100, "with inner", NULL);
  const int got_within = receive_descriptor(got_inner, 100, "within", NULL);
  SUBJECT_CHECK(same_description(got_within, got_sent), "the two are not one description any more");
  expect_connected(inner[0], got_inner);
  SUBJECT_CHECK(receive_descriptor(rights[1], 100, "behind", NULL) == -1);

  expect_credentials(credentials[1], "me");
  send_text(credentials[0], "again");
  expect_credentials(credentials[1], "again");
  expect_option(options[0], SOL_SOCKET, SO_SNDBUF, 60000);
  expect_option(options[0], SOL_SOCKET, SO_RCVBUF, 100000);
  expect_option(options[1], SOL_SOCKET, SO_PEEK_OFF, 3);
  struct timeval now = {0};
  socklen_t size = sizeof now;
  SUBJECT_CHECK(getsockopt(options[0], SOL_SOCKET, SO_RCVTIMEO, &now, &size) == 0 && now.tv_sec == 7 &&
                now.tv_usec == 500000);
  char peeked[16] = "";
  SUBJECT_CHECK(recv(options[1], peeked, sizeof peeked, MSG_PEEK) == 6 && strcmp(peeked, "ked at") == 0, "'%s'",
                peeked);
  expect_message(options[1], "peeked at");
  subject_ok();
}
