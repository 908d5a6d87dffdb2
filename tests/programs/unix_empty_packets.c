// Packets without a byte, between others that have some.
#include <sys/socket.h>

#include "subject.h"

static const char* const kPackets[] = {"first", "", "third", "", "", "last"};
enum { kCount = sizeof kPackets / sizeof *kPackets };

static void fill(int end) {
  for (int i = 0; i < kCount; ++i) SUBJECT_NEED(send(end, kPackets[i], strlen(kPackets[i]), 0) >= 0);
}

static void check_packets(int end) {
  for (int i = 0; i < kCount; ++i) {
    char text[16];
    const ssize_t got = recv(end, text, sizeof text, MSG_DONTWAIT);
    SUBJECT_CHECK(got == (ssize_t)strlen(kPackets[i]) && memcmp(text, kPackets[i], (size_t)got) == 0, "%d: %zd", i,
                  got);
  }
  char text[16];
  SUBJECT_CHECK(recv(end, text, sizeof text, MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

int main(void) {
  int packets[2];
  int datagrams[2];
  SUBJECT_NEED(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets) == 0);
  SUBJECT_NEED(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams) == 0);
  fill(packets[0]);
  fill(datagrams[0]);

  subject_ready();

  check_packets(packets[1]);
  check_packets(datagrams[1]);
  subject_ok();
}
