// More input than can be put back as it was, which shows only when it has been taken: lines and one that has been
// begun, at one terminal just as much as there is room for, at others so much that the rest has not been received, and
// almost as much as a master takes.
// subject: refused more than 4000 bytes of input
// subject: lock terminals
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "descriptors.h"

enum { kLine = 200, kLines = 19, kBegun = 250, kManyLines = 60, kManyBegun = 120, kPacked = 256 };

struct pair {
  int master, terminal;
};

static struct pair make(tcflag_t local) {
  struct pair made;
  struct termios settings;
  SUBJECT_NEED(openpty(&made.master, &made.terminal, NULL, NULL, NULL) == 0 &&
               tcgetattr(made.terminal, &settings) == 0);
  settings.c_lflag = local;
  SUBJECT_NEED(tcsetattr(made.terminal, TCSANOW, &settings) == 0);
  return made;
}

static const char* make_line(int number, int length, const char* end) {
  static char line[512];
  snprintf(line, sizeof line, "%04d", number);
  memset(line + 4, 'a' + number % 26, sizeof line - 4);
  strcpy(line + length - strlen(end), end);
  return line;
}

// Some of it with a character that must be quoted to stand in a line.
static void type(struct pair pair, int lines, int begun) {
  for (int i = 0; i < lines; ++i) write_text(pair.master, make_line(i, kLine, i % 7 == 3 ? "\026\004\r" : "\r"));
  write_text(pair.master, make_line(lines, begun, ""));
}

static void expect_all(struct pair pair, int lines, int begun) {
  for (int i = 0; i < lines; ++i)
    expect_read(pair.terminal, i % 7 == 3 ? make_line(i, kLine - 1, "\004\n") : make_line(i, kLine, "\n"));
  write_text(pair.master, "\r");
  char line[512];
  snprintf(line, sizeof line, "%s\n", make_line(lines, begun, ""));
  expect_read(pair.terminal, line);
  struct pollfd entry = {pair.terminal, POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 0) == 0, "there is more");
}

// So much that nothing of it would fit in if it left gaps. The kernel carries on a moment later what is typed or read.
static int has_room(int master) {
  for (int i = 0; i < 50; ++i, subject_sleep_ms(1)) {
    struct pollfd entry = {master, POLLOUT, 0};
    if (poll(&entry, 1, 0) == 1 && (entry.revents & POLLOUT) != 0) return 1;
  }
  return 0;
}

static int typed, taken;

static void fill(struct pair pair) {
  for (; has_room(pair.master); ++typed) write_text(pair.master, make_line(typed, kPacked, "\n"));
  for (; !has_room(pair.master); ++taken) expect_read(pair.terminal, make_line(taken, kPacked, "\n"));
}

static void expect_rest(struct pair pair) {
  for (; taken < typed; ++taken) {
    struct pollfd entry = {pair.terminal, POLLIN, 0};
    SUBJECT_CHECK(poll(&entry, 1, 2000) == 1, "line %d of %d", taken, typed);
    expect_read(pair.terminal, make_line(taken, kPacked, "\n"));
  }
}

int main(void) {
  const struct pair full = make(ICANON | ISIG | IEXTEN), more = make(ICANON | ISIG | IEXTEN),
                    packed = make(ICANON | ISIG | IEXTEN);
  type(full, kLines, kBegun);
  type(more, kManyLines, kManyBegun);
  fill(packed);
  for (int i = 0, unread = 0; i < 2000 && unread < kLine * kLines - 3; ++i, subject_sleep_ms(1))
    SUBJECT_NEED(ioctl(full.terminal, FIONREAD, &unread) == 0);
  subject_ready();
  expect_all(full, kLines, kBegun);
  expect_all(more, kManyLines, kManyBegun);
  expect_rest(packed);
  subject_ok();
}
