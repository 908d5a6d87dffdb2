// A working directory that was removed, and that its owner may not enter any more.
// subject: ids new
#include <sys/stat.h>

#include "descriptors.h"

int main(void) {
  char path[4096];
  SUBJECT_NEED(mkdir("closed", 0700) == 0 && chdir("closed") == 0 && getcwd(path, sizeof path) != NULL);
  SUBJECT_NEED(chmod(".", 0) == 0 && rmdir(path) == 0, "%s", strerror(errno));

  subject_ready();

  struct stat status;
  SUBJECT_CHECK(fstatat(AT_FDCWD, "", &status, AT_EMPTY_PATH) == 0, "%s", strerror(errno));
  SUBJECT_CHECK(S_ISDIR(status.st_mode) && (status.st_mode & 07777) == 0 && status.st_nlink == 0, "mode %o, %lu links",
                status.st_mode, (unsigned long)status.st_nlink);
  subject_ok();
}
