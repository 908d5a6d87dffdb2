// A long line that has been begun behind a complete one, at a terminal whose output is stopped: no echo would show that
// it has been put back.
// subject: refused its output is stopped
// subject: lock terminals
#include <poll.h>
#include <pty.h>
#include <termios.h>

#include "descriptors.h"

enum { kLong = 1500 };

int main(void) {
  int master, terminal;
  char line[kLong + 2];
  SUBJECT_NEED(openpty(&master, &terminal, NULL, NULL, NULL) == 0);
  struct termios settings;
  SUBJECT_NEED(tcgetattr(terminal, &settings) == 0);
  settings.c_lflag &= ~(tcflag_t)ECHO;
  SUBJECT_NEED(tcsetattr(terminal, TCSANOW, &settings) == 0);
  memset(line, 'x', kLong);
  line[kLong] = '\0';
  write_text(master, "a line\r");
  write_text(master, line);
  struct pollfd entry = {terminal, POLLIN, 0};
  SUBJECT_NEED(poll(&entry, 1, 2000) == 1 && tcflow(terminal, TCOOFF) == 0);
  subject_ready();
  expect_read(terminal, "a line\n");
  write_text(master, "\r");
  line[kLong] = '\n', line[kLong + 1] = '\0';
  expect_read(terminal, line);
  subject_ok();
}
