// A listening unix socket whose node has a second name (link): it is bound to the first again, and the user is told.
// subject: rounds 0 1
// subject: checkpoint-says is the unix socket first, which has other names besides (link)
#include "sockets.h"

int main(void) {
  const int listener = unix_socket(SOCK_STREAM, "first");
  SUBJECT_NEED(listen(listener, 5) == 0 && link("first", "second") == 0);
  subject_ready();
  const int client = unix_socket(SOCK_STREAM, NULL);
  connect_unix(client, "first");
  const int accepted = accept(listener, NULL, NULL);
  SUBJECT_CHECK(accepted >= 0);
  expect_connected(client, accepted);
  subject_ok();
}
