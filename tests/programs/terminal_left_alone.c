// A line that has been begun at a terminal whose master is stopped (tcflow(3)): whether it is there cannot be looked at
// without being in the way, so it is left alone, and the checkpoint says so.
// subject: rounds 0
// subject: checkpoint-says what may have been typed there of a line that is not complete is lost at a restart
// subject: lock terminals
#include <poll.h>
#include <pty.h>
#include <termios.h>

#include "descriptors.h"

int main(void) {
  int master, terminal;
  SUBJECT_NEED(openpty(&master, &terminal, NULL, NULL, NULL) == 0);
  struct termios settings;
  SUBJECT_NEED(tcgetattr(terminal, &settings) == 0);
  settings.c_lflag &= ~(tcflag_t)ECHO;
  SUBJECT_NEED(tcsetattr(terminal, TCSANOW, &settings) == 0);
  write_text(master, "beg");
  struct pollfd entry = {terminal, POLLIN, 0};
  SUBJECT_NEED(poll(&entry, 1, 0) == 0 && tcflow(master, TCOOFF) == 0);
  subject_ready();
  SUBJECT_CHECK(poll(&entry, 1, 0) == 0 && tcflow(master, TCOON) == 0);
  write_text(master, "un\r");
  expect_read(terminal, "begun\n");
  subject_ok();
}
