// Input at a terminal whose owner is told of more (O_ASYNC): it would get a signal if it were taken out and put back.
// subject: refused somebody would get a signal for it (O_ASYNC)
// subject: lock terminals
#include <poll.h>
#include <pty.h>
#include <signal.h>

#include "descriptors.h"

static volatile sig_atomic_t signals;
static void on_signal(int signal) {
  (void)signal;
  ++signals;
}

int main(void) {
  int master, terminal;
  SUBJECT_NEED(openpty(&master, &terminal, NULL, NULL, NULL) == 0);
  write_text(master, "a line\rand more");
  struct pollfd entry = {terminal, POLLIN, 0};
  SUBJECT_NEED(poll(&entry, 1, 2000) == 1);
  signal(SIGIO, on_signal);
  SUBJECT_NEED(fcntl(terminal, F_SETOWN, getpid()) == 0 && fcntl(terminal, F_SETFL, O_RDWR | O_ASYNC) == 0);
  subject_ready();
  SUBJECT_CHECK(signals == 0, "%d signals", (int)signals);
  expect_read(terminal, "a line\n");
  write_text(master, "\r");
  expect_read(terminal, "and more\n");
  subject_ok();
}
