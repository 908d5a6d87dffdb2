// Input at a terminal whose master is stopped (tcflow(3)): nothing could be put back, so nothing may be taken.
// subject: refused its master takes no input
// subject: lock terminals
#include <poll.h>
#include <pty.h>
#include <termios.h>

#include "descriptors.h"

int main(void) {
  int master, terminal;
  SUBJECT_NEED(openpty(&master, &terminal, NULL, NULL, NULL) == 0);
  write_text(master, "a line\rand more");
  struct pollfd entry = {terminal, POLLIN, 0};
  SUBJECT_NEED(poll(&entry, 1, 2000) == 1 && tcflow(master, TCOOFF) == 0);
  subject_ready();
  SUBJECT_CHECK(tcflow(master, TCOON) == 0);
  expect_read(terminal, "a line\n");
  write_text(master, "\r");
  expect_read(terminal, "and more\n");
  subject_ok();
}
