// A working directory that is the process's own in /proc: it leads to the process itself, whatever its id is by now.
#include <sys/stat.h>

#include "subject.h"

static void expect_same(const char* one, const char* other) {
  struct stat first, second;
  SUBJECT_CHECK(stat(one, &first) == 0 && stat(other, &second) == 0, "%s, %s", one, other);
  SUBJECT_CHECK(first.st_dev == second.st_dev && first.st_ino == second.st_ino, "%s is not %s", one, other);
}

int main(void) {
  SUBJECT_NEED(chdir("/proc/self/fdinfo") == 0);
  subject_ready();
  char path[64], place[64] = "";
  snprintf(path, sizeof path, "/proc/%d/fdinfo", (int)getpid());
  SUBJECT_CHECK(getcwd(place, sizeof place) != NULL && strcmp(place, path) == 0, "the working directory is %s", place);
  expect_same(".", path);
  expect_same("0", "/proc/self/fdinfo/0");
  subject_ok();
}
