// TCP between the processes of a tree: two workers share a socket that listens and at which a connection of their
// parent waits, and are connected to one another, with data waiting at both ends, through a socket that nobody has any
// more. A UDP socket with a datagram is shared, too.
#include <sys/wait.h>

#include "inet.h"

enum { kStatus = 37 };

struct worker {
  int talk;
  pid_t pid;
};

static void await(int socket) {
  char byte;
  SUBJECT_CHECK(read(socket, &byte, 1) == 1, "the other process is gone");
}

// A parent that is gone has been killed: there is nothing to report.
static void await_parent(int socket) {
  char byte;
  if (read(socket, &byte, 1) != 1) _exit(2);
}

static void say(int socket) { SUBJECT_CHECK(send(socket, "", 1, MSG_NOSIGNAL) == 1); }

static int listening(void) {
  const int made = socket(AF_INET, SOCK_STREAM, 0);
  const struct place place = loopback(AF_INET);
  set_option(made, SOL_SOCKET, SO_REUSEADDR, 1);
  SUBJECT_NEED(bind(made, (const struct sockaddr*)&place.address, place.size) == 0 && listen(made, 8) == 0);
  return made;
}

static void await_arrival(int socket) {
  struct pollfd entry = {socket, POLLIN, 0};
  SUBJECT_NEED(poll(&entry, 1, 5000) == 1);
}

static void first_worker(int talk, int listener, int former) {
  const int connection = client_of(former);
  close(former);
  send_text(connection, "from the first");
  await_arrival(connection);
  say(talk);

  await_parent(talk);  // all checkpoints and restarts happen in here
  await_text(connection, "from the second");
  send_text(connection, "more");
  await_text(connection, "answer");
  const int accepted = accept_one(listener);  // the one that has waited
  await_text(accepted, "early");
  send_text(accepted, "first");
  _exit(kStatus);
}

static void second_worker(int talk, int listener, int former, int datagrams) {
  const int connection = accept_one(former);
  close(former);
  send_text(connection, "from the second");
  await_arrival(connection);
  say(talk);

  await_parent(talk);  // all checkpoints and restarts happen in here
  await_text(connection, "from the first");
  await_text(connection, "more");
  send_text(connection, "answer");
  expect_message(datagrams, "datagram");
  await_parent(talk);
  const int accepted = accept_one(listener);
  await_text(accepted, "late");
  send_text(accepted, "second");
  _exit(kStatus);
}

static void expect_exit(struct worker worker) {
  int status = 0;
  SUBJECT_CHECK(waitpid(worker.pid, &status, 0) == worker.pid && WIFEXITED(status) && WEXITSTATUS(status) == kStatus,
                "status %#x", (unsigned)status);
}

int main(void) {
  const int listener = listening(), former = listening(), datagrams = bound_socket(AF_INET, SOCK_DGRAM);
  const struct place place = place_by(getsockname, listener), datagram_place = place_by(getsockname, datagrams);
  struct worker workers[2];
  for (int i = 0; i < 2; ++i) {
    int talk[2];
    SUBJECT_NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, talk) == 0);
    workers[i].talk = talk[0];
    workers[i].pid = fork();
    SUBJECT_NEED(workers[i].pid >= 0);
    if (workers[i].pid != 0) {
      close(talk[1]);
    } else if (i == 0) {
      first_worker(talk[1], listener, former);
    } else {
      second_worker(talk[1], listener, former, datagrams);
    }
  }
  close(former);
  await(workers[0].talk);
  await(workers[1].talk);
  const int early = client_of(listener);
  close(listener);
  const int sender = bound_socket(AF_INET, SOCK_DGRAM);
  connect_place(sender, datagram_place);
  send_text(sender, "datagram");
  await_arrival(datagrams);

  subject_ready();

  send_text(early, "early");
  say(workers[0].talk);
  say(workers[1].talk);
  await_text(early, "first");
  const int late = socket(AF_INET, SOCK_STREAM, 0);
  connect_place(late, place);
  send_text(late, "late");
  say(workers[1].talk);
  await_text(late, "second");
  expect_exit(workers[0]);
  expect_exit(workers[1]);
  expect_nothing(datagrams);
  subject_ok();
}
