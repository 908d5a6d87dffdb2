// subject: refused working directory
#include <sys/stat.h>

#include "subject.h"

int main(void) {
  char directory[] = "/tmp/crs-subject-XXXXXX";
  SUBJECT_NEED(mkdtemp(directory) != NULL && chdir(directory) == 0 && rmdir(directory) == 0);
  subject_ready();
  char now[64];
  SUBJECT_CHECK(getcwd(now, sizeof now) == NULL && errno == ENOENT);
  subject_ok();
}
