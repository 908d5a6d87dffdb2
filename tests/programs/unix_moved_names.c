// Unix sockets that are bound under a passing name and then shown to others under their own (rename, link): listening,
// with a connection that is accepted and one that waits, two of the same passing name; a receiver of datagrams. Others
// find them by their own names afterwards.
#include "sockets.h"

enum { kListeners = 3 };
static const char* const kNames[kListeners] = {"first", "second", "linked"};

static void expect_node(const char* name, unsigned mode) {
  struct stat node;
  SUBJECT_CHECK(lstat(name, &node) == 0 && S_ISSOCK(node.st_mode) && (node.st_mode & 07777) == mode, "%s: %o", name,
                (unsigned)node.st_mode);
}

int main(void) {
  int listeners[kListeners], clients[kListeners], servers[kListeners], waiting[kListeners];
  for (int i = 0; i < kListeners; i++) {
    listeners[i] = unix_socket(SOCK_STREAM, "passing");
    SUBJECT_NEED(listen(listeners[i], 5) == 0 && chmod("passing", 0640) == 0);
    const int moved = i < 2 ? rename("passing", kNames[i]) : link("passing", kNames[i]) == 0 ? unlink("passing") : -1;
    SUBJECT_NEED(moved == 0);
    clients[i] = unix_client_of(kNames[i]);
    servers[i] = accept_one(listeners[i]);
    waiting[i] = unix_client_of(kNames[i]);
  }
  const int receiver = unix_socket(SOCK_DGRAM, "passing");
  SUBJECT_NEED(rename("passing", "letters") == 0);
  const int sender = unix_socket(SOCK_DGRAM, "sender");
  connect_unix(sender, "letters");
  send_text(sender, "written before");

  subject_ready();

  SUBJECT_CHECK(access("passing", F_OK) != 0, "the passing name is back");
  for (int i = 0; i < kListeners; i++) {
    expect_node(kNames[i], 0640);
    expect_name(getsockname, listeners[i], "passing");
    expect_name(getpeername, clients[i], "passing");
    expect_connected(clients[i], servers[i]);
    expect_connected(waiting[i], accept_one(listeners[i]));
    const int client = unix_client_of(kNames[i]);
    expect_connected(client, accept_one(listeners[i]));
  }
  expect_message(receiver, "written before");
  send_text(sender, "and after");
  expect_message(receiver, "and after");
  const int stranger = unix_socket(SOCK_DGRAM, NULL);
  connect_unix(stranger, "letters");
  send_text(stranger, "by its name");
  expect_message(receiver, "by its name");
  subject_ok();
}
