// Unix sockets that were bound to relative names by a program that has gone to another file system since, as daemons
// do: listening, with connections; one that is unlinked; names that lead up and down. Who may not see where a node is
// (CAP_NET_ADMIN) has it no more at its place, and is told; but not of one that a child has, too, which stays there.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "sockets.h"

enum { kListeners = 4, kFound = 1 };
static const char* const kNames[kListeners] = {"unlinked", "gate", "deep/gate", "../up/gate"};

int main(void) {
  char before[4096];
  SUBJECT_NEED(getcwd(before, sizeof before) != NULL);
  SUBJECT_NEED(mkdir("run", 0700) == 0 && mkdir("up", 0700) == 0 && mkdir("run/deep", 0700) == 0 && chdir("run") == 0);
  int listeners[kListeners], clients[kListeners], servers[kListeners], waiting[kListeners];
  for (int i = 0; i < kListeners; i++) {
    listeners[i] = unix_socket(SOCK_STREAM, kNames[i]);
    SUBJECT_NEED(listen(listeners[i], 5) == 0);
    clients[i] = unix_client_of(kNames[i]);
    servers[i] = accept_one(listeners[i]);
    waiting[i] = unix_client_of(kNames[i]);
  }
  const int shared = unix_socket(SOCK_STREAM, "shared");
  SUBJECT_NEED(listen(shared, 5) == 0);
  const pid_t child = fork();
  SUBJECT_NEED(child >= 0);
  for (int i = 3; child == 0 && i < shared; i++) close(i);
  while (child == 0) pause();
  SUBJECT_NEED(unlink(kNames[0]) == 0 && chdir("/dev") == 0);

  subject_ready();

  for (int i = 0; i < kListeners; i++) {
    expect_name(getsockname, listeners[i], kNames[i]);
    expect_name(getpeername, clients[i], kNames[i]);
    expect_connected(clients[i], servers[i]);
    expect_connected(waiting[i], accept_one(listeners[i]));
  }
  SUBJECT_CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
  SUBJECT_CHECK(access("gate", F_OK) != 0 && access("shared", F_OK) != 0, "it stands in the working directory");
  SUBJECT_CHECK(chdir(before) == 0 && chdir("run") == 0 && access(kNames[0], F_OK) != 0);
  const int to_shared = unix_client_of("shared");
  expect_connected(to_shared, accept_one(shared));
  for (int i = kFound; i < kListeners && geteuid() == 0 && prctl(PR_CAPBSET_READ, 12) == 1; i++) {
    const int client = unix_client_of(kNames[i]);
    expect_connected(client, accept_one(listeners[i]));
  }
  subject_ok();
}
