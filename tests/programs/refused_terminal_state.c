// Changes of a terminal's state that its master, in packet mode, has not been told of, and output: reading the output
// would tell of them, and nothing could make them untold.
// subject: refused changes of its state that have not been read (packet mode)
// subject: lock terminals
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "descriptors.h"

int main(void) {
  int master, terminal;
  int yes = 1;
  SUBJECT_NEED(openpty(&master, &terminal, NULL, NULL, NULL) == 0 && ioctl(master, TIOCPKT, &yes) == 0);
  write_text(terminal, "text");
  SUBJECT_NEED(tcflush(terminal, TCIFLUSH) == 0);
  subject_ready();
  char packet[16];
  SUBJECT_CHECK(read(master, packet, sizeof packet) == 1 && packet[0] == TIOCPKT_FLUSHREAD);
  SUBJECT_CHECK(read(master, packet, sizeof packet) == 5 && packet[0] == TIOCPKT_DATA &&
                memcmp(packet + 1, "text", 4) == 0);
  subject_ok();
}
