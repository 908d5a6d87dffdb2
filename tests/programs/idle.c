// The least there can be: one thread that waits and knows its process id.
// subject: also-static
// subject: ids namespace
#include "subject.h"

int main(void) {
  const pid_t pid = getpid();
  subject_ready();
  SUBJECT_CHECK(syscall(SYS_getpid) == pid, "process id %d became %ld", (int)pid, syscall(SYS_getpid));
  subject_ok();
}
