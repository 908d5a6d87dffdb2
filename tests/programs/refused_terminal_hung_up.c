// A terminal that has been hung up while its master is open: opened anew it would be alive. The same beside a
// description that has been opened since.
// subject: root-only
// subject: refused an end of a pseudo-terminal that has been hung up (vhangup(2))
// subject: lock terminals
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>

#include "descriptors.h"

#ifndef TIOCVHANGUP
#define TIOCVHANGUP 0x5437  // asm-generic/ioctls.h
#endif

static void hang_up(int* master, int* terminal, char* name) {
  SUBJECT_NEED(openpty(master, terminal, name, NULL, NULL) == 0 && ioctl(*terminal, TIOCVHANGUP, 0) == 0);
}

static void expect_hung_up(int terminal) {
  char byte;
  SUBJECT_CHECK(read(terminal, &byte, 1) == 0);
  expect_error(write(terminal, "x", 1), EIO, "writing to a terminal that has been hung up");
}

int main(void) {
  int alone[2], again[2];
  char name[64];
  hang_up(&alone[0], &alone[1], name);
  hang_up(&again[0], &again[1], name);
  const int opened = open(name, O_RDWR | O_NOCTTY);
  SUBJECT_NEED(opened >= 0);
  write_text(opened, "text");
  write_text(again[0], "line\n");
  struct pollfd entry = {opened, POLLIN, 0};
  SUBJECT_NEED(poll(&entry, 1, 2000) == 1);
  subject_ready();
  expect_hung_up(alone[1]);
  expect_hung_up(again[1]);
  entry = (struct pollfd){alone[0], POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 0) == 0);
  expect_read(opened, "line\n");
  expect_read(again[0], "textline\r\n");
  subject_ok();
}
