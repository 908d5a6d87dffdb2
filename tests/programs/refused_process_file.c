// Files and directories in /proc of a process outside, the first one of the process id namespace: a restart in a
// private namespace would give those of another process.
// subject: refused /proc/1/status, a file of another process or thread
#include <fcntl.h>

#include "subject.h"

int main(void) {
  const int file = open("/proc/1/status", O_RDONLY), directory = open("/proc/1", O_RDONLY | O_DIRECTORY);
  char before[32] = "", after[32] = "";
  SUBJECT_NEED(file >= 0 && directory >= 0 && read(file, before, sizeof before - 1) > 0);
  subject_ready();
  SUBJECT_CHECK(pread(file, after, sizeof after - 1, 0) > 0 && strcmp(before, after) == 0, "%s became %s", before,
                after);
  SUBJECT_CHECK(faccessat(directory, "status", R_OK, 0) == 0);
  subject_ok();
}
