// A working directory in /proc of one thread: a restart would look for it by an id that is another then.
// subject: refused a directory of one thread
#include "subject.h"

int main(void) {
  SUBJECT_NEED(chdir("/proc/thread-self") == 0);
  subject_ready();
  subject_ok();
}
