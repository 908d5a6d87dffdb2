// Unix sockets that were bound to one path one after the other: those whose path was unlinked go on with the
// connections they have, also with one that waits, while the last one listens there (as servers do that read their
// configuration again). And receivers of datagrams, clients that have names, and an abstract name of two types.
#include "sockets.h"

enum { kListeners = 3, kLast = kListeners - 1 };

static int named_client_of(const char* listener, const char* name) {
  const int made = unix_socket(SOCK_STREAM, name);
  connect_unix(made, listener);
  return made;
}

static int abstract_socket(int type, const char* name, socklen_t size) {
  const int made = unix_socket(type, NULL);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, name, size);
  SUBJECT_NEED(bind(made, (struct sockaddr*)&address, offsetof(struct sockaddr_un, sun_path) + size) == 0);
  return made;
}

int main(void) {
  char both[32] = "";
  const socklen_t size = 1 + (socklen_t)snprintf(both + 1, sizeof both - 1, "both-%d", (int)getpid());
  const int stream = abstract_socket(SOCK_STREAM, both, size);
  SUBJECT_NEED(listen(stream, 5) == 0);
  const int letters = abstract_socket(SOCK_DGRAM, both, size);
  const int receiver = unix_socket(SOCK_DGRAM, "receiver");
  connect_unix(letters, "receiver");
  send_text(letters, "from an abstract name");

  int listeners[kListeners], clients[kListeners], servers[kListeners], waiting[kListeners];
  int receivers[kListeners], senders[kListeners], named[kListeners], served[kListeners];
  for (int i = 0; i < kListeners; i++) {
    listeners[i] = unix_socket(SOCK_STREAM, "gate");
    SUBJECT_NEED(listen(listeners[i], 5) == 0);
    clients[i] = unix_client_of("gate");
    servers[i] = accept_one(listeners[i]);
    named[i] = named_client_of("gate", "client");
    served[i] = accept_one(listeners[i]);
    waiting[i] = unix_client_of("gate");
    receivers[i] = unix_socket(SOCK_DGRAM, "letters");
    senders[i] = unix_socket(SOCK_DGRAM, NULL);
    connect_unix(senders[i], "letters");
    send_text(senders[i], "written before");
    if (i < kLast) SUBJECT_NEED(unlink("gate") == 0 && unlink("letters") == 0 && unlink("client") == 0);
  }

  // Another one listens at the path that a client had which is connected.
  const int former = named_client_of("gate", "second");
  SUBJECT_NEED(unlink("second") == 0);
  const int second = unix_socket(SOCK_STREAM, "second");
  SUBJECT_NEED(listen(second, 5) == 0);
  const int waiting_there = unix_client_of("second");

  subject_ready();

  for (int i = 0; i < kListeners; i++) {
    expect_name(getsockname, listeners[i], "gate");
    expect_connected(clients[i], servers[i]);
    expect_connected(waiting[i], accept_one(listeners[i]));
    expect_name(getpeername, served[i], "client");
    expect_connected(named[i], served[i]);
    expect_message(receivers[i], "written before");
    send_text(senders[i], "and after");
    expect_message(receivers[i], "and after");
  }
  expect_message(receiver, "from an abstract name");
  send_text(letters, "and once more");
  expect_message(receiver, "and once more");
  expect_connected(former, accept_one(listeners[kLast]));
  expect_name(getsockname, former, "second");
  expect_connected(waiting_there, accept_one(second));
  const int client = unix_client_of("gate");
  expect_connected(client, accept_one(listeners[kLast]));
  SUBJECT_CHECK(unlink("gate") == 0 && unlink("letters") == 0);
  DIR* const folder = opendir(".");
  for (struct dirent* entry; folder != NULL && (entry = readdir(folder)) != NULL;)
    SUBJECT_CHECK(strncmp(entry->d_name, ".crs-", 5) != 0, "%.100s is left", entry->d_name);
  subject_ok();
}
