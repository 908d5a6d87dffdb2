// So much output that has not been read, at many terminals, that no pipe has room for it all.
// subject: rounds 0 1
// subject: lock terminals
#include <poll.h>
#include <pty.h>
#include <termios.h>

#include "descriptors.h"

enum { kPairs = 40, kMuch = 9000 };

static void fill(char* text, int number) {
  for (int i = 0; i < kMuch; ++i) text[i] = (char)('A' + (number + i) % 50);
}

int main(void) {
  static int masters[kPairs], terminals[kPairs];
  static char text[kMuch], got[kMuch];
  for (int i = 0; i < kPairs; ++i) {
    struct termios settings;
    SUBJECT_NEED(openpty(&masters[i], &terminals[i], NULL, NULL, NULL) == 0 && tcgetattr(terminals[i], &settings) == 0);
    cfmakeraw(&settings);
    SUBJECT_NEED(tcsetattr(terminals[i], TCSANOW, &settings) == 0);
    fill(text, i);
    SUBJECT_NEED(write(terminals[i], text, kMuch) == kMuch);
  }
  subject_ready();
  for (int i = 0; i < kPairs; ++i) {
    fill(text, i);
    for (size_t have = 0; have < kMuch;) {
      struct pollfd entry = {masters[i], POLLIN, 0};
      SUBJECT_CHECK(poll(&entry, 1, 2000) == 1, "%zu bytes of terminal %d", have, i);
      const ssize_t part = read(masters[i], got + have, kMuch - have);
      SUBJECT_CHECK(part > 0, "%zu bytes of terminal %d", have, i);
      have += (size_t)part;
    }
    SUBJECT_CHECK(memcmp(got, text, kMuch) == 0, "terminal %d", i);
  }
  subject_ok();
}
