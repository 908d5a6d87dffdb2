// One end of a pipe, of a pair of sockets and of a pseudo-terminal, whose other ends are on their way through sockets
// for packets and datagrams, into which only a checkpoint itself looks.
// subject: rounds 1
#include <fcntl.h>
#include <stdlib.h>

#include "sockets.h"

static void check_passage(int from, int to, const char* what) {
  char got[16] = "";
  struct pollfd entry = {to, POLLIN, 0};
  SUBJECT_CHECK(write(from, "passes\n", 7) == 7, "%s", what);
  SUBJECT_CHECK(poll(&entry, 1, 5000) == 1 && read(to, got, sizeof got - 1) == 7, "%s", what);
  SUBJECT_CHECK(strcmp(got, "passes\n") == 0, "'%.10s' through %s", got, what);
}

int main(void) {
  int packets[2], datagrams[2], pipe_ends[2], pair[2];
  SUBJECT_NEED(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets) == 0);
  SUBJECT_NEED(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams) == 0);
  SUBJECT_NEED(pipe(pipe_ends) == 0);
  SUBJECT_NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  SUBJECT_NEED(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
  const int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
  SUBJECT_NEED(terminal >= 0);
  SUBJECT_NEED(send(packets[0], "", 0, 0) == 0);
  send_descriptor(packets[0], "pipe", pipe_ends[1]);
  send_descriptor(datagrams[0], "pair", pair[1]);
  send_descriptor(packets[0], "terminal", terminal);
  SUBJECT_NEED(close(pipe_ends[1]) == 0 && close(pair[1]) == 0 && close(terminal) == 0);

  subject_ready();

  char nothing;
  SUBJECT_CHECK(recv(packets[1], &nothing, 1, 0) == 0, "the empty packet is gone");
  check_passage(receive_descriptor(packets[1], 4, "pipe", NULL), pipe_ends[0], "the pipe");
  check_passage(receive_descriptor(datagrams[1], 4, "pair", NULL), pair[0], "the pair");
  const int received = receive_descriptor(packets[1], 8, "terminal", NULL);
  SUBJECT_CHECK(received >= 0 && isatty(received));
  check_passage(master, received, "the terminal");
  subject_ok();
}
