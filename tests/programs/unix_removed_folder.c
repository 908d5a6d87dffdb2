// Unix sockets whose paths were unlinked along with their directory (Python's TemporaryDirectory), or stand under a
// name at which there is something else now: their connections go on, and nothing is made or touched there.
#include "sockets.h"

enum { kAll = 3 };
static int listeners[kAll], clients[kAll], servers[kAll], waiting[kAll];

static void set_up(int i, const char* name) {
  listeners[i] = unix_socket(SOCK_STREAM, name);
  SUBJECT_NEED(listen(listeners[i], 5) == 0);
  clients[i] = unix_client_of(name);
  servers[i] = accept_one(listeners[i]);
  waiting[i] = unix_client_of(name);
}

int main(void) {
  char folder[] = "/tmp/subject-XXXXXX";
  char names[kAll][64];
  SUBJECT_NEED(mkdtemp(folder) != NULL);
  snprintf(names[0], sizeof names[0], "%s/gate", folder);
  snprintf(names[1], sizeof names[1], "/tmp/subject-link-%d", (int)getpid());
  snprintf(names[2], sizeof names[2], "/tmp/subject-file-%d", (int)getpid());
  for (int i = 0; i < kAll; i++) {
    set_up(i, names[i]);
    SUBJECT_NEED(unlink(names[i]) == 0);
  }
  SUBJECT_NEED(rmdir(folder) == 0 && symlink("/nowhere", names[1]) == 0);
  make_file(names[2], "another's");

  subject_ready();

  for (int i = 0; i < kAll; i++) {
    expect_name(getsockname, listeners[i], names[i]);
    expect_name(getpeername, clients[i], names[i]);
    expect_connected(clients[i], servers[i]);
    expect_connected(waiting[i], accept_one(listeners[i]));
  }
  SUBJECT_CHECK(access(folder, F_OK) != 0, "%s is there again", folder);
  struct stat node;
  SUBJECT_CHECK(lstat(names[1], &node) == 0 && S_ISLNK(node.st_mode), "%s is no symbolic link any more", names[1]);
  expect_content(names[2], "another's");
  SUBJECT_CHECK(unlink(names[1]) == 0 && unlink(names[2]) == 0);
  subject_ok();
}
