// For the subjects about sockets of another network namespace than the program's own.
#pragma once

#include <netinet/in.h>
#include <sched.h>
#include <sys/wait.h>

#include "sockets.h"

// A socket that a child has made in a network namespace of its own and has handed over.
static inline int socket_of_other_network(int family, int type, int protocol) {
  int ends[2];
  SUBJECT_NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  if (child == 0) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) subject_skip("there are no user namespaces");
    const int made = socket(family, type, protocol);
    SUBJECT_NEED(made >= 0);
    send_descriptor(ends[1], "socket", made);
    _exit(0);
  }
  int status = 0;
  SUBJECT_NEED(waitpid(child, &status, 0) == child);
  if (status != 0) _exit(77);
  const int received = receive_descriptor(ends[0], 6, "socket", NULL);
  SUBJECT_NEED(received >= 0);
  close(ends[0]);
  close(ends[1]);
  return received;
}
