// A pseudo-terminal with both ends in the tree: the parent has the master, in packet mode; the terminal, with settings
// of its own, controls the session of a child, whose own child's group is in the foreground.
// subject: alone
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#include "sockets.h"

enum { kStatus = 41 };

static char terminal_name[64];

static void expect_settings(int terminal) {
  struct termios settings;
  struct winsize size;
  SUBJECT_CHECK(tcgetattr(terminal, &settings) == 0 && ioctl(terminal, TIOCGWINSZ, &size) == 0);
  SUBJECT_CHECK((settings.c_lflag & ECHO) == 0 && settings.c_cc[VERASE] == 7 && (settings.c_oflag & OPOST) == 0);
  SUBJECT_CHECK(size.ws_row == 33 && size.ws_col == 101, "%d rows, %d columns", size.ws_row, size.ws_col);
  SUBJECT_CHECK(size.ws_xpixel == 808 && size.ws_ypixel == 529, "%d to %d pixels", size.ws_xpixel, size.ws_ypixel);
}

// In the foreground: reads a line, is interrupted by the terminal's character for it.
static volatile sig_atomic_t interrupts;
static void on_interrupt(int signal) {
  (void)signal;
  ++interrupts;
}

static void in_foreground(void) {
  char line[64] = "";
  struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
  sigaction(SIGINT, &action, NULL);
  if (write(1, "here", 4) != 4) _exit(3);
  if (read(0, line, sizeof line) <= 0) _exit(2);  // all checkpoints and restarts happen in here
  expect_settings(0);
  SUBJECT_CHECK(strcmp(line, "a line\n") == 0, "'%s'", line);
  SUBJECT_CHECK(tcgetpgrp(0) == getpgrp(), "group %d is in the foreground instead of %d", (int)tcgetpgrp(0),
                (int)getpgrp());
  const int controlling = open("/dev/tty", O_RDWR);
  SUBJECT_CHECK(controlling >= 0, "no controlling terminal");
  SUBJECT_CHECK(write(controlling, "heard", 5) == 5);
  while (interrupts == 0) subject_sleep_ms(2);
  _exit(kStatus);
}

static void lead_session(int terminal) {
  if (setsid() < 0 || ioctl(terminal, TIOCSCTTY, 0) != 0) _exit(4);
  signal(SIGTTOU, SIG_IGN);
  for (int number = 0; number < 3; ++number) dup2(terminal, number);
  close(terminal);
  const pid_t pid = fork();
  if (pid == 0) {
    setpgid(0, 0);
    tcsetpgrp(0, getpid());
    in_foreground();
  }
  int status = 0;
  if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) _exit(5);
  SUBJECT_CHECK(tcgetsid(0) == getpid(), "session %d", (int)tcgetsid(0));
  _exit(WEXITSTATUS(status));
}

// A packet of data, after those that only tell of the state.
static void await_output(int master, const char* text) {
  char packet[128] = "";
  do {
    struct pollfd entry = {master, POLLIN, 0};
    SUBJECT_CHECK(poll(&entry, 1, 5000) == 1, "nothing comes instead of '%s'", text);
    const ssize_t bytes = read(master, packet, sizeof packet - 1);
    SUBJECT_CHECK(bytes > 0, "the terminal is gone");
    packet[bytes] = '\0';
  } while (packet[0] != TIOCPKT_DATA);
  SUBJECT_CHECK(strcmp(packet + 1, text) == 0, "'%s' instead of '%s'", packet + 1, text);
}

int main(void) {
  int master, terminal;
  struct winsize size = {.ws_row = 33, .ws_col = 101, .ws_xpixel = 808, .ws_ypixel = 529};
  SUBJECT_NEED(openpty(&master, &terminal, terminal_name, NULL, &size) == 0);
  struct termios settings;
  SUBJECT_NEED(tcgetattr(terminal, &settings) == 0);
  settings.c_lflag &= ~(tcflag_t)ECHO;
  settings.c_oflag &= ~(tcflag_t)OPOST;
  settings.c_cc[VERASE] = 7;
  int yes = 1;
  SUBJECT_NEED(tcsetattr(terminal, TCSANOW, &settings) == 0 && ioctl(master, TIOCPKT, &yes) == 0);
  const pid_t pid = fork();
  SUBJECT_NEED(pid >= 0);
  if (pid == 0) {
    close(master);
    lead_session(terminal);
  }
  close(terminal);
  await_output(master, "here");
  // One that nobody has opened, and one that is closed.
  const int locked = open("/dev/ptmx", O_RDWR | O_NOCTTY);
  int closed, end;
  SUBJECT_NEED(locked >= 0 && openpty(&closed, &end, NULL, NULL, NULL) == 0);
  close(end);

  subject_ready();

  char name[64] = "";
  SUBJECT_CHECK(ptsname_r(master, name, sizeof name) == 0 && strcmp(name, terminal_name) == 0, "%s instead of %s", name,
                terminal_name);
  SUBJECT_CHECK(write(master, "a line\n", 7) == 7);
  await_output(master, "heard");
  SUBJECT_CHECK(write(master, "\003", 1) == 1);
  int status = 0;
  SUBJECT_CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == kStatus, "status %#x",
                (unsigned)status);
  int is_locked = 0;
  SUBJECT_CHECK(ioctl(locked, TIOCGPTLCK, &is_locked) == 0 && is_locked == 1);
  SUBJECT_CHECK(unlockpt(locked) == 0 && ptsname_r(locked, name, sizeof name) == 0 &&
                open(name, O_RDWR | O_NOCTTY) >= 0);
  char byte;
  expect_error(read(closed, &byte, 1), EIO, "reading from a terminal that is closed");
  subject_ok();
}
