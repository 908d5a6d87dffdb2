// An ordinary user's program under a seccomp filter of its own is refused, and goes on: the kernel shows a filter only
// to root.
// subject: ordinary-only
// subject: refused this takes root
#include "seccomp.h"

int main(void) {
  seccomp_need(seccomp_refuse(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV), 0);
  subject_ready();
  SUBJECT_CHECK(syscall(SYS_getppid) == -1 && errno == EXDEV);
  subject_ok();
}
