// A file in /proc of one thread: a restart would look for it by an id that is another then.
// subject: refused a file of one thread
#include <fcntl.h>
#include <string.h>

#include "subject.h"

int main(void) {
  const int file = open("/proc/thread-self/comm", O_RDONLY);
  SUBJECT_NEED(file >= 0);
  subject_ready();
  char name[32] = "";
  SUBJECT_CHECK(pread(file, name, sizeof name - 1, 0) > 0 && strcmp(name, "refused_thread_\n") == 0, "%s", name);
  subject_ok();
}
