// A program in a sandbox (Landlock): a restarted one would be outside.
// subject: refused is in a sandbox (Landlock)
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "subject.h"

enum { kCreateRuleset = 444, kRestrictSelf = 446, kVersion = 1 };
static const uint64_t kMakeDirectory = 1 << 7;  // LANDLOCK_ACCESS_FS_MAKE_DIR

int main(void) {
  if (syscall(kCreateRuleset, NULL, 0, kVersion) <= 0) subject_skip("this kernel has no Landlock");
  char directory[] = "/tmp/crs-subject-XXXXXX";
  SUBJECT_NEED(mkdtemp(directory) != NULL && chdir(directory) == 0);
  SUBJECT_NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  const int rules = (int)syscall(kCreateRuleset, &kMakeDirectory, sizeof kMakeDirectory, 0);
  SUBJECT_NEED(rules >= 0 && syscall(kRestrictSelf, rules, 0) == 0 && close(rules) == 0);
  subject_ready();
  SUBJECT_CHECK(mkdir("inside", 0700) == -1 && errno == EACCES);
  SUBJECT_CHECK(chdir("/") == 0 && rmdir(directory) == 0);
  subject_ok();
}
