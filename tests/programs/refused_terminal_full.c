// A terminal that is filled with output to the brim: what would be taken out might not fit back.
// subject: refused its output is stopped, or there is no room for more
// subject: lock terminals
#include <poll.h>
#include <pty.h>
#include <termios.h>

#include "descriptors.h"

enum { kMost = 32768 };

int main(void) {
  static char text[kMost + 1], got[kMost];
  int master, terminal, bytes = 0;
  struct termios settings;
  SUBJECT_NEED(openpty(&master, &terminal, NULL, NULL, NULL) == 0 && tcgetattr(terminal, &settings) == 0);
  cfmakeraw(&settings);
  SUBJECT_NEED(tcsetattr(terminal, TCSANOW, &settings) == 0 && fcntl(terminal, F_SETFL, O_NONBLOCK) == 0);
  for (int i = 0; i < kMost; i += 8) snprintf(text + i, 9, "%07d\n", i);
  for (int idle = 0; idle < 200;) {
    const ssize_t part = write(terminal, text + bytes, 500);
    if (part > 0) {
      bytes += (int)part;
    } else {
      subject_sleep_ms(1);
      ++idle;
    }
  }
  subject_ready();
  for (int have = 0; have < bytes;) {
    struct pollfd entry = {master, POLLIN, 0};
    SUBJECT_CHECK(poll(&entry, 1, 2000) == 1, "%d of %d bytes", have, bytes);
    const ssize_t part = read(master, got, sizeof got);
    SUBJECT_CHECK(part > 0 && memcmp(got, text + have, (size_t)part) == 0, "byte %d of %d", have, bytes);
    have += (int)part;
  }
  subject_ok();
}
