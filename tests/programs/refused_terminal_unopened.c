// Terminals that nobody has opened, beside one with input: to look at them must not open them. What has been opened and
// closed gives its master POLLHUP and EIO from then on.
// subject: refused is the master of a pseudo-terminal (
// subject: lock terminals
#include <poll.h>
#include <pty.h>
#include <stdlib.h>

#include "descriptors.h"

static void expect_open(int master) {
  struct pollfd entry = {master, POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 0) == 0, "events %#x", (unsigned)entry.revents);
}

int main(void) {
  int master, terminal;
  SUBJECT_NEED(openpty(&master, &terminal, NULL, NULL, NULL) == 0);
  write_text(master, "a line\rand more");
  struct pollfd entry = {terminal, POLLIN, 0};
  SUBJECT_NEED(poll(&entry, 1, 2000) == 1);
  const int locked = posix_openpt(O_RDWR | O_NOCTTY), unopened = posix_openpt(O_RDWR | O_NOCTTY);
  SUBJECT_NEED(locked >= 0 && unopened >= 0 && grantpt(unopened) == 0 && unlockpt(unopened) == 0);
  subject_ready();
  expect_open(locked);
  expect_open(unopened);
  const int opened = open(ptsname(unopened), O_RDWR | O_NOCTTY);
  SUBJECT_CHECK(opened >= 0);
  write_text(unopened, "typed\r");
  expect_read(opened, "typed\n");
  expect_read(terminal, "a line\n");
  write_text(master, "\r");
  expect_read(terminal, "and more\n");
  subject_ok();
}
