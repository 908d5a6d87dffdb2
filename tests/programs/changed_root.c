// A program below a changed root: what is "/" to it is that directory again, and its working directory lies below it.
// subject: root-only
#include <sys/stat.h>

#include "subject.h"

static void follow(const char* variable) {
  const char* const path = subject_environment(variable);
  SUBJECT_NEED(setenv(variable, strrchr(path, '/'), 1) == 0);
}

int main(void) {
  struct stat before, now;
  SUBJECT_NEED(stat(".", &before) == 0 && mkdir("below", 0755) == 0);
  SUBJECT_NEED(chroot(".") == 0 && chdir("/below") == 0);
  // The subject's own files lie in the directory that is the root now.
  follow("SUBJECT_STATUS");
  follow("SUBJECT_GO");
  subject_ready();
  SUBJECT_CHECK(stat("/", &now) == 0 && now.st_dev == before.st_dev && now.st_ino == before.st_ino, "another root");
  SUBJECT_CHECK(access("/etc/passwd", F_OK) == -1 && errno == ENOENT, "the root is not changed");
  char directory[64];
  SUBJECT_CHECK(getcwd(directory, sizeof directory) != NULL && strcmp(directory, "/below") == 0, "in %s", directory);
  subject_ok();
}
