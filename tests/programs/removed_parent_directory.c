// A removed working directory whose parent was removed, too: it comes back, in another place, as the checkpoint says.
// subject: rounds 0 1
// subject: checkpoint-says is removed, too: after a restart ".." leads from there elsewhere
#include <sys/stat.h>

#include "descriptors.h"

int main(void) {
  SUBJECT_NEED(mkdir("above", 0755) == 0 && mkdir("above/work", 0750) == 0 && chdir("above/work") == 0);
  SUBJECT_NEED(rmdir("../work") == 0 && rmdir("../../above") == 0);
  subject_ready();
  struct stat status;
  SUBJECT_CHECK(stat(".", &status) == 0 && S_ISDIR(status.st_mode) && status.st_nlink == 0);
  SUBJECT_CHECK(mkdir("inside", 0700) != 0 && errno == ENOENT);
  subject_ok();
}
