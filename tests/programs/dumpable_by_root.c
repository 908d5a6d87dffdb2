// A program whose memory only root may dump (suid_dumpable 2 of proc_sys_fs(5)): no program can give itself that value
// back, so it comes back as one whose memory nobody may dump.
// subject: root-only
// subject: rounds 1 3
#include <sys/prctl.h>

#include "subject.h"

int main(void) {
  // Changed credentials make the kernel set the system's value.
  SUBJECT_NEED(seteuid(61234) == 0 && seteuid(0) == 0);
  if (prctl(PR_GET_DUMPABLE) != 2) subject_skip("fs.suid_dumpable is not 2 here");
  subject_ready();
  SUBJECT_CHECK(prctl(PR_GET_DUMPABLE) == 0, "dumpable is %d", prctl(PR_GET_DUMPABLE));
  subject_ok();
}
