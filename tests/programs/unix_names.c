// Unix sockets with names: paths (also relative, and unlinked since) and abstract ones; listening, with connections
// that wait; accepted; datagrams from named senders.
#include "sockets.h"

// A client, with a name of its own or without (NULL), that is connected to `to`.
static int client_of(int type, const char* name, const char* to) {
  const int made = unix_socket(type, name);
  connect_unix(made, to);
  return made;
}

static void expect_listening(int type, const char* name, int listener) {
  const int client = client_of(type, NULL, name);
  expect_connected(client, accept_one(listener));
}

static void expect_sender(int socket, const char* text, const char* sender) {
  char got[64] = "";
  struct sockaddr_un from = {0};
  socklen_t size = sizeof from;
  const ssize_t bytes = recvfrom(socket, got, sizeof got - 1, MSG_DONTWAIT, (struct sockaddr*)&from, &size);
  SUBJECT_CHECK(bytes == (ssize_t)strlen(text) && strcmp(got, text) == 0, "'%.100s' instead of '%.100s'", got, text);
  SUBJECT_CHECK(sender == NULL ? size == 0 : strcmp(from.sun_path, sender) == 0, "from '%.100s'", from.sun_path);
}

int main(void) {
  char abstract[64];
  snprintf(abstract, sizeof abstract, "@crs test %d", (int)getpid());
  umask(077);
  const int by_path = unix_socket(SOCK_STREAM, "by path");
  SUBJECT_NEED(listen(by_path, 7) == 0 && chmod("by path", 0640) == 0);
  const int client = client_of(SOCK_STREAM, NULL, "by path");
  const int server = accept_one(by_path);
  send_text(client, "to the server");
  const int first = client_of(SOCK_STREAM, "first", "by path");
  const int second = client_of(SOCK_STREAM, "second", "by path");
  const int gone = client_of(SOCK_STREAM, NULL, "by path");

  const int by_abstract = unix_socket(SOCK_SEQPACKET, abstract);
  SUBJECT_NEED(listen(by_abstract, 3) == 0);
  const int abstract_client = client_of(SOCK_SEQPACKET, NULL, abstract);
  const int abstract_server = accept_one(by_abstract);

  // Names of sockets that are gone: one that listened, and the node of another.
  const int former = unix_socket(SOCK_STREAM, "former");
  SUBJECT_NEED(listen(former, 5) == 0);
  const int clients[2] = {client_of(SOCK_STREAM, NULL, "former"), client_of(SOCK_STREAM, NULL, "former")};
  const int servers[2] = {accept_one(former), accept_one(former)};
  close(former);
  unlink("former");
  const int latter = unix_socket(SOCK_STREAM, "former");
  SUBJECT_NEED(listen(latter, 1) == 0);
  const int hidden = unix_socket(SOCK_STREAM, "hidden");
  SUBJECT_NEED(listen(hidden, 1) == 0);
  const int hidden_client = client_of(SOCK_STREAM, NULL, "hidden");
  unlink("hidden");

  const int receiver = unix_socket(SOCK_DGRAM, "receiver");
  const int named_sender = client_of(SOCK_DGRAM, "sender", "receiver");
  const int other_sender = client_of(SOCK_DGRAM, NULL, "receiver");
  send_text(named_sender, "named");
  send_text(other_sender, "not named");
  const int past_sender = client_of(SOCK_DGRAM, "past", "receiver");
  send_text(past_sender, "of old");
  close(past_sender);

  subject_ready();

  SUBJECT_CHECK(option_of(by_path, SOL_SOCKET, SO_ACCEPTCONN) == 1);
  struct stat node;
  SUBJECT_CHECK(lstat("by path", &node) == 0 && S_ISSOCK(node.st_mode) && (node.st_mode & 07777) == 0640, "%o",
                (unsigned)node.st_mode);
  expect_name(getsockname, by_path, "by path");
  expect_name(getsockname, server, "by path");
  expect_name(getpeername, client, "by path");
  expect_message(server, "to the server");
  expect_connected(client, server);
  const int accepted_first = accept_one(by_path);
  expect_name(getpeername, accepted_first, "first");
  expect_connected(first, accepted_first);
  expect_connected(second, accept_one(by_path));
  expect_connected(gone, accept_one(by_path));
  expect_listening(SOCK_STREAM, "by path", by_path);

  expect_name(getsockname, by_abstract, abstract);
  expect_connected(abstract_client, abstract_server);
  expect_listening(SOCK_SEQPACKET, abstract, by_abstract);
  // As many wait as may, and one more.
  for (int i = 0; i < 4; i++) client_of(SOCK_SEQPACKET | SOCK_NONBLOCK, NULL, abstract);
  const struct unix_name name = unix_name(abstract);
  const int too_many = unix_socket(SOCK_SEQPACKET | SOCK_NONBLOCK, NULL);
  expect_error(connect(too_many, (const struct sockaddr*)&name.address, name.size), EAGAIN, "a fifth connection");

  for (int i = 0; i < 2; i++) {
    expect_connected(clients[i], servers[i]);
    expect_name(getsockname, servers[i], "former");
    expect_name(getpeername, clients[i], "former");
  }
  expect_listening(SOCK_STREAM, "former", latter);
  SUBJECT_CHECK(access("hidden", F_OK) != 0, "an unlinked name is back");
  expect_name(getsockname, hidden, "hidden");
  expect_connected(hidden_client, accept_one(hidden));

  expect_sender(receiver, "named", "sender");
  expect_sender(receiver, "not named", NULL);
  expect_sender(receiver, "of old", "past");
  send_text(named_sender, "more");
  expect_sender(receiver, "more", "sender");
  send_text(other_sender, "more");
  expect_sender(receiver, "more", NULL);
  subject_ok();
}
