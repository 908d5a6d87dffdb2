// A filter that leaves a call to another process (seccomp_unotify(2)) is refused to root, too, and the program goes on.
// subject: root-only
// subject: refused SECCOMP_RET_USER_NOTIF
#include "seccomp.h"

int main(void) {
  const long listener =
      seccomp_put(seccomp_refuse(SYS_getppid, SECCOMP_RET_USER_NOTIF), SECCOMP_FILTER_FLAG_NEW_LISTENER);
  SUBJECT_NEED(listener >= 0 && close((int)listener) == 0);
  subject_ready();
  SUBJECT_CHECK(syscall(SYS_getppid) == -1 && errno == ENOSYS, "nobody listens any more");
  subject_ok();
}
