// A thread in recvmmsg(2) that has one of its two messages: it may return with that one alone; what comes afterwards is
// whole, and nothing is lost or an error that no program knows.
#include <pthread.h>
#include <sys/socket.h>

#include "subject.h"

static int ends[2];

static void* receive(void* received) {
  char text[2][8];
  struct iovec places[2] = {{text[0], sizeof text[0]}, {text[1], sizeof text[1]}};
  struct mmsghdr messages[2] = {{.msg_hdr = {.msg_iov = &places[0], .msg_iovlen = 1}},
                                {.msg_hdr = {.msg_iov = &places[1], .msg_iovlen = 1}}};
  const int count = recvmmsg(ends[0], messages, 2, 0, NULL);
  SUBJECT_CHECK(count == 1 || count == 2, "%d messages", count);
  SUBJECT_CHECK(text[0][0] == 'a' && (count == 1 || text[1][0] == 'b'));
  *(int*)received = count;
  return NULL;
}

int main(void) {
  SUBJECT_NEED(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0 && send(ends[1], "a", 1, 0) == 1);
  int received = 0;
  pthread_t receiver;
  SUBJECT_NEED(pthread_create(&receiver, NULL, receive, &received) == 0);
  int unread = 1;
  while (unread > 0) {
    char byte;
    unread = recv(ends[0], &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;  // until the thread has taken it
  }
  subject_announce();
  while (!subject_may_go()) subject_sleep_ms(5);
  SUBJECT_CHECK(send(ends[1], "b", 1, 0) == 1 && send(ends[1], "c", 1, 0) == 1);
  pthread_join(receiver, NULL);
  char byte = 0;
  for (char expected = received == 1 ? 'b' : 'c'; expected <= 'c'; ++expected)
    SUBJECT_CHECK(recv(ends[0], &byte, 1, 0) == 1 && byte == expected, "%c instead of %c", byte, expected);
  subject_ok();
}
