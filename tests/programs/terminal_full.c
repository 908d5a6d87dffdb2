// Almost as much output that nobody has read as a pseudo-terminal has room for, in writes that leave gaps in its
// buffer and in such that leave none, in packet mode, too; and echoes that wait for room behind it.
// subject: lock terminals
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "descriptors.h"

enum { kMost = 32768, kTyped = 300 };

typedef struct {
  int master, terminal, bytes;
} Pair;

static char text[kMost + kTyped + 4];

static Pair make(tcflag_t local) {
  Pair made = {.bytes = 0};
  struct termios settings;
  SUBJECT_NEED(openpty(&made.master, &made.terminal, NULL, NULL, NULL) == 0 &&
               tcgetattr(made.terminal, &settings) == 0);
  cfmakeraw(&settings);
  settings.c_lflag |= local;
  SUBJECT_NEED(tcsetattr(made.terminal, TCSANOW, &settings) == 0 && fcntl(made.terminal, F_SETFL, O_NONBLOCK) == 0);
  return made;
}

static int has_room(int terminal) {
  struct pollfd entry = {terminal, POLLOUT, 0};
  return poll(&entry, 1, 0) == 1 && (entry.revents & POLLOUT) != 0;
}

// As much, or until there is no room. The kernel carries it on a moment later.
static void fill(Pair* pair, int most, int piece) {
  for (int idle = 0; pair->bytes < most && idle < 200;) {
    const ssize_t part =
        write(pair->terminal, text + pair->bytes, (size_t)(most - pair->bytes < piece ? most - pair->bytes : piece));
    if (part > 0) {
      pair->bytes += (int)part;
    } else {
      subject_sleep_ms(1);
      ++idle;
    }
  }
}

static Pair filled(int bytes, int piece) {
  Pair made = make(0);
  fill(&made, bytes, piece);
  for (int i = 0; i < 2000 && !has_room(made.terminal); ++i) subject_sleep_ms(1);
  SUBJECT_NEED(made.bytes == bytes && has_room(made.terminal), "%d of %d bytes", made.bytes, bytes);
  return made;
}

static void expect_output(int master, const char* wanted, int count, int prefix) {
  static char got[kMost];
  for (int have = 0; have < count;) {
    struct pollfd entry = {master, POLLIN, 0};
    SUBJECT_CHECK(poll(&entry, 1, 2000) == 1, "%d of %d bytes", have, count);
    const ssize_t part = read(master, got, (size_t)(count - have + prefix));
    SUBJECT_CHECK(part > prefix && memcmp(got + prefix, wanted + have, (size_t)(part - prefix)) == 0,
                  "byte %d of %d: '%.40s' instead of '%.40s'", have, count, got + prefix, wanted + have);
    have += (int)part - prefix;
  }
}

static void expect_pair(Pair pair, int prefix) {
  expect_output(pair.master, text, pair.bytes, prefix);
  struct pollfd entry = {pair.master, POLLIN, 0};
  SUBJECT_CHECK(poll(&entry, 1, 0) == 0, "there is more");
}

// What is typed while there is no room is echoed behind what the program writes, with what it writes next.
static int taken;

static Pair make_echoing(void) {
  Pair made = make(ICANON | ECHO);
  static char typed[kTyped];
  memset(typed, 't', sizeof typed);
  typed[kTyped - 1] = '\n';
  fill(&made, kMost, 1000);
  SUBJECT_NEED(made.bytes < kMost && write(made.master, typed, kTyped) == kTyped);
  for (int i = 0, unread = 0; i < 2000 && unread != kTyped; ++i, subject_sleep_ms(1))
    SUBJECT_NEED(ioctl(made.terminal, FIONREAD, &unread) == 0);
  memcpy(text + kMost, typed, kTyped);
  memcpy(text + kMost + kTyped, "end", 4);
  while (!has_room(made.terminal)) {
    expect_output(made.master, text + taken, 500, 0);
    taken += 500;
  }
  return made;
}

int main(void) {
  for (int i = 0; i < kMost; i += 8) snprintf(text + i, 9, "%07d\n", i);
  const Pair pairs[] = {filled(16384, 1000), filled(16385, 1000), filled(17408, 1000),
                        filled(17409, 1000), filled(18000, 1000), filled(19456, 256)};
  const Pair packets = filled(17500, 1000), echoing = make_echoing();
  int yes = 1;
  SUBJECT_NEED(ioctl(packets.master, TIOCPKT, &yes) == 0);
  subject_ready();
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; ++i) expect_pair(pairs[i], 0);
  expect_pair(packets, 1);
  expect_output(echoing.master, text + taken, echoing.bytes - taken - 1000, 0);
  write_text(echoing.terminal, "end");
  expect_output(echoing.master, text + echoing.bytes - 1000, 1000, 0);
  expect_output(echoing.master, text + kMost, kTyped + 3, 0);
  subject_ok();
}
